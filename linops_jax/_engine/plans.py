"""Plans: what the hook ``prepare`` of a class makes for its other hooks.

A plan is made when a program first needs it, because exported programs are not lowered in the process where they run. All
programs that apply operators with equal static fields, to inputs of the same shapes and dtypes, share it. They own it: this
module holds plans by weak references only.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import threading
import weakref
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

from linops_jax import _compat
from linops_jax._engine import errors
from linops_jax._engine.binding import arguments
from linops_jax._model import fields, shapes
from linops_jax._model.hooks import Hook
from linops_jax._model.marks import keywords_of
from linops_jax._model.plan import PREPARE
from linops_jax._native import Native

MOST_KEPT = 8  # plans for different values of fields
_CHUNK = 1 << 16  # bytes that are compared at once


@dataclasses.dataclass(eq=False)
class Made:
    """A plan, and the values of fields for which it is made: copies, which the plan may refer to."""

    values: tuple[np.ndarray, ...]
    plan: Any = None
    is_ready: bool = False
    is_being_made: bool = False
    lock: Any = dataclasses.field(default_factory=threading.RLock)  # other threads wait; the same thread must not


class Plans:
    """The plans of one operator for one input: a single one, or the last few if they depend on the values of fields.

    Parameters
    ----------
    op : operator
        The operator, whose array fields are specs.
    x : pytree of jax.ShapeDtypeStruct
        The specs of the input.
    """

    def __init__(self, op: Any, x: Any):
        self._op, self._x = op, x
        self._trees = [jax.tree.structure(getattr(op, name)) for name in fields_of(type(op))]
        self._recent: list[Made] = []
        self._lock = threading.RLock()  # of the list; not held while a plan is made

    def __call__(self, *values: np.ndarray) -> Made:
        """The plan for these values of fields, leaf by leaf."""
        with self._lock:
            made = self._find(values) or Made(tuple(map(_copy, values)))
            self._recent = [made, *(other for other in self._recent if other is not made)][:MOST_KEPT]
        try:
            self._make(made)
        except BaseException:
            with self._lock:
                self._recent = [other for other in self._recent if other is not made]
            raise
        return made

    def _find(self, values: Sequence[np.ndarray]) -> Made | None:
        return next((made for made in self._recent if all(map(_are_same, made.values, values))), None)

    def _make(self, made: Made) -> None:
        with made.lock:
            if made.is_ready:
                return
            if made.is_being_made:
                message = (
                    f"{type(self._op)._label}.{PREPARE} needs the plan that it makes. Let it not call its own operator."
                )
                raise RuntimeError(message)
            made.is_being_made = True
            try:
                made.plan, made.is_ready = prepare(self._op, self._x, self._given(made.values)), True
            finally:
                made.is_being_made = False

    def _given(self, values: Sequence[np.ndarray]) -> list[Any]:
        """The values of each field."""
        rest = iter(values)
        return [jax.tree.unflatten(tree, [next(rest) for _ in range(tree.num_leaves)]) for tree in self._trees]


def prepare(op: Any, x: Any, values: Sequence[Any]) -> Any:
    """Calls the hook, with the values of the fields that it names."""
    try:
        return _without_values(op).prepare(x, **dict(zip(fields_of(type(op)), values, strict=True)))
    except Exception as error:
        errors.annotate(error, f"{type(op)._label}.{PREPARE}")
        raise


@contextlib.contextmanager
def _without_jax() -> Iterator[None]:
    """Refuses JAX, as in every host hook: the program that waits for the plan may be what JAX would wait for."""
    before = _compat.swap_no_execution(True)
    try:
        yield
    finally:
        _compat.swap_no_execution(before)


class FieldSpec(jax.ShapeDtypeStruct):
    """The shape and dtype of an array field in ``prepare``. To use it as an array is an error that says what to write."""

    def __array__(self, *_arguments: Any, **_keywords: Any) -> Any:
        message = (
            f"{PREPARE} gets the values of the array fields that it names, here it has shape {self.shape} and dtype {self.dtype} "
            f"only. To get them, name the field, and use the argument: `def {PREPARE}(self, x, *, field)`."
        )
        raise TypeError(message)

    def __getitem__(self, _index: Any) -> Any:
        return self.__array__()

    def __add__(self, _other: Any) -> Any:
        return self.__array__()

    __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = __pow__ = __matmul__ = __add__


def _without_values(op: Any) -> Any:
    return jax.tree.map(lambda leaf: FieldSpec(leaf.shape, leaf.dtype), op)


def by_hand(op: Any, x: Any) -> Any:
    """The plan of an operator, for hooks that are called by hand."""
    values = [jax.tree.map(lambda leaf: _copy(np.asarray(leaf)), getattr(op, name)) for name in fields_of(type(op))]
    with _without_jax():
        return prepare(shapes.specs(op), op._as_input(x), values)


def fields_of(cls: Any) -> tuple[str, ...]:
    """The array fields whose values ``prepare`` gets, in the order of their declaration."""
    wanted = keywords_of(cls.prepare)
    return tuple(name for name in fields.array_fields(cls) if name in wanted)


def leaves_of(tree: Any) -> list[int]:
    """The positions of the leaves of these fields among those of an operator with this structure."""
    cls, _ = tree.node_data()
    wanted = fields_of(cls)
    found: list[int] = []
    start = 0
    for name, child in zip(fields.array_fields(cls), tree.children(), strict=True):
        if name in wanted:
            found += range(start, start + child.num_leaves)
        start += child.num_leaves
    return found


_known: weakref.WeakValueDictionary[Any, Plans] = weakref.WeakValueDictionary()
_lock = threading.RLock()


def plans_of(hook: Hook, trees: tuple[Any, ...], operands: Sequence[Any], result: Any) -> Plans:
    """The plans for the calls of one executable, given the specs of its operands and its result without batch axes."""
    given = dict(zip(hook.rule.arguments, arguments(trees, operands), strict=True))
    op, x = given["self"], {**given, "result": result}[hook.rule.of_domain]
    leaves, tree = jax.tree.flatten((op, x))
    key = tree, tuple((leaf.shape, leaf.dtype) for leaf in leaves)
    with _lock:
        return _known.get(key) or _known.setdefault(key, Plans(op, x))


def for_extension(hook: Hook, trees: tuple[Any, ...], operands: Sequence[Any], result: Any) -> tuple[Any, ...]:
    """What the extension needs for the plans of one executable.

    The name of ``prepare``; the positions of the operands whose values it gets; and a function of these values, which returns
    the plan, its address for native code, the values for which it was made, and what owns the data at the address.
    """
    cls: Any = hook.cls
    native = hook.function if isinstance(hook.function, Native) else None
    find = functools.partial(_find, plans_of(hook, trees, operands, result), native)
    return f"{cls._label}.{PREPARE}", tuple(leaves_of(trees[0])), find


def _find(plans: Plans, native: Any, *values: np.ndarray) -> tuple[Any, ...]:
    # Not a closure: tracebacks of exceptions keep functions, and with them what they close over.
    with _without_jax():
        made = plans(*values)
        address, owner = (0, None) if native is None else native.address_of(made.plan)
        return made.plan, address, made.values, owner


def _copy(value: np.ndarray) -> np.ndarray:
    copy = np.array(value, order="C")
    copy.flags.writeable = False
    return copy


def _are_same(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two contiguous arrays of one shape and dtype have the same bytes. Most arrays differ in the first ones."""
    a, b = (np.reshape(array, -1).view(np.uint8) for array in (one, other))
    return all(np.array_equal(a[i : i + _CHUNK], b[i : i + _CHUNK]) for i in range(0, a.size, _CHUNK))
