"""Fields of operators: their declarations, their checks at construction, and the registration of classes as pytrees."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np

from linops_jax._model import advice
from linops_jax._model.declarations import is_constant, is_static
from linops_jax._model.declarations import is_operator as is_operator
from linops_jax._model.declarations import is_operator_class as is_operator_class
from linops_jax._model.exact import NUMBERS_AND_TEXT, compared_fields, exact
from linops_jax._model.interned import Interned, intern


def constant_leaves(tree: Any) -> list[bool]:
    """For each leaf of a pytree with this structure: whether it is in a field that is declared constant."""
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
    """The static values of an operator: the auxiliary data of the pytree. There is one object for equal values."""

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


_NOTHING: list[Statics] = []  # the object for no static values, which most composites have
_NOTHING.append(Statics(()))


_registered: dict[int, type] = {}  # by identity; JAX keeps registered types forever, so these references do no harm


def is_registered(value: Any) -> bool:
    """Whether ``value`` is an operator class of this process. No code of ``value`` runs, so it may be any object."""
    return value is not None and _registered.get(id(value)) is value


def register_pytree(cls: Any) -> None:
    """Registers an operator class as a pytree. Flattening and unflattening check nothing.

    The children are the array fields in the order of their declaration; the static values are the auxiliary data. A class
    with the methods ``_fold`` and ``_unfold`` has fewer children: it computes the missing ones from the others.
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
    """Checks every field of a new operator and makes the operator immutable.

    Raises
    ------
    TypeError
        If a field is not set or not declared, if a static field holds an array, or if an array field holds anything but
        arrays. The message names the field.
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
    """The default value of a field that ``__init__`` did not set."""
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    if field.default is dataclasses.MISSING:
        message = f"{label}.{field.name} was not set by __init__."
        raise TypeError(message)
    return field.default


def operators_of(op: Any) -> list[Any]:
    """The operators in the array fields of an operator, in their order."""
    values = [getattr(op, name) for name in array_fields(type(op))]
    return [leaf for leaf in jax.tree.leaves(values, is_leaf=is_operator) if is_operator(leaf)]


def is_sealed(op: Any) -> bool:
    return "_statics" in op.__dict__


def from_values(cls: Any, values: dict[str, Any]) -> Any:
    """An operator from the values of all its fields and its ``_statics``, without the constructor."""
    op = object.__new__(cls)
    op.__dict__.update(values)
    return op


def fixed_values(cls: Any, aux: Statics) -> dict[str, Any]:
    """The values that ``from_values`` needs besides the array fields: static values and ``_statics``."""
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
        if isinstance(leaf, jax.Array) or is_operator(leaf):  # an operator was checked when it was constructed
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
