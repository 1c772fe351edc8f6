"""Which hooks call foreign code, which may raise while it runs: eager calls of those wait."""

from __future__ import annotations

import weakref
from typing import Any

from linops_jax._model.hooks import Hook

_foreign: set[Any] = set()  # primitives of foreign code; traced hooks that were seen to call it, which live as long
_looked_into: weakref.WeakSet[Any] = weakref.WeakSet()  # jaxprs


def is_called_by(hook: Hook) -> bool:
    """Whether the hook is foreign code, or traced code that calls some, as far as it has been traced."""
    return hook.is_foreign or hook in _foreign


def note_primitive(primitive: Any) -> None:
    """The primitive of foreign code."""
    _foreign.add(primitive)


def note_traced(hook: Hook, jaxpr: Any) -> None:
    """What a traced hook turned out to be."""
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
