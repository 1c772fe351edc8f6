"""PyLops' operators as ours against PyLops itself; ours in PyLops' and pyproximal's solvers against dense matrices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pylops
import pylops_operators
import pyproximal
import pytest
from helpers import S, close, like, normal
from pylops_operators import COMPLEX, MATRIX, OPERATORS
from scipy.sparse.linalg import aslinearoperator

import linops_jax as lo
from linops_jax import interop

from_pylops, to_pylops = interop.from_pylops, interop.to_pylops


# ---- from_pylops ----------------------------------------------------------------------------------------------------


@functools.partial(jax.jit, static_argnums=3)
def everything(x, y, data, op):
    """Forward, adjoint, gradient of a misfit, and batches of all three."""

    def of_one(x, y, data):
        misfit = lambda x: 0.5 * jnp.sum(jnp.abs(op(x) - data) ** 2)  # noqa: E731
        return op(x), op.H(y), jax.grad(misfit)(x)

    first = lambda tree: jax.tree.map(lambda leaf: leaf[0], tree)  # noqa: E731
    return of_one(*first((x, y, data))), jax.vmap(of_one)(x, y, data)


def expected(P, op, x, y, data):
    forward = lambda x: P.matvec(x.ravel()).reshape(P.dimsd)  # noqa: E731
    adjoint = lambda y: P.rmatvec(y.ravel()).reshape(P.dims)  # noqa: E731
    values = [
        (forward(x), adjoint(y), np.conj(adjoint((forward(x) - data).astype(data.dtype))))
        for x, y, data in zip(*map(np.asarray, (x, y, data)), strict=True)
    ]
    batch = tuple(map(np.stack, zip(*values, strict=True)))
    dtypes = (op.codomain.dtype, op.domain.dtype, op.domain.dtype)
    return jax.tree.map(lambda a, dtype: a.astype(dtype), (values[0], batch), (dtypes, dtypes))


@pytest.mark.parametrize("name", OPERATORS)
def test_every_operator(name, x64):
    P = pylops_operators.operator(name)
    op = from_pylops(P)
    assert (op.domain.shape, op.codomain.shape) == (tuple(P.dims), tuple(P.dimsd))
    assert op.properties.real_linear is not P.clinear
    x, y, data = like(op.domain, 1, (2,)), like(op.codomain, 2, (2,)), like(op.codomain, 3, (2,))
    close(everything(x, y, data, Hashable(op)), expected(P, op, x, y, data))


class Hashable:
    """An operator as a static argument, by identity: PyLops' arrays are inside a live object anyway."""

    def __init__(self, op):
        self.H, self.call = op.H, op

    def __call__(self, x):
        return self.call(x)


def test_there_are_many_operators():
    assert len(pylops_operators.CLASSES) >= 60
