"""A kind of hook is its entry in ``_model/kinds`` and its rule in ``_engine/lowering``: one kind more, made here."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import close, normal
from jax.interpreters import mlir

import linops_jax as lo
from linops_jax._engine import lowering
from linops_jax._engine.binding import of_variant
from linops_jax._model.kinds import Kind

pytestmark = pytest.mark.versions

CALLBACK = Kind("callback", is_foreign=True, is_numpy=True, refuses={"out": "is a callback, which cannot fill out."})


def lower(hook, context, *operands, binding, batch, out, **_):
    """Code of the host in ``jax.pure_callback``."""
    binding = of_variant(binding, hook)

    def evaluate(*leaves):
        shapes = [jax.ShapeDtypeStruct(*spec) for spec in out]
        call = functools.partial(jax.pure_callback, lambda *args: [np.asarray(binding(*map(np.asarray, args)))], shapes)
        return batch.mapped(functools.partial(call, vmap_method="sequential"))(*leaves)

    return mlir.lower_fun(evaluate, multiple_results=True)(context, *operands)


@pytest.fixture(scope="module")
def blur():
    """A class whose hooks are of this kind."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(lowering._RULES, CALLBACK, lower)

        class Blur(lo.LinearOperator):
            kernel: jax.Array

            @CALLBACK.mark
            def apply(self, x):
                assert type(x) is type(self.kernel) is np.ndarray
                return np.convolve(x, self.kernel)

            @CALLBACK.mark
            def adjoint(self, y):
                return np.correlate(y, self.kernel, "valid")

            def infer_shape(self, x):
                return jax.ShapeDtypeStruct((x.shape[0] + self.kernel.shape[0] - 1,), x.dtype)

            def infer_adjoint_shape(self, y):
                return jax.ShapeDtypeStruct((y.shape[0] - self.kernel.shape[0] + 1,), y.dtype)

        yield Blur


def test_every_transformation_and_the_checks_know_it(blur):
    kernels, xs = normal((4, 3), np.float32), normal((4, 5), np.float32, 1)
    op, x = blur(jnp.asarray(kernels[0])), jnp.asarray(xs[0])
    expected = jnp.asarray([np.convolve(x, kernel) for x, kernel in zip(xs, kernels, strict=True)])
    close(op(x), expected[0], scale=5)
    close(jax.jit(jax.vmap(lambda k, x: blur(k)(x)))(jnp.asarray(kernels), jnp.asarray(xs)), expected, scale=5)
    gradient = jax.grad(lambda x: jnp.sum(op(x) ** 2))(x)
    close(gradient, jnp.asarray(2 * np.correlate(expected[0], kernels[0], "valid")), scale=20)
    assert "callback" in (text := jax.jit(op).lower(x).as_text())
    assert "linops_jax" not in text
    for check in ("by_hand", "adjoint", "vjp"):
        dict(lo.operator_checks(op, x))[check]()
    assert "callback: apply, adjoint" in str(lo.tree(op))


def test_it_is_one_of_several_for_a_platform(monkeypatch):
    monkeypatch.setitem(lowering._RULES, CALLBACK, lower)
    seen = []

    class Double(lo.LinearOperator):
        by_callback = CALLBACK.mark(lambda self, x: seen.append(type(x)) or 2 * x)
        apply = lo.per_platform(cpu=by_callback, default=lo.traced(lambda self, x: 2 * x))

    close(Double()(jnp.ones(3)), jnp.full(3, 2.0))
    assert set(seen) == {np.ndarray}


def test_what_its_functions_cannot_take_is_refused():
    with pytest.raises(TypeError, match=r"Fills\.apply is a callback, which cannot fill out\."):

        class Fills(lo.LinearOperator):
            adjoint = None

            @CALLBACK.mark
            def apply(self, x, *, out): ...

            def infer_shape(self, x):
                return x

    with pytest.raises(TypeError, match=r"^lo\.callback marks a plain method, not int\.$"):
        CALLBACK.mark(3)
