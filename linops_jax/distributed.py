"""Programs of several processes: a failure of one of them ends all.

In JAX, the others wait for it in their next collective. Here the process that fails leaves a note in JAX's coordination
service, and in each process a thread looks for one.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import threading
import time
import traceback
from types import TracebackType
from typing import Any, NamedTuple

import jax

from linops_jax import _compat
from linops_jax._engine import errors

__all__ = ["watch"]

_FAILURES, _FIRST = "linops_jax/watch/failures/", "first"  # a folder of notes, and the only one in it
_STATES = "linops_jax/watch/states/"  # a folder, in which the note of each process has its number as a name
_RUNS, _OVER = "runs", "over"  # what it says
_PATIENCE = 4.0  # seconds: for others to read of a failure; half of it for this process to print its traceback
_BREATH = 0.05  # seconds
_LONGEST = 2000  # characters of a message

_running: list[_Watch] = []  # at most one


def watch(poll: float = 0.5) -> contextlib.AbstractContextManager[None]:
    """From now on, a failure of one process ends all processes of the program, with its message.

    Call it in each process, after ``jax.distributed.initialize``. It can be used as a ``with`` block around the program, too:
    then all exceptions that leave the block are failures.

    Parameters
    ----------
    poll : float, optional
        How often each process looks whether another one has failed, in seconds; 0.5 by default.

    Returns
    -------
    context manager
        For ``with``. It is needed where an exception would not end Python, as in notebooks and test runners, and for
        ``sys.exit`` with a code.

    Raises
    ------
    RuntimeError
        If ``jax.distributed.initialize`` has not been called.
    ValueError
        If ``poll`` is not positive.
    NotImplementedError
        If the coordination service of this version of JAX cannot be used.

    Notes
    -----
    A failure is

    - an exception of a host hook, also if your code would catch it: the other processes do not know that this one is not
      going to join their next collective;
    - an exception that ends the program.

    The process that failed prints its traceback. Each other one prints which process failed and why, ``poll`` seconds later at
    most, also if it waits in a collective. A few seconds later all end with exit code 1, without running ``finally`` or
    ``atexit``. A process that is killed leaves no note. Then the next collective fails in the others, and the first of these
    failures ends all.

    The watch lasts until the processes end, which they do together. In a program of one process it does nothing.

    Examples
    --------
    >>> def main():
    ...     jax.distributed.initialize()
    ...     lo.distributed.watch()
    ...     ...  # the program
    """
    if not poll > 0:
        message = (
            f"lo.distributed.watch: poll={poll!r} is not a time between two looks. Give a positive number of seconds."
        )
        raise ValueError(message)
    if not jax.distributed.is_initialized():
        message = (
            "lo.distributed.watch: JAX knows of no other processes. Call jax.distributed.initialize before; a program of one "
            "process has nothing to watch."
        )
        raise RuntimeError(message)
    group = _Group(*_compat.coordination())
    if group.count == 1:
        return contextlib.nullcontext()
    if not _running:
        _running.append(_Watch(group))
    _running[0].poll = poll
    return _running[0]


class _Group(NamedTuple):
    """The processes of a program, and their notes in the coordination service."""

    client: Any
    number: int  # of this process
    count: int

    def write(self, name: str, text: str) -> None:
        """Writes a note, in place of the one with this name."""
        self.client.key_value_set(name, text, True)

    def write_first(self, name: str, text: str) -> None:
        """Writes a note, if there is none with this name."""
        try:
            self.client.key_value_set(name, text)
        except jax.errors.JaxRuntimeError as error:
            if "ALREADY_EXISTS" not in str(error):
                raise

    def read(self, folder: str) -> dict[str, str]:
        """All notes in a folder, by their names in it."""
        return {name.removeprefix(folder): text for name, text in self.client.key_value_dir_get(folder)}


class _Watch(contextlib.AbstractContextManager[None]):
    """The watch of this process, which is one of a group."""

    poll = 0.5

    def __init__(self, group: _Group) -> None:
        self._group = group
        self._failure = ""  # the message, if this process has failed
        self._ends = False
        self._wake, self._shown = threading.Event(), threading.Event()
        self._say(_RUNS)
        errors.observers.append(self._fail)
        self._excepthook, sys.excepthook = sys.excepthook, self._uncaught
        self._thread = threading.Thread(target=self._run, name="linops_jax watch", daemon=True)
        self._thread.start()
        atexit.register(self._end)  # runs before JAX leaves the service

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, frames: TracebackType | None
    ) -> None:
        if error is not None and not (isinstance(error, SystemExit) and error.code in (None, 0)):
            self._fail(_text(error))

    def _uncaught(self, kind: type[BaseException], error: BaseException, frames: TracebackType | None) -> Any:
        self._fail(_text(error))
        try:
            return self._excepthook(kind, error, frames)
        finally:
            self._shown.set()

    def _fail(self, message: str) -> None:
        self._failure = self._failure or message.encode("utf-8", "backslashreplace").decode()
        self._wake.set()

    def _end(self) -> None:
        """Waits for the end of the others, or for a failure of one of them. The thread must end before Python does."""
        self._ends = True
        self._wake.set()
        self._thread.join()

    # ---- in the thread --------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while jax.distributed.is_initialized():
            self._wake.wait(self.poll)
            self._wake.clear()
            try:
                if self._all_are_over():
                    return
            except jax.errors.JaxRuntimeError:  # the service is gone, as JAX notices, too
                if self._failure:
                    self._leave(self._group.number, self._failure)

    def _all_are_over(self) -> bool:
        """Whether all processes have come to their end. If one has failed, ends this one."""
        if self._failure:
            self._group.write_first(_FAILURES + _FIRST, f"{self._group.number} {self._failure[:_LONGEST]}")
        if failures := self._group.read(_FAILURES):
            number, _, message = failures[_FIRST].partition(" ")
            self._leave(int(number), message)
        if self._ends:
            self._say(_OVER)
        return self._ends and not self._some_run()

    def _say(self, state: str) -> None:
        self._group.write(f"{_STATES}{self._group.number}", state)

    def _some_run(self) -> bool:
        return _RUNS in self._group.read(_STATES).values()

    def _leave(self, failed: int, message: str) -> None:
        """Ends this process when all have come to this: the first to end would be one more failure for the others."""
        _, number, count = self._group
        until = time.monotonic() + _PATIENCE
        if failed != number:
            _print(f"process {failed} of {count} has failed, so process {number} ends: {message}")
        elif not self._shown.wait(_PATIENCE / 2):  # it waits for something that another device will not send
            _print(f"process {number} of {count}, this one, has failed: {message}")
        with contextlib.suppress(jax.errors.JaxRuntimeError):
            self._say(_OVER)
            while self._some_run() and time.monotonic() < until:
                time.sleep(_BREATH)
        if number == 0:
            time.sleep(5 * _BREATH)  # it has the service, which the others still ask
        with contextlib.suppress(Exception):
            sys.stdout.flush()
        os._exit(1)


def _text(error: BaseException) -> str:
    return "".join(traceback.format_exception_only(error)).strip() + errors.users_line(error)


def _print(message: str) -> None:
    with contextlib.suppress(OSError):  # nobody listens
        os.write(2, f"linops_jax: {message}\n".encode())  # at once: other threads write as well
