"""Which hooks call foreign code (host or native code). Such code may raise while it runs, so eager calls of it wait."""

from __future__ import annotations

import weakref
from typing import Any

from linops_jax._model.hooks import Hook

# Primitives of foreign code, and traced hooks that call foreign code. Both live as long as the process.
_foreign: set[Any] = set()
_looked_into: weakref.WeakSet[Any] = weakref.WeakSet()  # jaxprs that have been searched


def is_called_by(hook: Hook) -> bool:
    """Whether the hook is foreign code, or traced code in which a call of foreign code has been found."""
    return hook.is_foreign or hook in _foreign


def note_primitive(primitive: Any) -> None:
    """Records the primitive of a hook that is foreign code."""
    _foreign.add(primitive)


def note_traced(hook: Hook, jaxpr: Any) -> None:
    """Records a traced hook if its jaxpr calls foreign code."""
    if hook not in _foreign and jaxpr not in _looked_into:
        _looked_into.add(jaxpr)
        if _is_in(jaxpr):
            _foreign.add(hook)


def _is_in(program: Any) -> bool:
    """Whether a jaxpr, or anything in the parameters of its equations, calls foreign code."""
    if isinstance(program, tuple | list):
        return any(map(_is_in, program))
    jaxpr = getattr(program, "jaxpr", program)
    equations = getattr(jaxpr, "eqns", ())
    return any(eqn.primitive in _foreign or _is_in(tuple(eqn.params.values())) for eqn in equations)
