"""Exceptions of host hooks, which XLA can carry only as text.

The exception is stored here under a number, the text that XLA carries contains this number, and eager calls raise the
stored exception.
"""

from __future__ import annotations

import contextlib
import itertools
import pathlib
import re
import threading
import traceback
from collections.abc import Callable

import jax

_PACKAGE = str(pathlib.Path(__file__).parent.parent)
_MARK = re.compile(r"\[linops_jax error (\d+)\]")
_MOST_KEPT = 256
OF_XLA = (jax.errors.JaxRuntimeError, ValueError)  # the types of XLA's errors; ValueError occurs in later calls

_lock = threading.Lock()
_numbers = itertools.count(1)
_exceptions: dict[int, BaseException] = {}  # for running eager calls, which raise them
_eager_calls: list[None] = []  # one entry for each running eager call; changed without the lock
_last: BaseException | None = None
observers: list[Callable[[str], None]] = []  # each is called with the text of every exception of a host hook


def last_error() -> BaseException | None:
    """The last exception that a host hook raised in this process.

    XLA carries exceptions from compiled programs as text only. This is the exception itself, with its traceback.

    Returns
    -------
    BaseException or None
        The exception; None if no host hook has raised one.

    Examples
    --------
    >>> class Broken(lo.LinearOperator):
    ...     infer_shape = lambda self, x: x
    ...     adjoint = None
    ...
    ...     def apply(self, x):
    ...         raise ValueError("no licence")
    >>> try:
    ...     jax.block_until_ready(jax.jit(Broken())(jnp.ones(2)))
    ... except jax.errors.JaxRuntimeError:
    ...     print(repr(lo.last_error()))
    ValueError('no licence')
    """
    return _last


def report(name: str, error: BaseException) -> str:
    """Stores an exception and returns the text that XLA carries in its place. The trampoline calls this function."""
    global _last
    _forget_arrays(error)
    text = _text(error)
    advice = _advice(error, text)
    annotate(error, name)
    if advice:
        _add_note(error, advice)
    with _lock:
        number = next(_numbers)
        _last = error
        if _eager_calls:
            _exceptions[number] = error
            _exceptions.pop(number - _MOST_KEPT, None)
    prefix = "" if text.startswith(name) else f"{name} failed: "
    message = f"{prefix}{type(error).__name__}: {text}{users_line(error)} {advice}"
    for observer in observers:
        observer(message.strip())
    message = f"{message}(the original exception is linops_jax.last_error()) [linops_jax error {number}]"
    # XLA carries C strings in UTF-8.
    return message.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode("utf-8")


def begin_eager_call() -> None:
    """Begins an eager call: until ``end_eager_call``, exceptions of hooks are stored for ``original``."""
    _eager_calls.append(None)


def end_eager_call() -> None:
    """Ends an eager call. After the last one the stored exceptions are deleted."""
    _eager_calls.pop()
    if _exceptions and not _eager_calls:
        with _lock:
            if not _eager_calls:  # another thread may have begun a call
                _exceptions.clear()  # their tracebacks would keep local variables alive


def original(error: BaseException) -> BaseException | None:
    """The exception of the hook that caused an exception of XLA; None if no hook caused it."""
    marks = _MARK.findall(str(error))  # the last one belongs to this error; the user's text may quote others
    with _lock:
        return _exceptions.pop(int(marks[-1]), None) if marks else None


def annotate(error: BaseException, name: str) -> None:
    """Adds a note with the name of the operator and the hook to an exception."""
    _add_note(error, f"{name} failed")


def _add_note(error: BaseException, note: str) -> None:
    notes = getattr(error, "__notes__", [])
    if note in notes:
        return
    with contextlib.suppress(Exception):  # not add_note(), which fails for exceptions that are frozen dataclasses
        object.__setattr__(error, "__notes__", [*notes, note])


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return "<str() of the exception failed>"


def _advice(error: BaseException, text: str) -> str:
    """What to do about exceptions of JAX inside a host hook, whose texts do not say it; empty for others."""
    if isinstance(error, RuntimeError) and "no_execution" in text:
        return (
            "JAX was called inside a host hook. This could deadlock, because JAX may have to wait for the program that is "
            "waiting for the hook. Use NumPy in the hook, or mark the hook with lo.traced. "
        )
    if isinstance(error, jax.errors.TracerArrayConversionError | jax.errors.ConcretizationTypeError):
        return (
            "The hook closes over an array that was being traced, which has no values when the hook runs. Declare it as a "
            "field of the class, or mark the hook with lo.traced. "
        )
    return ""


def _forget_arrays(error: BaseException) -> None:
    """Clears the local variables of all frames of a chain of exceptions, because they may hold views of XLA's memory."""
    seen: set[int] = set()
    todo: list[BaseException | None] = [error]
    while todo:
        current = todo.pop()
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        todo += [current.__cause__, current.__context__]
        if isinstance(current, BaseExceptionGroup):
            todo += current.exceptions
        traceback.clear_frames(current.__traceback__)


def users_line(error: BaseException) -> str:
    """The innermost line of the traceback in the file of the hook, not in a library that the hook calls."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(_PACKAGE)]
    if not frames:
        return ""
    frame = [f for f in frames if f.filename == frames[0].filename][-1]
    return f" ({frame.filename}:{frame.lineno}, in {frame.name}: {frame.line})"
