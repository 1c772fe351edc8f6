"""Optimistix's solvers of Gauss and Newton's kind, each step of which is seen."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
import optimistix as optx

from linops_jax import _vectors
from linops_jax.solvers._steps import TrustRegion, expecting
from linops_jax.solvers._watch import Watch


class _State(NamedTuple):
    of_method: Any
    residual: Any
    noted: Any


class Watched(optx.AbstractLeastSquaresSolver):
    """The same method. Each of its steps evaluates the residual once; the first part of that is what is noted.

    Its statistics have the size of this part where it ends, ``residual``, the numbers noted, ``history``, and the number of
    evaluations, ``simulations``.
    """

    method: Any
    watch: Watch
    rtol: Any
    atol: Any
    norm: Any

    def __init__(self, method: optx.AbstractGaussNewton, watch: Watch):
        self.method, self.watch = method, watch
        self.rtol, self.atol, self.norm = method.rtol, method.atol, method.norm

    def init(self, fn: Any, y: Any, args: Any, options: Any, f_struct: Any, aux_struct: Any, tags: Any) -> _State:
        state = self.method.init(fn, y, args, options, f_struct, aux_struct, tags)
        residual = jnp.full_like(_vectors.norm(state.f_info.residual[0]), jnp.nan)
        return _State(state, residual, self.watch.begin(jnp.zeros_like(residual)))

    def step(self, fn: Any, y: Any, args: Any, options: Any, state: _State, tags: Any) -> tuple[Any, _State, Any]:
        y, found, aux = self.method.step(fn, y, args, options, state.of_method, tags)
        if isinstance(self.method.search, TrustRegion):
            found = expecting(found, y)
        residual = _vectors.norm(found.f_info.residual[0])
        return y, _State(found, residual, self.watch.note(state.noted, found.num_steps, residual)), aux

    def terminate(self, fn: Any, y: Any, args: Any, options: Any, state: _State, tags: Any) -> tuple[Any, Any]:
        return self.method.terminate(fn, y, args, options, state.of_method, tags)

    def postprocess(
        self, fn: Any, y: Any, aux: Any, args: Any, options: Any, state: _State, tags: Any, result: Any
    ) -> tuple[Any, Any, dict[str, Any]]:
        given = fn, y, aux, args, options, state.of_method, tags, result
        y, aux, stats = self.method.postprocess(*given)
        seen = {"residual": state.residual, "simulations": state.of_method.num_steps, "history": state.noted}
        return y, aux, stats | seen
