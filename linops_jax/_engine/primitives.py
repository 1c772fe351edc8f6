"""The primitive of a hook. All primitives have the same rules, and those of differentiation use the table of hooks."""

from __future__ import annotations

import functools
from typing import Any

import jax.extend.core
from jax.interpreters import ad, batching, partial_eval, xla

from linops_jax import _compat
from linops_jax._engine import eager, evaluation, foreign, forward, lowering, remembered, reverse
from linops_jax._model.hooks import Hook


def make_primitive(hook: Hook) -> jax.extend.core.Primitive:
    """The primitive of one hook, with all its rules. Nothing is registered under a name."""
    primitive = jax.extend.core.Primitive(hook.label)
    primitive.multiple_results = True
    primitive.def_effectful_abstract_eval(evaluation.types)
    primitive.def_impl(functools.partial(_evaluate_eagerly, primitive, hook))
    batching.fancy_primitive_batchers[primitive] = functools.partial(evaluation.add_axis, primitive)
    ad.primitive_jvps[primitive] = functools.partial(forward.jvp, hook)
    ad.primitive_transposes[primitive] = functools.partial(reverse.transpose, hook)
    if hook.rule.with_state:
        partial_eval.dce_rules[primitive] = _compat.dce_rule(functools.partial(remembered.drop_state, hook))
    lowering.register(primitive, hook)
    if hook.is_foreign:
        foreign.note_primitive(primitive)
    return primitive


def _evaluate_eagerly(primitive: Any, hook: Hook, *operands: Any, **params: Any) -> list[Any]:
    waits = functools.partial(foreign.is_called_by, hook)
    return eager.run_compiled(functools.partial(xla.apply_primitive, primitive, **params), waits, *operands)
