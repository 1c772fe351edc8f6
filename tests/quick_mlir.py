"""MLIR with less effort: JAX makes a context for each program that it lowers, which takes longer than to lower a small one.

Here a thread makes one for some programs. What a context has interned, it keeps. ``XLA_FLAGS=`` in the environment leaves JAX
as users have it.
"""

import functools
import os
import threading

from jax.interpreters import mlir

PROGRAMS = 200

_of_thread = threading.local()


def _context():
    """One that this thread has made, unless many programs were lowered in it already, or one is being lowered."""
    if _is_lowering():  # a module inside of another one is no program
        return mlir.make_ir_context()
    left, context = getattr(_of_thread, "context", (0, None))
    if left == 0:
        left, context = PROGRAMS, mlir.make_ir_context()
    _of_thread.context = left - 1, context
    return context


def _is_lowering():
    try:
        return mlir.ir.Context.current is not None
    except ValueError:
        return False


def _in_a_context_of_many(init):
    @functools.wraps(init)
    def __init__(self, *, context=None, **options):
        init(self, context=_context() if context is None else context, **options)

    return __init__


if os.environ.get("XLA_FLAGS") != "":
    mlir.ModuleContext.__init__ = _in_a_context_of_many(mlir.ModuleContext.__init__)
