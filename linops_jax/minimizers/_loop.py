"""The loop around the steps of an algorithm: when it stops, and what is noted."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from linops_jax import _compat, _vectors
from linops_jax.minimizers._measures import Seen
from linops_jax.minimizers._problem import number
from linops_jax.solvers import _progress
from linops_jax.solvers._watch import Watch

BEGINNING = 20  # steps, which say how far iterates go that do not run away


@dataclasses.dataclass(frozen=True)
class Options:
    """When to stop, and what to note.

    Parameters
    ----------
    rtol : 0-d array
        The tolerance.
    max_steps : int
        The most steps.
    watch : Watch
        Whom to tell the distances, and for how many steps there is room.
    counts : bool
        Whether steps are shown.
    unrolled : bool
        Whether all steps are one program that can be differentiated in reverse mode.
    """

    rtol: Any
    max_steps: int
    watch: Watch
    counts: bool
    unrolled: bool


def iterate(method: Any, state: Any, x: Any, options: Options) -> tuple[Any, dict[str, Any]]:
    """The last state, and what was seen: ``method.advance`` takes a state to the next one and what it sees there."""
    told, kept = dataclasses.replace(options.watch, length=0), Watch(length=options.watch.length)
    infinite = jnp.full((), jnp.inf, number(x))
    eps = jnp.finfo(infinite.dtype).eps

    def is_sound(seen: Seen, reach: Any) -> Any:
        """Whether the iterates are numbers, and do not run away."""
        return jnp.isfinite(seen.moved) & (seen.moved <= reach / eps) & ~jnp.isnan(seen.objective)

    def proceed(carry: Any) -> Any:
        _, seen, step, reach, _, _ = carry
        return ~seen.reached(options.rtol) & (step < options.max_steps) & is_sound(seen, reach)

    def body(carry: Any) -> Any:
        state, _, step, reach, objectives, gaps = carry
        state, seen = method.advance(state)
        step = step + 1
        begins = (step <= BEGINNING) | (reach == 0)
        reach = jnp.where(begins, jnp.maximum(reach, size + seen.moved), reach)
        told.note(None, step, seen.distance)
        if options.counts:
            _progress.count()
        return state, seen, step, reach, kept.note(objectives, step, seen.objective), kept.note(gaps, step, seen.gap)

    nothing = Seen(infinite, infinite, infinite, jnp.zeros_like(infinite))
    size = _vectors.norm(x).astype(infinite.dtype)
    carry = (state, nothing, jnp.int32(0), size, kept.begin(0 * size), kept.begin(0 * size))
    carry = _as_it_will_vary(body, carry)
    if options.unrolled:
        _, seen, *_ = carry = _scan(proceed, body, carry, options.max_steps)
    else:
        _, seen, *_ = carry = jax.lax.while_loop(proceed, body, carry)
    state, _, step, reach, objectives, gaps = carry
    found = {
        "steps": step,
        "objective": seen.objective,
        "gap": seen.gap,
        "residual": seen.residual,
        "distance": seen.distance,
        "converged": seen.reached(options.rtol) & is_sound(seen, reach),
        "sound": is_sound(seen, reach),
        "history": {"objective": objectives, "gap": gaps} if options.watch.length else None,
    }
    return state, found


def _scan(proceed: Any, body: Any, carry: Any, length: int) -> Any:
    def one(carry: Any, _: Any) -> Any:
        new, goes_on = body(carry), proceed(carry)
        return jax.tree.map(lambda a, b: jnp.where(goes_on, a, b), new, carry), None

    return jax.lax.scan(one, carry, None, length)[0]


def _as_it_will_vary(body: Any, carry: Any) -> Any:
    """In ``shard_map``, the carry as a loop leaves it: varying over all axes over which the results of a step do."""
    while _compat.manual_axes():
        leaves, tree = jax.tree.flatten(carry)
        avals = jax.make_jaxpr(body)(carry).out_avals
        grown = [_compat.vary(leaf, _compat.varying_axes(aval)) for leaf, aval in zip(leaves, avals, strict=True)]
        if all(a is b for a, b in zip(grown, leaves, strict=True)):
            break
        carry = jax.tree.unflatten(tree, grown)
    return carry
