"""The checks and the transformations, for every kind of hook on the device that is there."""

import threading
import warnings

import jax
import jax.numpy as jnp
import kinds
import numpy as np
import pytest
from helpers import close, energy, normal

import linops_jax as lo

pytestmark = pytest.mark.slow

LINEAR, NONLINEAR = kinds.linear(), kinds.nonlinear()
N = 5
D, X = (jnp.asarray(normal((N,), np.complex64, seed)) for seed in (1, 2))


@pytest.fixture(autouse=True)
def no_tensorfloat():
    with jax.default_matmul_precision("highest"):
        yield


def test_there_is_a_library_for_device_hooks():
    if reason := kinds.missing_library():
        warnings.warn(reason, stacklevel=1)
        pytest.skip(reason)
    assert any(name.startswith("device") for name in LINEAR)


@pytest.mark.parametrize("kind", LINEAR)
def test_linear_operators_pass_all_checks(kind):
    lo.check_operator(LINEAR[kind](D), X)


@pytest.mark.parametrize("kind", NONLINEAR)
def test_nonlinear_operators_pass_all_checks(kind):
    lo.check_operator(NONLINEAR[kind](D.real), X.real)


@pytest.mark.parametrize("kind", LINEAR)
def test_transformations(kind):
    cls = LINEAR[kind]
    xs, ds = jnp.stack([X, 2 * X, -X]), jnp.stack([D, 1 + D, D.conj()])

    def everything(function):
        return [
            jax.vmap(function, (None, 0))(D, xs),
            jax.vmap(function, (0, None))(ds, X),
            jax.vmap(jax.vmap(function, (0, None)), (None, 0))(ds, xs),
            jax.grad(lambda x: energy(function(D, x)))(X),
            jax.lax.fori_loop(0, 3, lambda _, x: function(D, x), X),
            jax.lax.scan(lambda x, d: (function(d, x), x), X, ds),
            jax.jvp(lambda x: function(D, x), (X,), (X.conj(),))[1],
            jax.checkpoint(lambda x: function(D, x))(X),
        ]

    close(jax.jit(lambda: everything(lambda d, x: cls(d)(x)))(), jax.jit(lambda: everything(jnp.multiply))(), scale=5)


DTYPES = ["float32", "float16", "bfloat16", "int32", "complex64"]


@pytest.mark.parametrize(
    "kind", [kind for kind in LINEAR if kind != "native"]
)  # a Numba kernel has no 16 bits, and one rank
@pytest.mark.parametrize("shape", [(), (0, 3), (4,)])
def test_dtypes_and_shapes(kind, shape):
    for dtype in DTYPES:
        x = jnp.asarray(normal(shape, np.float32, 3)).astype(dtype)
        if dtype == "bfloat16" and kind == "device, cupy":
            continue  # CuPy's arrays have no bfloat16
        close(LINEAR[kind](x)(x), x * x)


@pytest.mark.parametrize("kind", [kind for kind in LINEAR if kind not in ("traced", "native")])
def test_exceptions(kind):
    class Broken(LINEAR[kind]):
        broken = True
        apply = mark(kind, "no licence")

    for _ in range(2):
        with pytest.raises(ValueError, match=r"^no licence"):
            Broken(D)(X)
        with pytest.raises(
            (jax.errors.JaxRuntimeError, ValueError), match=r"Broken\.apply failed: ValueError: no licence"
        ):
            jax.block_until_ready(jax.jit(lambda x: Broken(D)(x))(X))
    assert repr(lo.last_error()) == "ValueError('no licence')"
    close(LINEAR[kind](D)(X), D * X)


def mark(kind, message):
    def apply(self, x, *, out):
        raise ValueError(message)

    return lo.device(apply) if kind.startswith("device") else apply


@pytest.mark.parametrize("kind", LINEAR)
def test_many_calls_at_once(kind):
    """Far ahead of the device, and from several threads."""
    run = jax.jit(LINEAR[kind](D))
    results = [run(X * i) for i in range(100)]
    found = []
    threads = [threading.Thread(target=lambda i=i: found.append((i, run(X * i)))) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    close(jnp.stack(results), jnp.outer(jnp.arange(100.0), D * X))
    for i, result in found:
        close(result, i * D * X)


@pytest.mark.parametrize("kind", LINEAR)
def test_the_program_is_for_this_device(kind):
    (device,) = LINEAR[kind](D)(X).devices()
    assert device.platform == kinds.PLATFORM
