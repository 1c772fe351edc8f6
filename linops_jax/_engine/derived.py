"""Hooks that JAX derives from traced hooks.

From ``apply`` come the adjoint, the Jacobian and the derivatives with respect to the fields. Other hooks come from their
transposes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from linops_jax import _compat
from linops_jax._engine import returned
from linops_jax._model import shapes
from linops_jax._model.hooks import Hook
from linops_jax._model.rules import CT, STATE


def _conj(tree: Any) -> Any:
    return jax.tree.map(jnp.conj, tree)


def as_tangents(tree: Any, primal: Any) -> Any:
    """The arrays as JAX takes tangents of ``primal``: those of integers have a type of their own, and are zero."""
    return jax.tree.map(
        lambda t, x: t if shapes.is_inexact(x.dtype) else np.zeros(jnp.shape(x), jax.dtypes.float0), tree, primal
    )


def _apply_of(op: Any) -> Callable[[Any], Any]:
    return functools.partial(type(op)._hooks["apply"].function, op)


def _adjoint_of(op: Any, y: Any, *, out: Any) -> Any:
    return adjoint(_apply_of(op), y, out, (op, y))


def adjoint(linear: Callable[[Any], Any], y: Any, out: Any, arguments: Any) -> Any:
    """The adjoint of a linear function, applied to ``y``. It is None for integer arrays, which JAX does not transpose.

    Parameters
    ----------
    linear : callable
        The linear function.
    y : pytree of arrays
        The argument of the adjoint.
    out : pytree of jax.ShapeDtypeStruct
        The specs of its result.
    arguments : pytree of arrays
        All arrays on which the linear function depends.
    """
    wanted, tree = jax.tree.flatten(out)
    moving = [i for i, spec in enumerate(wanted) if shapes.is_inexact(spec.dtype)]
    ys = jax.tree.leaves(_conj(y))
    cotangents = [ct for ct in ys if shapes.is_inexact(ct.dtype)]
    answer: list[Any] = [None] * len(wanted)
    if moving and cotangents:

        def function(*values: Any) -> list[Any]:
            leaves = [shapes.zeros(spec) for spec in wanted]
            for i, value in zip(moving, values, strict=True):
                leaves[i] = value
            results = jax.tree.leaves(linear(jax.tree.unflatten(tree, leaves)))
            return [
                jnp.asarray(z).astype(ct.dtype)
                for z, ct in zip(results, ys, strict=True)
                if shapes.is_inexact(ct.dtype)
            ]

        at = _varying_as(function, jax.tree.leaves(arguments), [wanted[i] for i in moving])
        results = _compat.eval_shape(function, *at)
        cotangents = [_compat.placed(ct, spec) for ct, spec in zip(cotangents, results, strict=True)]
        for i, x in zip(moving, jax.linear_transpose(function, *at)(cotangents), strict=True):
            answer[i] = jnp.conj(x)
    return jax.tree.unflatten(tree, answer)


def _varying_as(function: Callable[..., Any], arrays: list[Any], specs: list[jax.ShapeDtypeStruct]) -> list[jax.Array]:
    """Zeros with these specs, which vary over the mesh axes of an enclosing ``shard_map`` as the function needs it.

    If the specs do not say over which axes they vary, these are the axes of the arrays, and the axes over which the function
    sums. For a sum over devices each device must have an input of its own. Otherwise JAX would add up the results of all
    devices a second time.
    """
    zeros = list(map(shapes.zeros, specs))
    manual = _compat.manual_axes()
    if not manual or any(map(_compat.varying_axes, specs)):
        return zeros
    axes = frozenset[Any]().union(*map(_compat.varying_axes, arrays))
    zeros = [_compat.vary(zero, axes) for zero in zeros]
    axes = _compat.named_axes(jax.make_jaxpr(function)(*zeros)) & manual
    return [_compat.vary(zero, axes) for zero in zeros]


def prox_step_of(op: Any, x: Any, step: Any, dstep: Any, *, out: Any) -> Any:
    """The derivative of p = prox(x, step) in the step: J (p - x) / step, where J is the one in x.

    It follows from p + step df(p) = x: a change of the step moves p as a change of x by -df(p) = (p - x) / step does.
    At step 0 it is the limit: all is taken at a step whose square is lost in rounding.
    """
    step = jnp.where(step == 0, _tiny_step(x).astype(step.dtype), step)
    p = op._evaluate("prox", (x, step), out)
    rate = dstep / step
    direction = jax.tree.map(lambda p, x: (p - x) * rate.astype(jnp.finfo(p.dtype).dtype), p, x)
    return op._evaluate("prox_jacobian", (x, step, direction), out)


def _tiny_step(x: Any) -> Any:
    """The step at which what is lost in rounding of prox(x, step) - x, and at its bends, are least: the root of eps, times x."""
    leaves = [leaf for leaf in jax.tree.leaves(x) if leaf.size]
    sizes = [float(jnp.finfo(leaf.dtype).eps) ** 0.5 * jnp.max(jnp.abs(leaf)) for leaf in leaves]
    largest = functools.reduce(jnp.maximum, sizes, jnp.zeros(()))
    return jnp.where(largest > 0, largest, 1e-3)


def gram_of(op: Any, x: Any, *, out: Any) -> Any:
    """Aᴴ A x by the other hooks, for the derivative of ``gram`` with respect to the fields."""
    return op._reverse(op._forward(x), out)


def _varying(arrays: Any) -> Any:
    """The arrays, changed to vary over all mesh axes over which one of them varies.

    Otherwise JAX would add up the derivatives of all devices.
    """
    leaves, tree = jax.tree.flatten(arrays)
    return jax.tree.unflatten(tree, _compat.with_same_varying_axes([jnp.asarray(leaf) for leaf in leaves]))


def _jacobian_apply_of(op: Any, x: Any, dx: Any, *, out: Any) -> Any:
    x, dx = _varying((x, dx))
    return jax.jvp(_apply_of(op), (x,), (as_tangents(dx, x),))[1]


def _jacobian_adjoint_of(op: Any, x: Any, dy: Any, *, out: Any) -> Any:
    return _pull_back(_apply_of(op), x, dy)


def _parameter_jvp_of(op: Any, x: Any, dself: Any, *, out: Any) -> Any:
    op, dself = _varying((op, dself))
    return jax.jvp(lambda op: _apply_of(op)(x), (op,), (as_tangents(dself, op),))[1]


def _parameter_vjp_of(op: Any, x: Any, dy: Any, *, out: Any) -> Any:
    return _pull_back(lambda op: _apply_of(op)(x), op, dy)


def _pull_back(function: Callable[[Any], Any], at: Any, dy: Any) -> Any:
    at, dy = _varying((at, dy))

    def promised(at: Any) -> Any:
        y = jax.tree.map(lambda y, dy: jnp.asarray(y).astype(dy.dtype), function(at), dy)
        return _varying((y, dy))[0]

    y, pullback = jax.vjp(promised, at)
    dy = _varying((dy, y))[0]
    (ct,) = pullback(as_tangents(_conj(dy), y))
    return jax.tree.map(lambda leaf: None if leaf.dtype == jax.dtypes.float0 else jnp.conj(leaf), ct)


def transposed(given: Hook, argument: str) -> Callable[..., Any]:
    """The adjoint of a traced hook with respect to one of its arguments, as the function of the transposed hook."""
    rule = given.rule
    _, order = rule.transposed[argument]

    def derived(*arguments: Any, out: Any) -> Any:
        known = dict(zip(order, arguments, strict=True))
        specs = shapes.specs(known[CT])

        def linear(moving: Any) -> Any:
            values = [moving if name == argument else known[name] for name in rule.arguments]
            result = given.evaluate(values, **({"out": specs} if given.derived else {}))
            return returned.as_promised(given, result, specs)

        return adjoint(linear, known[CT], out, arguments)

    return derived


def of_point(hook: Hook, linearize: Hook) -> Callable[..., Any]:
    """A traced hook that takes a state, as a function that computes the state by ``linearize``, for JAX to differentiate."""
    at = hook.rule.arguments.index(STATE)

    def derived(*arguments: Any, out: Any) -> Any:
        op, x = arguments[:2]
        _, state = linearize.function(op, x)
        keywords = {"out": out} if hook.derived else {}
        return hook.evaluate([*arguments[:at], state, *arguments[at + 1 :]], **keywords)

    return derived


DERIVED: dict[str, Callable[..., Any]] = {
    "adjoint": _adjoint_of,
    "jacobian_apply": _jacobian_apply_of,
    "jacobian_adjoint": _jacobian_adjoint_of,
    "parameter_jvp": _parameter_jvp_of,
    "parameter_vjp": _parameter_vjp_of,
}
