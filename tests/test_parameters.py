"""Derivatives with respect to an operator's own fields, and batches of them, against twins in pure JAX."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import S, close, conj, energy, is_inexact, like, normal, stack
from operators import (
    CASES,
    Antilinear,
    AntilinearWithParameters,
    BatchedMix,
    Dense,
    DenseWithParameters,
    DerivedDense,
    M,
    Mix,
    N,
    Permuted,
    Sine,
    SineWithHessian,
    TracedDense,
    TracedSineHostJacobian,
    W,
)

import linops_jax as lo

DIFFERENTIABLE = {name: case for name, case in CASES.items() if case.parameters}
FORWARD = [name for name, case in DIFFERENTIABLE.items() if case.parameters == "both"]
SQUARE = normal((3, 3), np.complex128, 1)


def split(op):
    """The floating point fields of an operator as a list, and the way back."""
    leaves, tree = jax.tree.flatten(jax.tree.map(jnp.asarray, op))
    inexact = [leaf for leaf in leaves if is_inexact(leaf)]

    def join(values):
        values = iter(values)
        return jax.tree.unflatten(tree, [next(values) if is_inexact(leaf) else leaf for leaf in leaves])

    return inexact, join


def both(name):
    """(fields, x) -> y, through the operator and through its twin; and where to evaluate."""
    case = CASES[name]
    fields, join = split(case.op)
    x = like(case.x, 1)
    return (lambda fields, x: join(fields)(x)), (lambda fields, x: case.twin(join(fields), x)), fields, x


def loss(function, **options):
    return lambda *arguments: energy(function(*arguments, **options))


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_reverse_mode(name):
    found, twin, fields, x = both(name)
    close(jax.grad(loss(found))(fields, x), jax.grad(loss(twin))(fields, x))
    g, h = (jax.jit(jax.grad(loss(f), (0, 1))) for f in (found, twin))
    close(g(fields, x), h(fields, x))


@pytest.mark.parametrize("name", FORWARD)
def test_forward_mode(name):
    found, twin, fields, x = both(name)
    tangents = (like(fields, 2), like(x, 3))
    pushed = lambda f: jax.jit(lambda fields, x: jax.jvp(f, (fields, x), tangents))(fields, x)  # noqa: E731
    close(pushed(found), pushed(twin))
    close(jax.linearize(lambda fields: found(fields, x), fields)[1](tangents[0]), pushed_fields(twin, fields, x, tangents))


def pushed_fields(f, fields, x, tangents):
    return jax.jvp(lambda fields: f(fields, x), (fields,), tangents[:1])[1]


@pytest.mark.parametrize("name", FORWARD)
def test_linear_in_the_tangents(name):
    """The derivative in the fields can be transposed, and its transpose again."""
    found, twin, fields, x = both(name)
    push = lambda f: lambda t: pushed_fields(f, fields, x, (t,))  # noqa: E731
    y = like(jax.eval_shape(lambda: found(fields, x)), 5)
    pull = lambda f: lambda y: jax.linear_transpose(push(f), fields)(y)  # noqa: E731
    close(pull(found)(y), pull(twin)(y))
    again = lambda f: jax.linear_transpose(pull(f), y)((like(fields, 6),))  # noqa: E731
    close(again(found), again(twin))


@pytest.mark.parametrize("name", DIFFERENTIABLE)
@pytest.mark.parametrize("axes", [(0, None), (-1, 0)])
def test_batches_of_gradients(name, axes):
    found, twin, fields, x = both(name)
    many = stack([fields, like(fields, 2)], axes[0])
    xs = x if axes[1] is None else stack([x, like(x, 3)])
    mapped = lambda f: jax.vmap(jax.grad(loss(f), (0, 1)), axes)(many, xs)  # noqa: E731
    close(mapped(found), mapped(twin))
    of_sum = lambda f: jax.jit(jax.grad(lambda *z: energy(jax.vmap(f, axes, 1)(*z)), (0, 1)))(many, xs)  # noqa: E731
    close(of_sum(found), of_sum(twin))


@pytest.mark.parametrize("name", CASES)
def test_vmap_over_fields(name):
    case = CASES[name]
    leaves, tree = jax.tree.flatten(jax.tree.map(jnp.asarray, case.op))
    if not leaves:
        pytest.skip("no array fields")
    x, xs = like(case.x, 1), stack([like(case.x, 1), like(case.x, 2)])
    permuted = [leaf * 0.5 if is_inexact(leaf) else leaf[::-1] for leaf in leaves]
    many = jax.tree.unflatten(tree, stack([leaves, permuted]))
    ops = [jax.tree.unflatten(tree, leaves), jax.tree.unflatten(tree, permuted)]
    expected = lambda inputs: stack([apply_twin(case, op, x) for op, x in zip(ops, inputs, strict=True)])  # noqa: E731
    close(jax.vmap(lambda op: op(x))(many), expected([x, x]))
    close(jax.jit(jax.vmap(lambda op, x: op(x)))(many, xs), expected([x, like(case.x, 2)]))
    first = lambda leaf, *rest: jax.tree.unflatten(tree, [leaf, *rest])(x)  # noqa: E731
    only_first = jax.vmap(first, (0, *[None] * (len(leaves) - 1)))(jnp.stack([leaves[0], permuted[0]]), *leaves[1:])
    mixed = jax.tree.unflatten(tree, [permuted[0], *leaves[1:]])
    close(only_first, stack([apply_twin(case, ops[0], x), apply_twin(case, mixed, x)]))


def apply_twin(case, op, x):
    return op(x) if case.twin.__name__ == "composite" else case.twin(op, x)
