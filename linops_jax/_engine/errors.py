"""Exceptions on their way through XLA: kept on this side, named on the other, and brought back."""

from __future__ import annotations

import contextlib
import itertools
import pathlib
import re
import threading
import traceback

import jax

_PACKAGE = str(pathlib.Path(__file__).parent.parent)
_MARK = re.compile(r"\[linops_jax error (\d+)\]")
_MOST_KEPT = 256
OF_XLA = (jax.errors.JaxRuntimeError, ValueError)  # what XLA's errors are raised as, the second for later calls

_lock = threading.Lock()
_numbers = itertools.count(1)
_exceptions: dict[int, BaseException] = {}  # for the eager calls in flight, which raise them again
_eager_calls: list[None] = []  # one for each; appended to and popped from without the lock
_last: BaseException | None = None


def last_error() -> BaseException | None:
    """The exception that a host hook raised last, in this process: the object itself, with its traceback.

    In compiled code XLA can only carry text; the original exception is here. None before the first one.
    """
    return _last


def report(name: str, error: BaseException) -> str:
    """Keeps ``error`` and returns the text that XLA carries in its place. Called by the trampoline."""
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
    where = _users_line(error)
    prefix = "" if text.startswith(name) else f"{name} failed: "
    message = (
        f"{prefix}{type(error).__name__}: {text}{where} {advice}"
        f"(the original exception is linops_jax.last_error()) [linops_jax error {number}]"
    )
    # XLA carries C strings in UTF-8.
    return message.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode("utf-8")


def begin_eager_call() -> None:
    """From here to ``end_eager_call`` the exceptions of hooks are kept for ``original``."""
    _eager_calls.append(None)


def end_eager_call() -> None:
    _eager_calls.pop()
    if _exceptions and not _eager_calls:
        with _lock:
            if not _eager_calls:  # still
                _exceptions.clear()  # their tracebacks hold the variables of their callers


def original(error: BaseException) -> BaseException | None:
    """The hook's own exception for one that XLA raised in its place; None where it is another one."""
    marks = _MARK.findall(str(error))  # the last one is ours, the user's text may quote another
    with _lock:
        return _exceptions.pop(int(marks[-1]), None) if marks else None


def annotate(error: BaseException, name: str) -> None:
    """Names the operator and hook in an exception that passes through, without changing it."""
    _add_note(error, f"{name} failed")


def _add_note(error: BaseException, note: str) -> None:
    notes = getattr(error, "__notes__", [])
    if note in notes:
        return
    with contextlib.suppress(Exception):  # add_note() would respect that an exception is frozen
        object.__setattr__(error, "__notes__", [*notes, note])


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return "<str() of the exception failed>"


def _advice(error: BaseException, text: str) -> str:
    """JAX's own words inside of a host hook do not say what to do."""
    if isinstance(error, RuntimeError) and "no_execution" in text:
        return (
            "JAX was called inside a host hook, where it could wait forever for the program that waits for the hook. "
            "Use NumPy there, or mark the hook with lo.traced. "
        )
    if isinstance(error, jax.errors.TracerArrayConversionError | jax.errors.ConcretizationTypeError):
        return (
            "The hook closes over an array that was being traced, which has no values when the hook runs. Declare it as a "
            "field of the class, or mark the hook with lo.traced. "
        )
    return ""


def _forget_arrays(error: BaseException) -> None:
    """Frames of the whole chain hold views of XLA's memory in their local variables."""
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


def _users_line(error: BaseException) -> str:
    """The innermost line in the file where the hook is, rather than in a library that it calls."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(_PACKAGE)]
    if not frames:
        return ""
    frame = [f for f in frames if f.filename == frames[0].filename][-1]
    return f" ({frame.filename}:{frame.lineno}, in {frame.name}: {frame.line})"
