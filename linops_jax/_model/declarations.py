"""How fields are declared: by ``lo.static`` and ``lo.constant``, in mixins, and with ``__slots__``."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import types
from typing import Any


def static(
    *,
    default: Any = dataclasses.MISSING,
    default_factory: Any = dataclasses.MISSING,
    init: bool = True,
    kw_only: bool = False,
) -> Any:
    """Declares a field that is static configuration: a hashable value without arrays.

    Use it for sizes, axes, modes and plans. JAX compiles a new program for each new static value. Fields that may be
    optimised, batched or changed without a new compilation need no declaration.

    Parameters
    ----------
    default : object, optional
        The value of the field if the constructor gets none.
    default_factory : callable, optional
        A function without arguments that makes this value.
    init : bool, optional
        Whether the field is an argument of the constructor. Default: True.
    kw_only : bool, optional
        Whether this argument is keyword-only. Default: False.

    Returns
    -------
    dataclasses.Field
        The declaration, to be assigned to the field in the class body.

    Notes
    -----
    Static values are compared with their type and sign: 1, True and 1.0 differ, and so do 0.0 and -0.0. This also holds
    inside NumPy scalars, tuples, named tuples, frozensets and frozen dataclasses. Objects of other classes are compared
    by their type and their ``__eq__``. An object whose class defines no ``__eq__`` is equal only to itself.

    Examples
    --------
    >>> class Difference(lo.LinearOperator):
    ...     axis: int = lo.static(default=0)
    ...     apply = lo.traced(lambda self, x: jnp.diff(x, axis=self.axis))
    >>> Difference(axis=1)(jnp.array([[1.0, 2.0, 4.0]]))
    Array([[1., 2.]], dtype=float32)
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

    Use it for arrays that are data rather than parameters: sample points, angles, tables. In everything else the field is
    like other array fields: it may be batched, scanned over, sharded and donated, and new values need no new compilation.

    Parameters
    ----------
    default : object, optional
        The value of the field if the constructor gets none.
    default_factory : callable, optional
        A function without arguments that makes this value.
    init : bool, optional
        Whether the field is an argument of the constructor. Default: True.
    kw_only : bool, optional
        Whether this argument is keyword-only. Default: False.

    Returns
    -------
    dataclasses.Field
        The declaration, to be assigned to the field in the class body.

    Notes
    -----
    The derivative with respect to the field is zero, in every transformation of JAX and in every library that uses them.
    No hook is needed for this: ``parameter_jvp`` gets zero as the tangent of the field, and the value that
    ``parameter_vjp`` returns for the field is ignored. If the field holds operators, all their fields are constant, too.

    An optimiser that changes fields without using their gradients, for example by weight decay, also changes constant
    fields.

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
    """Declares the annotated fields of mixins, base classes that are not operators, as fields of an operator class."""
    inherited = {base for parent in cls.__mro__[1:] if is_operator_class(parent) for base in parent.__mro__}
    own = inspect.get_annotations(cls)
    found: dict[str, dataclasses.Field] = {}
    for base in () if cls._composite else reversed(cls.__mro__[1:]):
        if base not in inherited and "__dataclass_fields__" not in vars(base):
            found |= _declared_by(base)
    for name, value in vars(cls).items():
        if name in found and name not in own:
            if hasattr(value, "__get__"):  # a property or a method replaces the field
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
    """The fields that a class would have as a dataclass; the class itself is not changed."""
    annotations = inspect.get_annotations(base)
    values = {name: copy.copy(vars(base)[name]) for name in annotations if name in vars(base)}
    twin = type(base.__name__, (), {**values, "__annotations__": annotations, "__module__": base.__module__})
    fields = dataclasses.fields(dataclasses.dataclass(eq=False, repr=False, init=False)(twin)) if annotations else ()
    return {field.name: field for field in fields}


def free_slots(cls: Any) -> None:
    """Hides the descriptors made by ``__slots__`` of base classes, because operators keep their fields in ``__dict__``."""
    for field in dataclasses.fields(cls):
        if isinstance(inspect.getattr_static(cls, field.name, None), types.MemberDescriptorType):
            # A field without a default, so that a subclass may declare it again.
            setattr(cls, field.name, dataclasses.field())


def is_static(field: dataclasses.Field) -> bool:
    return bool(field.metadata.get("static"))


def is_constant(field: dataclasses.Field) -> bool:
    return bool(field.metadata.get("constant"))


def is_operator(value: Any) -> bool:
    return is_operator_class(type(value))


def is_operator_class(kind: type) -> bool:
    return hasattr(kind, "_hooks")
