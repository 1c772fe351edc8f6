"""Fields of operators: array or static, checked once at construction, sealed afterwards, registered as a pytree."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import types
from typing import Any

import jax
import numpy as np

from linops_jax._model import advice
from linops_jax._model.exact import NUMBERS_AND_TEXT, compared_fields, exact
from linops_jax._model.interned import Interned, intern


def static(
    *,
    default: Any = dataclasses.MISSING,
    default_factory: Any = dataclasses.MISSING,
    init: bool = True,
    kw_only: bool = False,
) -> Any:
    """Declares a field as static configuration: hashable, without arrays, part of the compiled program's key.

    Use it for sizes, axes, modes and plans; leave fields that may be optimised, batched or varied without a
    recompilation undeclared. Static values compare with their type and sign (1, True and 1.0 differ, as do 0.0 and
    -0.0), in NumPy scalars, tuples, named tuples, frozensets and frozen dataclasses too; objects of other classes by their
    own ``__eq__`` and their type, so one without a value of its own by identity.

    Arguments: as of ``dataclasses.field``.
    """
    return _declared("static", default, default_factory, init, kw_only)


def constant(
    *,
    default: Any = dataclasses.MISSING,
    default_factory: Any = dataclasses.MISSING,
    init: bool = True,
    kw_only: bool = False,
) -> Any:
    """Declares an array field that is never differentiated.

    Use it for what is data and not a parameter: sample points, angles, tables. The field is an operand like any other array
    field: it may be batched, scanned over, sharded and donated, and new values never recompile. Its derivative is zero by
    declaration, in every transformation of JAX and in every library on top of it, and no hook is needed for it: what
    ``parameter_jvp`` gets for it is zero, and what ``parameter_vjp`` returns for it is not looked at.

    The operators in such a field are never differentiated in any of their fields. An optimiser that changes a field for
    reasons other than its gradient, as weight decay does, changes a constant one as well.

    Parameters
    ----------
    default, default_factory, init, kw_only
        As of ``dataclasses.field``.

    Examples
    --------
    >>> class Sampled(lo.LinearOperator):
    ...     points: jax.Array = lo.constant()
    ...     apply = lo.traced(lambda self, x: jnp.interp(self.points, jnp.arange(3.0), x))
    >>> jax.grad(lambda A: A(jnp.array([1.0, 2.0, 4.0])).sum())(Sampled(jnp.array([0.5]))).points
    Array([0.], dtype=float32)
    """
    return _declared("constant", default, default_factory, init, kw_only)


def _declared(kind: str, default: Any, default_factory: Any, init: bool, kw_only: bool) -> Any:
    options: dict[str, Any] = {"init": init, "kw_only": kw_only, "metadata": {kind: True}}
    if default is not dataclasses.MISSING:
        options["default"] = default
    if default_factory is not dataclasses.MISSING:
        options["default_factory"] = default_factory
    return dataclasses.field(**options)


def adopt(cls: Any) -> None:
    """Declares for an operator what plain classes among its bases declare: a field of a mixin is a field."""
    inherited = {base for parent in cls.__mro__[1:] if is_operator_class(parent) for base in parent.__mro__}
    own = inspect.get_annotations(cls)
    found: dict[str, dataclasses.Field] = {}
    for base in () if cls._composite else reversed(cls.__mro__[1:]):
        if base not in inherited and "__dataclass_fields__" not in vars(base):
            found |= _declared_by(base)
    for name, value in vars(cls).items():
        if name in found and name not in own:
            if hasattr(value, "__get__"):  # the class says it by a property or a method
                del found[name]
            else:
                found[name].default = value
    for name in own:
        value = inspect.getattr_static(cls, name, None)
        if isinstance(value, dataclasses.Field) and name not in vars(cls):
            setattr(cls, name, copy.copy(value))  # dataclass() expects it there
    for name in found.keys() - own.keys():
        setattr(cls, name, found[name])
    if found:
        cls.__annotations__ = {**{name: field.type for name, field in found.items()}, **own}


def _declared_by(base: Any) -> dict[str, dataclasses.Field]:
    """The fields that a class would have as a dataclass, which it stays without."""
    annotations = inspect.get_annotations(base)
    values = {name: copy.copy(vars(base)[name]) for name in annotations if name in vars(base)}
    twin = type(base.__name__, (), {**values, "__annotations__": annotations, "__module__": base.__module__})
    fields = dataclasses.fields(dataclasses.dataclass(eq=False, repr=False, init=False)(twin)) if annotations else ()
    return {field.name: field for field in fields}


def free_slots(cls: Any) -> None:
    """Operators keep their fields in ``__dict__``: the descriptors that ``__slots__`` makes must not hide them."""
    for field in dataclasses.fields(cls):
        if isinstance(inspect.getattr_static(cls, field.name, None), types.MemberDescriptorType):
            setattr(
                cls, field.name, dataclasses.field()
            )  # stands for no value, also where a subclass declares it again


def is_static(field: dataclasses.Field) -> bool:
    return bool(field.metadata.get("static"))


def is_constant(field: dataclasses.Field) -> bool:
    return bool(field.metadata.get("constant"))


def constant_leaves(tree: Any) -> list[bool]:
    """Of each leaf of a pytree with this structure: whether a field that is declared constant holds it."""
    node = tree.node_data()
    if node is None:
        return [False]
    children = tree.children()
    held = (
        [is_constant(field) for field in dataclasses.fields(node[0]) if not is_static(field)]
        if is_operator_class(node[0])
        else []
    )
    held = held if any(held) else [False] * len(children)
    return [here or inside for child, here in zip(children, held, strict=True) for inside in constant_leaves(child)]


def array_fields(cls: Any) -> tuple[str, ...]:
    return tuple(f.name for f in dataclasses.fields(cls) if not is_static(f))


def static_fields(cls: Any) -> tuple[str, ...]:
    return tuple(f.name for f in dataclasses.fields(cls) if is_static(f))


class Statics(Interned):
    """The static values of one operator, as the pytree's auxiliary data: one object for the same values, see _interned."""

    __slots__ = ("values",)

    values: tuple[Any, ...]

    def __new__(cls, values: tuple[Any, ...]) -> Statics:
        if not values and cls is Statics and _NOTHING:
            return _NOTHING[0]
        new = object.__new__(cls)
        new.values, new._value = values, exact(values)
        return intern(new)

    def __reduce__(self) -> Any:
        return Statics, (self.values,)

    def __repr__(self) -> str:
        return repr(self.values)


_NOTHING: list[Statics] = []  # what most composites have
_NOTHING.append(Statics(()))


def is_operator(value: Any) -> bool:
    return is_operator_class(type(value))


def is_operator_class(kind: type) -> bool:
    return hasattr(kind, "_hooks")


_registered: dict[int, type] = {}  # by identity; JAX keeps the types of its pytrees forever, and so do we


def is_registered(value: Any) -> bool:
    """Whether this process has made ``value`` an operator class. Asks nothing of it: it may be any object."""
    return value is not None and _registered.get(id(value)) is value


def register_pytree(cls: Any) -> None:
    """Array fields are children in the order of declaration, static values are auxiliary data; nothing is checked.

    A class with ``_fold`` and ``_unfold`` leaves out of its children what it can make again of the others.
    """
    _registered[id(cls)] = cls
    arrays, statics = array_fields(cls), static_fields(cls)
    keys = tuple(map(jax.tree_util.GetAttrKey, arrays))
    fold, unfold = getattr(cls, "_fold", None), getattr(cls, "_unfold", None)

    def flatten(op: Any) -> tuple[tuple[Any, ...], Statics]:
        values = op.__dict__
        return tuple(values[name] for name in arrays) if fold is None else fold(op), values["_statics"]

    def flatten_with_keys(op: Any) -> tuple[tuple[Any, ...], Statics]:
        children, aux = flatten(op)
        return tuple(zip(keys, children, strict=True)), aux

    def unflatten(aux: Statics, children: Any) -> Any:
        op = object.__new__(cls)
        op.__dict__.update(zip(arrays, children, strict=True))
        op.__dict__.update(zip(statics, aux.values, strict=True))
        op.__dict__["_statics"] = aux
        return op if unfold is None else unfold(op)

    jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten, flatten)


def seal(op: Any, *, allow_numbers: bool) -> None:
    """Checks every field of a freshly constructed operator and makes it immutable.

    Raises TypeError naming the field: not set, not declared, an array in a static field, anything else in an array field.
    """
    cls = type(op)
    values = op.__dict__
    declared = {f.name: f for f in dataclasses.fields(cls)}
    for name in values:
        if name not in declared:
            message = (
                f"{cls._label}.{name} was set but is not declared. Declare it in the class body: `{name}: jax.Array` "
                f"for arrays, `{name}: ... = lo.static()` for configuration."
            )
            raise TypeError(message)
    for name, field in declared.items():
        if name not in values:
            values[name] = _default(field, cls._label)
        if not is_static(field):
            _check_arrays(f"{cls._label}.{name}", name, values[name], allow_numbers)
        elif type(values[name]) not in NUMBERS_AND_TEXT:
            _check_static(f"{cls._label}.{name}", name, values[name])
    values["_statics"] = Statics(tuple(values[name] for name in static_fields(cls)))


def _default(field: dataclasses.Field, label: str) -> Any:
    """The value of a field that __init__ did not set."""
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    if field.default is dataclasses.MISSING:
        message = f"{label}.{field.name} was not set by __init__."
        raise TypeError(message)
    return field.default


def is_sealed(op: Any) -> bool:
    return "_statics" in op.__dict__


def from_values(cls: Any, values: dict[str, Any]) -> Any:
    """An operator from the values of all its fields and its ``_statics``, without the constructor."""
    op = object.__new__(cls)
    op.__dict__.update(values)
    return op


def fixed_values(cls: Any, aux: Statics) -> dict[str, Any]:
    """All of these but the array fields."""
    return {**dict(zip(static_fields(cls), aux.values, strict=True)), "_statics": aux}


def restore(cls: Any, statics: tuple[Any, ...], arrays: tuple[Any, ...]) -> Any:
    """An operator from its static values and array fields, without the constructor."""
    return from_values(
        cls, {**fixed_values(cls, Statics(statics)), **dict(zip(array_fields(cls), arrays, strict=True))}
    )


def refuse_change(op: Any, name: str) -> None:
    message = f"{type(op)._label} is immutable: use dataclasses.replace(op, {name}=...) to get a changed copy."
    raise dataclasses.FrozenInstanceError(message)


def _check_static(where: str, name: str, value: Any) -> None:
    if _holds_array(value):
        message = (
            f"{where} is static but holds an array or an operator: {value!r:.80}. Static fields are part of the compiled "
            f"program's key: declare `{name}` without lo.static() to make it a parameter."
        )
        raise TypeError(message)
    try:
        hash(value)
    except TypeError as error:
        message = (
            f"{where} is static and must be hashable, but holds {type(value).__name__} {advice.short(value)}. "
            f"{advice.for_value(value) or 'Use a tuple for a list, a tuple of pairs or a frozen dataclass for a dict.'}"
        )
        raise TypeError(message) from error


def _holds_array(value: Any) -> bool:
    if type(value) in NUMBERS_AND_TEXT:
        return False
    if isinstance(value, tuple | list | set | frozenset):
        return any(map(_holds_array, value))
    if isinstance(value, dict):
        return any(map(_holds_array, value.values()))
    if (names := compared_fields(type(value))) is not None:
        return any(_holds_array(getattr(value, name)) for name in names)
    return isinstance(value, np.ndarray | jax.Array) or is_operator(value)


def _check_arrays(where: str, name: str, value: Any, allow_numbers: bool) -> None:
    for path, leaf in jax.tree_util.tree_leaves_with_path(value, is_leaf=is_operator):
        if isinstance(leaf, jax.Array) or is_operator(leaf):  # an operator has been checked when it was made
            continue
        if isinstance(leaf, np.ndarray | np.generic):
            if leaf.dtype.kind in "biufcV" and leaf.dtype.names is None and not advice.is_masked(leaf):
                continue
        elif allow_numbers and isinstance(leaf, bool | int | float | complex):
            continue
        at = f"{where}{jax.tree_util.keystr(path)}"
        remedy = advice.for_value(leaf) or (
            f"If it is configuration, declare `{name}: {type(leaf).__name__} = lo.static()`; if it is a parameter, pass "
            "jnp.asarray(...)."
        )
        message = f"{at} holds {advice.short(leaf)} ({type(leaf).__name__}), which is not an array. {remedy}"
        raise TypeError(message)
