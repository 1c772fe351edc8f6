"""Gradients and Hessian-vector products of f(x1, x2) = x1 x2², the example of the JAXbind paper."""

from collections.abc import Callable, Iterator
from functools import partial
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import linops_jax as lo

from ._measure import Case, Effort, Run
from ._negation import OURS

TITLE = "Derivatives"
SIZES = (8, 100_000)


class Paper(lo.NonlinearOperator):
    """f(x1, x2) = x1 x2² of real arrays."""

    def apply(self, x, *, out):
        x1, x2 = x
        np.multiply(x1, x2, out=out)
        np.multiply(out, x2, out=out)

    def jacobian_apply(self, x, dx, *, out):
        (x1, x2), (dx1, dx2) = x, dx
        np.multiply(x2, dx1, out=out)
        out += 2 * x1 * dx2
        np.multiply(out, x2, out=out)

    def jacobian_adjoint(self, x, dy, *, out):
        x1, x2 = x
        scaled = x2 * dy
        np.multiply(x2, scaled, out=out[0])
        np.multiply(2 * x1, scaled, out=out[1])

    def hessian_apply(self, x, dx1, dx2, *, out):
        (x1, x2), (d1, d2), (e1, e2) = x, dx1, dx2
        np.multiply(2 * x2, d1 * e2 + e1 * d2, out=out)
        out += 2 * x1 * d2 * e2

    def hessian_adjoint(self, x, dx, dy, *, out):
        (x1, x2), (d1, d2), (first, second) = x, dx, out
        twice = 2 * dy
        np.multiply(x2, d2, out=first)
        np.multiply(x2, d1, out=second)
        second += x1 * d2
        first *= twice
        second *= twice

    def infer_shape(self, x):
        return x[0]


def of_jax(x: Any) -> jax.Array:
    return x[0] * x[1] ** 2


def functional(peer: ModuleType) -> Callable[[Any], Any]:
    """The same by get_nonlinear_call, of JAXbind or of ours."""

    def f(out, args, kwargs_dump):
        Paper().apply(args, out=out[0])

    def jvp(out, args, kwargs_dump):
        Paper().jacobian_apply(args[:2], args[2:], out=out[0])

    def vjp(out, args, kwargs_dump):
        Paper().jacobian_adjoint(args[:2], args[2], out=out)

    def abstract(*args):
        return ((args[0].shape, args[0].dtype),)

    def abstract_reverse(*args):
        return tuple((x.shape, x.dtype) for x in args[:2])

    call = peer.get_nonlinear_call(f, (jvp, vjp), abstract, abstract_reverse)
    return lambda x: call(*x)[0]


def by_jaxbind() -> Callable[[Any], Any]:
    import jaxbind

    return functional(jaxbind)


FUNCTIONS = {OURS: Paper, "JAXbind": by_jaxbind, "plain JAX": lambda: of_jax}


def cases(effort: Effort) -> Iterator[Case]:
    calls = 100
    for size in SIZES:
        gradients = {name: partial(_gradient, build, size, calls) for name, build in FUNCTIONS.items()}
        yield Case(f"gradient of sum f² / 2, {size:,} floats each", gradients, calls)
    interface = {f"{OURS}, get_nonlinear_call": lambda: functional(lo), "JAXbind": by_jaxbind}
    both = {name: partial(_gradient, build, SIZES[0], calls) for name, build in interface.items()}
    yield Case(f"the same gradient by functions, {SIZES[0]} floats each", both, calls)
    for size in SIZES:
        second = {name: partial(_hessian, FUNCTIONS[name], size, calls) for name in (OURS, "plain JAX")}
        yield Case(f"Hessian times vector, {size:,} floats each", second, calls)


def _point(size: int) -> tuple[jax.Array, jax.Array]:
    rng = np.random.default_rng(0)
    first, second = rng.uniform(0.5, 1, (2, size)).astype(np.float32)
    return jnp.asarray(first), jnp.asarray(second)


def _loss(function: Callable[[Any], Any]) -> Callable[[Any], jax.Array]:
    return lambda x: jnp.sum(function(x) ** 2) / 2


def _descent(x: Any, gradient: Any) -> Any:
    return jax.tree.map(lambda a, b: a - 1e-3 * b, x, gradient)


def _gradient(build: Callable[[], Callable[[Any], Any]], size: int, calls: int) -> Run:
    gradient = jax.grad(_loss(build()))
    run = jax.jit(lambda x: jax.lax.fori_loop(0, calls, lambda _, v: _descent(v, gradient(v)), x))
    return _checked(run, gradient, jax.grad(_loss(of_jax)), _point(size))


def _hessian(build: Callable[[], Callable[[Any], Any]], size: int, calls: int) -> Run:
    def product(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
        return lambda x: jax.jvp(jax.grad(_loss(function)), (x,), (_point(size),))[1]

    second = product(build())
    run = jax.jit(lambda x: jax.lax.fori_loop(0, calls, lambda _, v: _descent(v, second(v)), x))
    return _checked(run, second, product(of_jax), _point(size))


def _checked(run: Callable[[Any], Any], function: Any, expected: Any, x: Any) -> Run:
    for a, b in zip(function(x), expected(x), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4)
    return lambda: jax.block_until_ready(run(x))
