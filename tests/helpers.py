"""Random values, comparisons, and complex numbers as pairs of reals: nothing here knows linops_jax."""

import gc
import time

import jax
import jax.numpy as jnp
import numpy as np
from jax.dtypes import canonicalize_dtype, float0

S = jax.ShapeDtypeStruct


def is_inexact(leaf):
    return jnp.issubdtype(leaf.dtype, np.inexact)


def is_complex(leaf):
    return jnp.issubdtype(leaf.dtype, np.complexfloating)


def normal(shape, dtype=np.float64, seed=0):
    """A Gaussian NumPy array; integers from 0 to 2."""
    rng = np.random.default_rng([seed, *shape])
    if not jnp.issubdtype(dtype, np.inexact):
        return rng.integers(0, 3, shape).astype(dtype)
    values = rng.standard_normal(shape)
    if jnp.issubdtype(dtype, np.complexfloating):
        values = values + 1j * rng.standard_normal(shape)
    return np.asarray(values).astype(dtype)


def like(tree, seed, lead=()):
    """Other values in the structure, shapes and canonical dtypes of ``tree``; ``lead`` adds axes in front."""
    leaves, structure = jax.tree.flatten(tree)
    values = [
        jnp.asarray(normal((*lead, *np.shape(leaf)), canonicalize_dtype(leaf.dtype), seed + 31 * i))
        for i, leaf in enumerate(leaves)
    ]
    return jax.tree.unflatten(structure, values)


def tangent(tree, seed):
    """A tangent for ``tree``: float0 for integers."""
    return jax.tree.map(
        lambda leaf, t: t if is_inexact(leaf) else np.zeros(np.shape(leaf), float0), tree, like(tree, seed)
    )


def close(found, expected, scale=1.0):
    """Asserts equal structures, shapes and dtypes, and equal values up to rounding (``scale`` allows for more of it)."""
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        if a.dtype == float0:
            continue
        a, b = np.asarray(a), np.asarray(b)
        if not is_inexact(a):
            np.testing.assert_array_equal(a, b)
            continue
        eps = float(jnp.finfo(a.dtype).eps)
        wide = np.complex128 if is_complex(a) else np.float64
        a, b = a.astype(wide), b.astype(wide)
        tolerance = 200 * eps * scale
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * np.max(np.abs(b), initial=1e-3))


def energy(tree):
    """A real loss that sees every entry of every array, real and imaginary part, with another weight."""
    total = 0.0
    for leaf in jax.tree.leaves(tree):
        if not is_inexact(leaf):
            continue
        weights = jnp.cos(jnp.arange(leaf.size, dtype=jnp.finfo(leaf.dtype).dtype)).reshape(leaf.shape)
        for part, sign in ((leaf.real, 1.0), (leaf.imag, -0.7)) if is_complex(leaf) else ((leaf, 1.0),):
            total = total + jnp.sum(part**2 * (weights + 2.0)) + sign * jnp.sum(part * weights)
    return total


def pack(tree):
    """The floating point arrays of a pytree as one real vector, complex numbers as (re, im); and the way back."""
    leaves, structure = jax.tree.flatten(tree)
    parts = []
    for leaf in map(jnp.asarray, leaves):
        if is_inexact(leaf):
            parts += [leaf.real.ravel(), leaf.imag.ravel()] if is_complex(leaf) else [leaf.ravel()]

    def unpack(vector):
        values, start = [], 0
        for leaf in map(jnp.asarray, leaves):
            value = leaf
            if is_inexact(leaf):
                value = vector[start : start + leaf.size].reshape(leaf.shape)
                start += leaf.size
                if is_complex(leaf):
                    value = value + 1j * vector[start : start + leaf.size].reshape(leaf.shape)
                    start += leaf.size
                value = value.astype(leaf.dtype)  # the vector has the largest precision of all
            values.append(value)
        return jax.tree.unflatten(structure, values)

    return jnp.concatenate(parts), unpack


def between_reals(function, x):
    """``function`` as a map of real vectors, and the vector of ``x``."""
    vector, unpack = pack(x)
    return lambda v: pack(function(unpack(v)))[0], vector


def conj(tree):
    return jax.tree.map(jnp.conj, tree)


def stack(trees, axis=0):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves, axis), *trees)


def matrix_of(function, shape, dtype):
    """The matrix of a linear NumPy function of one array, column by column."""
    size = int(np.prod(shape))
    rows = [np.asarray(function(e)).ravel() for e in np.eye(size, dtype=dtype).reshape(size, *shape)]
    return np.array(rows).reshape(size, np.size(function(np.zeros(shape, dtype)))).T


def agree(*cases):
    """Asserts that operators are NumPy functions, and their adjoints the adjoints of the matrices of these.

    Each case is ``(op, function, shape, dtype)``; all run in one program.
    """
    inputs, expected = [], []
    for i, (_, function, shape, dtype) in enumerate(cases):
        x = normal(shape, dtype, i)
        y = np.asarray(function(x))
        dy = normal(y.shape, y.dtype, i + 100)
        back = (matrix_of(function, shape, dtype).conj().T @ dy.ravel()).reshape(shape)
        inputs.append((x, dy))
        expected.append((jnp.asarray(y), jnp.asarray((back if is_complex(x) else back.real).astype(dtype))))

    @jax.jit
    def found(inputs):
        return [(op(x), op.with_domain(x).H(dy)) for (op, *_), (x, dy) in zip(cases, inputs, strict=True)]

    close(dict(enumerate(found(inputs))), dict(enumerate(expected)))


def left(objects, expected=0):
    """How many of the objects that programs own are left without them; XLA may free programs on other threads."""
    jax.clear_caches()
    deadline = time.monotonic() + 5
    while len(objects) > expected and time.monotonic() < deadline:
        gc.collect()
        time.sleep(0.02)
    return len(objects)
