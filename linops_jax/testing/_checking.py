"""``with lo.checking():`` the first call of each operator on each shape checks its adjoint, and that all of out is written."""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import jax
import jax.core
import numpy as np

from linops_jax import _compat
from linops_jax._model import shapes
from linops_jax._operators import operator
from linops_jax._operators.linear import LinearOperator
from linops_jax.testing import _probes
from linops_jax.testing._harness import explain
from linops_jax.testing._report import CheckError
from linops_jax.testing._subject import Subject, is_unwatched
from linops_jax.testing.checks import check_adjoint, check_jacobian_adjoint, check_written

VARIABLE = "LINOPS_JAX_CHECK"
_HOOKS = frozenset({"apply", "linearize", "adjoint", "jacobian_apply", "jacobian_adjoint"})


@contextlib.contextmanager
def checking() -> Iterator[None]:
    """Inside this context, the first call of each operator on inputs of each shape checks its adjoint.

    It holds for all threads. A wrong adjoint raises ``CheckError`` at that call, with a diagnosis, and at later ones;
    so does a hook that leaves an element of ``out`` unwritten. Outside, nothing is checked and nothing is paid.

    Yields
    ------
    None
        The checks are on.

    Notes
    -----
    Operators of one class with equal static fields and the same arrays are one operator. Calls under ``jit`` are
    checked while JAX traces them, unless the operator's own fields are traced. A nonlinear operator is checked close to
    the input, or at a random point where the input is traced: exceptions of its hooks are ignored there.

    ``LINOPS_JAX_CHECK=1`` in the environment does the same for a whole process.

    Examples
    --------
    >>> A = lo.Matrix([[1.0, 2.0], [3.0, 4.0]])
    >>> with lo.checking():
    ...     print(A(jnp.ones(2)))
    [3. 7.]
    """
    watcher = _Watcher()
    operator.watchers.append(watcher)
    try:
        yield
    finally:
        operator.watchers.remove(watcher)


class _Watcher:
    def __init__(self) -> None:
        self._seen: set[Any] = set()  # checked, or being checked
        self._lock = threading.Lock()

    def __call__(self, op: Any, hook: str, arguments: tuple[Any, ...], out: Any) -> None:
        """Called before a hook is evaluated."""
        if is_unwatched():
            return
        x = out if hook == "adjoint" else arguments[0]
        if hook not in _HOOKS or _is_traced(op) or not _can_be_checked(op, x) or _compat.inside_hook():
            return
        key = _specs_of(op), _specs_of(x), tuple(map(_identity, jax.tree.leaves(op)))
        with self._lock:
            if key in self._seen:
                return
            self._seen.add(key)
        try:
            _in_a_thread_of_its_own(_check, op, x)
        except BaseException:
            self._seen.discard(key)
            raise
        for leaf in jax.tree.leaves(op):
            if not isinstance(leaf, np.generic):
                weakref.finalize(leaf, self._seen.discard, key).atexit = False  # its address may be another's then


def _check(op: Any, x: Any) -> None:
    at_random = _is_traced(x) or _is_spec(x)
    subject = Subject(op, shapes.specs(x) if at_random else x)
    adjoint = check_adjoint if subject.is_linear else check_jacobian_adjoint
    checks = ((check_written, "a hook leaves its out unwritten"), (adjoint, "its adjoint is wrong"))
    for check, what in checks:
        try:
            if check.applies(subject):
                check.run(subject)
        except AssertionError as error:
            if not subject.is_linear and "not finite" in str(error):
                return  # a point outside of the function's domain
            message = f"{op!r} was called, and {what}: {explain(error)}. lo.check_operator(op, x) says more."
            raise CheckError(message) from None
        except Exception as error:
            if not subject.is_linear and at_random:
                return
            error.add_note(f"while lo.checking() checked the adjoint of {op!r}")
            raise


def _can_be_checked(op: Any, x: Any) -> bool:
    """Whether x has a derivative, and is known or can be drawn: random integers are no indices, unknown sizes no sizes."""
    leaves = jax.tree.leaves(x)
    floating = [shapes.is_inexact(leaf.dtype) for leaf in leaves]
    if isinstance(op, LinearOperator) or _is_traced(x) or _is_spec(x):
        return bool(leaves) and all(floating) and all(isinstance(n, int) for leaf in leaves for n in leaf.shape)
    return any(floating)


def _is_traced(tree: Any) -> bool:
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(tree))


def _is_spec(tree: Any) -> bool:
    return any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(tree))


def _specs_of(tree: Any) -> Any:
    leaves, structure = jax.tree.flatten(tree)
    return structure, tuple((leaf.shape, str(leaf.dtype)) for leaf in leaves)


def _identity(leaf: Any) -> Any:
    return leaf.item() if isinstance(leaf, np.generic) else id(leaf)


def _in_a_thread_of_its_own(function: Any, *arguments: Any) -> None:
    """Calls the function in another thread: JAX may be tracing in this one."""
    x64 = _probes.has_x64()  # a setting of this thread
    raised: list[BaseException] = []

    def run() -> None:
        try:
            with jax.enable_x64(x64):
                function(*arguments)
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run, name="linops_jax checking")
    thread.start()
    thread.join()
    if raised:
        raise raised[0]


if os.environ.get(VARIABLE, "") not in ("", "0"):
    operator.watchers.append(_Watcher())
