"""Shapes and dtypes: what arrays look like, how that prints, and what may be cast to what."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from linops_jax import _compat
from linops_jax._model import advice

_NUMBERS = (bool, int, float, complex)
_INTEGERS = (int, np.integer)
_NUMBER_TYPES = {*_NUMBERS, *(kind for kind in np.sctypeDict.values() if issubclass(kind, np.number | np.bool_))}
_SHORT = {"float": "f", "bfloat": "bf", "complex": "c", "int": "i", "uint": "u"}


def as_arrays(tree: Any, where: str) -> Any:
    """The same pytree with every leaf a JAX array, in JAX's canonical dtype (64 bits only where x64 is on).

    Lists of numbers are arrays. Raises TypeError for what is no array, and for random keys among the inputs (an operator
    may hold some).
    """
    keys_too = advice.is_operator(tree)

    def convert(leaf: Any) -> jax.Array:
        if isinstance(leaf, jax.Array) and (keys_too or isinstance(leaf.dtype, np.dtype)):
            return leaf
        try:
            if advice.is_key(leaf) or advice.is_masked(leaf):
                raise TypeError
            return jnp.asarray(leaf)
        except (TypeError, ValueError) as error:
            remedy = advice.for_value(leaf) or "Pass an array or a pytree of arrays."
            kind = "random key" if advice.is_key(leaf) else type(leaf).__name__
            message = f"{where}: expected arrays, found {kind} {advice.short(leaf)}. {remedy}"
            raise TypeError(message) from (error if error.args else None)

    return jax.tree.map(convert, lists_as_arrays(tree))


def is_list_of_numbers(value: Any) -> bool:
    """Whether it is a list, or nested lists, of nothing but plain numbers: what jnp.asarray takes."""
    if type(value) is not list or not value:
        return False
    return all(type(entry) in _NUMBER_TYPES or is_list_of_numbers(entry) for entry in value)


def lists_as_arrays(tree: Any, domain: Callable[[], Any] = lambda: None) -> Any:
    """Lists of numbers are arrays, as NumPy takes them; other containers, and lists that a domain asks for, are pytrees."""
    if isinstance(tree, jax.Array):
        return tree
    if _NUMBER_TYPES.isdisjoint(map(type, jax.tree.leaves(tree))):
        return tree
    spec = domain()
    if spec is not None and jax.tree.structure(spec) == jax.tree.structure(tree):
        return jax.tree.map(lambda leaf: jnp.asarray(leaf) if type(leaf) in _NUMBER_TYPES else leaf, tree)
    return jax.tree.map(lambda x: _array(x) if is_list_of_numbers(x) else x, tree, is_leaf=is_list_of_numbers)


def _array(numbers: list[Any]) -> jax.Array:
    try:
        return jnp.asarray(numbers)
    except (TypeError, ValueError) as error:
        message = f"a list of numbers is an array, but the rows of this one differ in length: {advice.short(numbers)}."
        raise ValueError(message) from error


def is_concrete(leaf: Any) -> bool:
    """Whether it is a number or an array with values, which JAX takes as it is."""
    if isinstance(leaf, jax.Array):
        return not isinstance(leaf, jax.core.Tracer)
    return type(leaf) in _NUMBERS or (type(leaf) is np.ndarray and leaf.dtype.kind in "biufc")


def are_concrete(tree: Any) -> bool:
    return all(map(is_concrete, jax.tree.leaves(tree)))


def is_spec(leaf: Any) -> bool:
    return hasattr(leaf, "shape") and hasattr(leaf, "dtype") and not isinstance(leaf, type)


def spec(leaf: Any) -> jax.ShapeDtypeStruct:
    """Shape and canonical dtype of one array, tracer, aval or spec, and its place on a mesh as far as it belongs to the
    type: explicit sharding, and the axes of a shard_map over which it varies. Comparisons and messages leave that out."""
    dtype = jax.dtypes.canonicalize_dtype(leaf.dtype, allow_extended_dtype=True)
    return jax.ShapeDtypeStruct(leaf.shape, dtype, **_compat.place(leaf))


def have_places(tree: Any) -> bool:
    """Whether a place on a mesh belongs to the type of one of these arrays or specs."""
    return any(is_spec(leaf) and _compat.place(leaf) for leaf in jax.tree.leaves(tree))


def in_places_of(tree: Any, other: Any) -> Any:
    """Specs of equal shapes, which do not say where on a mesh they are, with the places of the others; else as they are."""
    if have_places(tree) or mismatch(tree, other) is not None:
        return tree
    return jax.tree.map(
        lambda leaf, like: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, **_compat.place(like)), tree, other
    )


def specs(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: spec(leaf if is_spec(leaf) else jnp.asarray(leaf)), tree)


def as_specs(tree: Any, where: str) -> Any:
    """Specs of an input from what somebody passed: specs, arrays, numbers, pytrees of these.

    Raises TypeError for a shape, which would be a pytree of integers, and for anything else that has no shape and dtype.
    """
    refuse_shapes(tree, where, "Pass jax.ShapeDtypeStruct({}, dtype), or an array")

    def convert(leaf: Any) -> jax.ShapeDtypeStruct:
        if is_spec(leaf):
            return spec(leaf)
        if type(leaf) in _NUMBERS:
            return spec(jnp.asarray(leaf))
        message = (
            f"{where}: found {type(leaf).__name__} {advice.short(leaf)}; expected a jax.ShapeDtypeStruct(shape, dtype) or an "
            f"array, or a pytree of them. {advice.for_value(leaf)}"
        )
        raise TypeError(message.rstrip())

    return jax.tree.map(convert, lists_as_arrays(tree), is_leaf=lambda leaf: tree is None)


def refuse_shapes(tree: Any, where: str, remedy: str) -> None:
    """Raises TypeError for a tuple, list or other container of nothing but integers, at any depth, or one on its own.

    ``advice`` says what to write, with the shape at ``{}``.
    """
    for path, part in jax.tree_util.tree_leaves_with_path(tree, is_leaf=_is_bare_shape):
        among_others = isinstance(part, _INTEGERS) or not jax.tree.leaves(part)  # an index, an input without arrays
        if _is_bare_shape(part) and not (path and among_others):
            at = f" at {jax.tree_util.keystr(path)}" if path else ""
            shape = tuple(jax.tree.leaves(part))
            remedy = remedy.format(shape)
            message = (
                f"{where}: found {advice.short(part)}{at}, which is a shape. {remedy}; several inputs are a pytree."
            )
            raise TypeError(message)


def _is_bare_shape(value: Any) -> bool:
    """Integers of Python or NumPy, and nothing else."""
    if isinstance(value, _INTEGERS):
        return not isinstance(value, bool)
    return type(value) in (tuple, list, dict) and all(map(_is_bare_shape, jax.tree.leaves(value))) and value != {}


def frozen(s: jax.ShapeDtypeStruct) -> tuple[Any, ...]:
    """A spec as a value for static fields."""
    place = tuple(_compat.place(s).items())
    return (s.shape, s.dtype, place) if place else (s.shape, s.dtype)


def thawed(value: tuple[Any, ...]) -> jax.ShapeDtypeStruct:
    shape, dtype, *place = value
    return jax.ShapeDtypeStruct(shape, dtype, **dict(*place))


def zeros(s: jax.ShapeDtypeStruct) -> jax.Array:
    """Zeros of the type of a spec."""
    return _compat.placed(jnp.zeros(s.shape, s.dtype), s)


def promised(tree: Any, where: str) -> Any:
    """The answer of an ``infer_`` hook, checked and canonical."""

    def check(leaf: Any) -> jax.ShapeDtypeStruct:
        if is_spec(leaf) and _is_shape(leaf.shape):
            if getattr(leaf.dtype, "kind", "") not in "OSUmM":
                return spec(leaf)
            message = f"{where} returned the dtype {leaf.dtype}, of which JAX has no arrays. Return that of the result."
            raise TypeError(message)
        found = "None" if leaf is None else f"{type(leaf).__name__} {leaf!r:.80}"
        message = (
            f"{where} returned {found} where a jax.ShapeDtypeStruct is expected. "
            "Return jax.ShapeDtypeStruct(shape, dtype), or a pytree of them."
        )
        raise TypeError(message)

    return check(tree) if tree is None else jax.tree.map(check, tree)  # inside of a pytree, None is an empty part


def _is_shape(shape: Any) -> bool:
    """Whether these are sizes. They may be symbols of jax.export, which are no numbers."""
    numbers = (
        [size for size in shape if isinstance(size, int | float | np.number)] if isinstance(shape, tuple) else [-1]
    )
    return all(isinstance(size, int | np.integer) and size >= 0 for size in numbers)


def describe(leaf: Any) -> str:
    """``f32[3,4]`` for a float32 array of shape (3, 4)."""
    name = np.dtype(leaf.dtype).name
    letters = name.rstrip("0123456789")
    shape = ",".join(map(str, leaf.shape))
    return f"{_SHORT.get(letters, letters)}{name[len(letters) :]}[{shape}]"


def describe_tree(tree: Any) -> str:
    """The specs of a pytree, in its own notation: ``(f32[3], {'a': i32[]})``."""
    if tree is None or is_spec(tree):
        return "None" if tree is None else describe(tree)
    if isinstance(tree, dict):
        return "{" + ", ".join(f"{key!r}: {describe_tree(value)}" for key, value in tree.items()) + "}"
    if type(tree) in (tuple, list):
        inner = ", ".join(map(describe_tree, tree))
        if isinstance(tree, list):
            return f"[{inner}]"
        return f"({inner},)" if len(tree) == 1 else f"({inner})"
    return repr(jax.tree.map(lambda leaf: Text(describe(leaf)), tree))


class Text(str):
    """Prints without quotes inside of containers."""

    __slots__ = ()
    __repr__ = str.__str__


def is_inexact(dtype: Any) -> bool:
    return jnp.issubdtype(dtype, np.inexact)


def is_complex(dtype: Any) -> bool:
    return jnp.issubdtype(dtype, np.complexfloating)


def has_complex(tree: Any) -> bool:
    return any(is_complex(leaf.dtype) for leaf in jax.tree.leaves(tree))


def all_complex(tree: Any) -> bool:
    return all(is_complex(leaf.dtype) for leaf in jax.tree.leaves(tree))


def strong(array: jax.Array) -> jax.Array:
    """The same numbers in a dtype that does not give way to others: operators answer in the dtypes they promise."""
    return array.astype(array.dtype)


def castable(found: Any, wanted: Any) -> bool:
    """NumPy's same_kind rule, with bfloat16 and its like counted as real floats."""
    if found == wanted:
        return True
    if found.kind in "OSUmM":
        return False
    if found.kind != "V" and wanted.kind != "V":
        return np.can_cast(found, wanted, "same_kind")
    real = is_inexact(wanted) and not is_complex(wanted)
    return (
        is_complex(wanted) or (real and found.kind in "biuf") or (real and is_inexact(found) and not is_complex(found))
    )


def mismatch(found: Any, expected: Any) -> str | None:
    """Says how two pytrees of arrays or specs differ in structure or shape; None when they do not."""
    if same(found, expected):
        return None
    if jax.tree.structure(found) != jax.tree.structure(expected):
        return f"found {describe_tree(specs(found))}, expected {describe_tree(specs(expected))}"
    for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(found), jax.tree.leaves(expected), strict=True):
        if tuple(a.shape) != tuple(b.shape):
            at = jax.tree_util.keystr(path)
            return f"found {describe(a)}{f' at {at}' if at else ''}, expected {describe(b)}"
    return None


def misfit(found: Any, expected: Any) -> str | None:
    """How two pytrees differ in structure, shape, or a dtype that would lose more than precision."""
    if same(found, expected):
        return None
    if difference := mismatch(found, expected):
        return difference
    for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(found), jax.tree.leaves(expected), strict=True):
        if not castable(np.dtype(a.dtype), np.dtype(b.dtype)):
            at = jax.tree_util.keystr(path)
            return f"found {describe(a)}{f' at {at}' if at else ''}, expected {describe(b)}"
    return None


def same(a: Any, b: Any) -> bool:
    """Whether two pytrees of arrays or specs agree in structure, shapes and dtypes."""
    if a is b:
        return True
    (xs, tree), (ys, other) = jax.tree.flatten(a), jax.tree.flatten(b)
    return tree == other and all(x.shape == y.shape and x.dtype == y.dtype for x, y in zip(xs, ys, strict=True))


def with_dtype(leaf: jax.ShapeDtypeStruct, dtype: Any) -> jax.ShapeDtypeStruct:
    """A spec of another dtype."""
    if leaf.dtype == dtype:
        return leaf
    return jax.ShapeDtypeStruct(leaf.shape, jax.dtypes.canonicalize_dtype(dtype), **_compat.place(leaf))


def promoted(a: Any, b: Any) -> Any:
    """Specs of the sum of two pytrees of equal shapes."""
    if same(a, b):
        return a
    return jax.tree.map(lambda x, y: with_dtype(x, jnp.promote_types(x.dtype, y.dtype)), a, b)


def onto(value: Any, space: Any, where: Callable[[], str]) -> Any:
    """``value`` as an element of a space given by its specs: of complex numbers on a real space the real part.

    Raises ValueError for other shapes, TypeError for a dtype that would lose more than precision; ``where`` says of what.
    """
    if same(value, space):
        return value
    if difference := mismatch(value, space):
        message = f"{where()} cannot be applied: {difference}."
        raise ValueError(message)

    def real(leaf: Any, like: Any) -> Any:
        is_real = is_inexact(like.dtype) and not is_complex(like.dtype)
        return jnp.real(leaf) if is_complex(leaf.dtype) and is_real else leaf

    return cast_like(jax.tree.map(real, value, space), space, where())


def cast_like(value: Any, model: Any, where: str) -> Any:
    """``value`` in the dtypes of ``model``, where that loses nothing but precision."""

    def cast(leaf: jax.Array, like: Any) -> jax.Array:
        wanted = np.dtype(jax.dtypes.canonicalize_dtype(like.dtype))
        if not castable(np.dtype(leaf.dtype), wanted):
            message = f"{where} cannot be applied: found {describe(leaf)}, expected {describe(like)}."
            raise TypeError(message)
        return leaf.astype(wanted)

    return jax.tree.map(cast, value, model)


def is_being_traced(tree: Any) -> bool:
    """Whether numbers cannot be read: tracers among these leaves, or everything is staged out, as under ``jax.jit``."""
    return is_staged() or any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(tree))


def is_staged() -> bool:
    """Whether all that is computed becomes part of a program, as under ``jax.jit``."""
    return isinstance(jnp.add(0, 0), jax.core.Tracer)
