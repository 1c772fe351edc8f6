"""Transformations that can be stacked: each makes of a function and its argument another function and its argument.

For twins ``plain`` ones do the same in the simplest way: no compilation, no loops, no meshes.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from helpers import between_reals, energy, like
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P


@dataclasses.dataclass(frozen=True)
class Transformation:
    apply: Callable[..., Any]  # (function, argument) -> (function, argument)
    plain: Callable[..., Any]
    order: int = 0  # of differentiation
    batches: int = 0
    linear: bool = True  # keeps linear functions linear
    needs_linear: bool = False
    reverse: bool = False
    ends_reverse: bool = False
    slow: bool = False


def _like_function(wrap):
    return lambda f, x: (wrap(f), x)


def _stacked(x, n=2, axis=0):
    """By NumPy, which compiles nothing."""

    def stack(leaf):
        leaf = np.asarray(leaf)
        return jnp.asarray(np.stack([((-0.7) ** i * leaf).astype(leaf.dtype) for i in range(n)], axis))

    return jax.tree.map(stack, x)


def _vmap(f, x):
    return jax.vmap(f), _stacked(x)


def _vmap_last(f, x):
    return jax.vmap(f, -1, -1), _stacked(x, axis=-1)


def _scan(f, xs):
    return lambda xs: jax.lax.scan(lambda carry, x: (carry, f(x)), 0, xs)[1], _stacked(xs)


def _fold(f, x):
    """The same as two steps of a loop that reverse mode can go through."""
    return lambda x: jax.lax.fori_loop(0, 2, lambda i, y: _add(y, f(x)), _zeros(f, x)), x


def _while(f, x):
    return lambda x: jax.lax.fori_loop(
        0, jnp.where(_number(x) < 1e30, 2, 3), lambda i, y: _add(y, f(x)), _zeros(f, x)
    ), x


def _cond(f, x):
    return lambda x: jax.lax.cond(_number(x) > 0, f, lambda x: _times(3, f(x)), x), x


def _shard_map(f, x):
    def block(x):
        return jax.tree.map(lambda leaf: leaf[None], f(jax.tree.map(lambda leaf: leaf[0], x)))

    mesh = jax.make_mesh((4,), ("i",), axis_types=(AxisType.Auto,))
    return jax.jit(jax.shard_map(block, mesh=mesh, in_specs=P("i"), out_specs=P("i"))), _stacked(x, 4)


def _jvp(f, x):
    return lambda both: jax.jvp(f, (both[0],), (both[1],)), (x, like(x, 71))


def _linearize(f, x):
    def function(both):
        y, push_forward = jax.linearize(f, both[0])
        return y, push_forward(both[1])

    return function, (x, like(x, 72))


def _vjp(f, x):
    def function(both):
        y, pull_back = jax.vjp(f, both[0])
        return y, pull_back(both[1])[0]

    return function, (x, like(jax.eval_shape(f, x), 73))


def _grad(f, x):
    return jax.grad(lambda x: energy(f(x))), x


def _linear_transpose(f, x):
    return lambda y: jax.linear_transpose(f, x)(y)[0], like(jax.eval_shape(f, x), 74)


def _transpose(f, x):
    return lambda y: jax.vjp(f, jax.tree.map(jnp.zeros_like, x))[1](y)[0], like(jax.eval_shape(f, x), 74)


def _jacobian(mode):
    def transform(f, x):
        def function(x):
            flat, vector = between_reals(f, x)
            return mode(flat)(vector)

        return function, x

    return transform


def _number(x):
    return sum(jnp.sum(jnp.real(leaf)) for leaf in jax.tree.leaves(x))


def _zeros(f, x):
    return jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), jax.eval_shape(f, x))


def _add(a, b):
    return jax.tree.map(jnp.add, a, b)


def _times(n, x):
    return jax.tree.map(lambda leaf: n * leaf, x)


def _plain_cond(f, x):
    return lambda x: jax.tree.map(lambda leaf: jnp.where(_number(x) > 0, 1, 3) * leaf, f(x)), x


def _same(f, x):
    return f, x


_TWICE = _like_function(lambda f: lambda x: _times(2, f(x)))

TRANSFORMATIONS = {
    "jit": Transformation(_like_function(jax.jit), _same),
    "vmap": Transformation(_vmap, _vmap, batches=1),
    "vmap over last axes": Transformation(_vmap_last, _vmap_last, batches=1),
    "jvp": Transformation(_jvp, _jvp, order=1, linear=False),
    "linearize": Transformation(_linearize, _jvp, order=1, linear=False),
    "vjp": Transformation(_vjp, _vjp, order=1, linear=False, reverse=True),
    "grad": Transformation(_grad, _grad, order=1, linear=False, reverse=True),
    "linear_transpose": Transformation(_linear_transpose, _transpose, needs_linear=True, reverse=True),
    "jacfwd": Transformation(_jacobian(jax.jacfwd), _jacobian(jax.jacfwd), order=1, linear=False, slow=True),
    "jacrev": Transformation(
        _jacobian(jax.jacrev), _jacobian(jax.jacrev), order=1, linear=False, reverse=True, slow=True
    ),
    "checkpoint": Transformation(_like_function(jax.checkpoint), _same),
    "scan": Transformation(_scan, _vmap, batches=1, slow=True),
    "cond": Transformation(_cond, _plain_cond, linear=False, slow=True),
    "fori_loop": Transformation(_fold, _TWICE, slow=True),
    "while": Transformation(_while, _TWICE, linear=False, ends_reverse=True, slow=True),
    "shard_map": Transformation(_shard_map, lambda f, x: (jax.vmap(f), _stacked(x, 4)), batches=1, slow=True),
}


LENGTHS = (0, 1, 1, 2, 2, 3, 4, 5)  # of a stack: long ones take longest to compile


def transform(function, x, names, *, plain=False):
    """The function under the transformations, innermost first, and what it is to be applied to."""
    for name in names:
        step = TRANSFORMATIONS[name]
        function, x = (step.plain if plain else step.apply)(function, x)
    return function, x


def draw(rng, *, linear, order):
    """Up to five names that go together, often with ``jit`` around them. ``order``: how often one may differentiate."""
    names, batches, can_reverse, slow = [], 0, True, 0
    for _ in range(LENGTHS[rng.integers(len(LENGTHS))]):
        possible = [
            name
            for name, t in TRANSFORMATIONS.items()
            if t.order <= order
            and batches + t.batches <= 2
            and (can_reverse or not t.reverse)
            and (linear or not t.needs_linear)
            and not (
                name == "shard_map" and "linear_transpose" in names
            )  # refused by JAX: its input's spec does not vary
            and not (t.slow and slow >= 1)
        ]
        name = possible[rng.integers(len(possible))]
        chosen = TRANSFORMATIONS[name]
        names.append(name)
        order, batches, slow = order - chosen.order, batches + chosen.batches, slow + chosen.slow
        can_reverse, linear = can_reverse and not chosen.ends_reverse, linear and chosen.linear
    if rng.random() < 0.9 and names[-1:] != ["jit"]:
        names.append("jit")  # operation by operation, as otherwise, most of the time goes into compiling each of them
    return tuple(names)
