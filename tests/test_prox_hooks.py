"""``prox`` as a hook of a class: host, traced and native, under every transformation, with derivatives by ``prox_jacobian``."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import close, normal
from jax import export
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

import linops_jax as lo


class Host(lo.Functional):
    """The l1-norm, weighted by a field, in NumPy."""

    w: jax.Array = lo.constant()

    def apply(self, x):
        return np.sum(self.w * np.abs(x), dtype=self.w.dtype)

    def jacobian_apply(self, x, dx):
        return np.sum(self.w * np.real(np.conj(np.sign(x)) * dx), dtype=self.w.dtype)

    def jacobian_adjoint(self, x, dy):
        return self.w * np.sign(x) * dy

    def infer_shape(self, x):
        return jax.ShapeDtypeStruct((), self.w.dtype)

    def prox(self, x, step):
        assert isinstance(x, np.ndarray)
        assert (np.shape(step), step.dtype) == ((), self.w.dtype)
        return np.sign(x) * np.maximum(np.abs(x) - step * self.w, 0)

    def prox_jacobian(self, x, step, dx):
        """For real x, or complex x on the real axis."""
        return np.where(np.abs(x) > step * self.w, dx, 0)


class Traced(Host):
    """The same in JAX, with derivatives by JAX."""

    @lo.traced
    def apply(self, x):
        return jnp.sum(self.w * jnp.abs(x))

    @lo.traced
    def prox(self, x, step):
        return jnp.sign(x) * jnp.maximum(jnp.abs(x) - step * self.w, 0)


class ByHand(Traced):
    """Traced, with a host hook for the derivative, which is right only here: J dx is 3 times too large."""

    def prox_jacobian(self, x, step, dx):
        return 3 * super().prox_jacobian(x, step, dx)


class NoJacobian(lo.Functional):
    d: jax.Array

    apply = lo.traced(lambda self, x: jnp.sum(self.d * x**2))

    def prox(self, x, step):
        return x / (1 + 2 * step * self.d)


X, W = jnp.array([3.0, -0.2, 1.5, -2.0]), jnp.array([1.0, 1.0, 0.5, 2.0])
XS = jnp.asarray(normal((3, 4), np.float32))
STEPS = jnp.array([0.3, 0.9, 0.05])


def loss(f, x, step):
    return jnp.sum(jnp.cos(jnp.arange(4.0)) * f.prox(x, step))


def everything(f):
    """Values and derivatives in x and the step, alone and batched."""
    both = jax.value_and_grad(loss, (1, 2))
    return {
        "eager": f.prox(X, 0.4),
        "grad": both(f, X, 0.4),
        "jit": jax.jit(both)(f, X, jnp.array(0.4)),
        "vmap over x": jax.vmap(both, (None, 0, None))(f, XS, 0.4),
        "vmap over both": jax.jit(jax.vmap(both, (None, 0, 0)))(f, XS, STEPS),
        "vmap over the step": jax.vmap(both, (None, None, 0))(f, X, STEPS),
        "nested": jax.vmap(jax.vmap(both, (None, 0, None)), (None, None, 0))(f, XS, STEPS),
        "forward": jax.jvp(f.prox, (X, jnp.array(0.4)), (jnp.ones(4), jnp.array(2.0))),
        "fields": jax.vmap(lambda w, x: type(f)(w).prox(x, 0.4))(jnp.stack([W, 2 * W, 3 * W]), XS),
    }


class Plain(lo.Functional):
    """Traced, without any other hook."""

    w: jax.Array = lo.constant()
    apply, prox = Traced.apply, Traced.prox


def test_host_and_traced_hooks_agree_everywhere():
    close(everything(Host(W)), everything(Plain(W)))


def test_a_hook_that_is_given_is_never_replaced():
    x, step = X, jnp.array(0.4)
    slope = jax.grad(lambda x: jnp.sum(Plain(W).prox(x, step)))(x)
    close(jax.grad(lambda x: jnp.sum(ByHand(W).prox(x, step)))(x), 3 * slope)
    close(jax.jvp(lambda s: ByHand(W).prox(x, s), (step,), (jnp.ones(()),))[1], -3 * W * jnp.sign(X) * slope)


@pytest.mark.parametrize("step", [0.0, 0.4])
def test_the_derivative_in_the_step_also_from_zero(step):
    slope = jax.jit(jax.vmap(jax.grad(lambda x, s: jnp.sum(Host(W).prox(x, s)), 1), (0, None)))
    xs = jnp.stack([X, 100 * X, jnp.zeros(4)])
    w, x = np.asarray(W), np.asarray(xs)
    expected = -np.sum(w * np.sign(x) * (np.abs(x) > step * w), 1)
    np.testing.assert_allclose(slope(xs, jnp.array(step)), expected, rtol=1e-3)


def test_pytrees_and_complex_numbers():
    class Shrinks(lo.Functional):
        """Half the sum of squares of two arrays, in NumPy."""

        apply = lo.traced(lambda self, x: sum(jnp.sum(jnp.abs(leaf) ** 2) for leaf in x.values()) / 2)

        def prox(self, x, step):
            return {key: leaf / (1 + step) for key, leaf in x.items()}

        def prox_jacobian(self, x, step, dx):
            return self.prox(dx, step)  # inside of a hook it is the plain method

    f, x = Shrinks(), {"a": jnp.asarray(normal((2,), np.complex64)), "b": jnp.asarray(normal((3,), np.float32))}
    twin = lo.SquaredL2()
    for function in (
        lambda f: f.prox(x, 0.5),
        lambda f: f.conjugate_prox(x, 0.5),
        lambda f: jax.grad(lambda x, s: jnp.real(f.prox(x, s)["a"][0]) * jnp.sum(f.prox(x, s)["b"]), (0, 1))(x, 0.5),
    ):
        close(function(f), function(twin))


def test_out_and_batched():
    class Batched(Host, batched=True):
        def prox(self, x, step, *, out):
            threshold = np.asarray(step)[..., None] * self.w
            np.multiply(np.sign(x), np.maximum(np.abs(x) - threshold, 0), out=out)

        def prox_jacobian(self, x, step, dx):
            return np.where(np.abs(x) > np.asarray(step)[..., None] * self.w, dx, 0)

    close(everything(Batched(W)), everything(Plain(W)))


def soft_kernel(w, x, step, out):
    for i in range(x.size):
        size = abs(x[i]) - step[()] * w[i]
        out[i] = np.sign(x[i]) * size if size > 0 else 0


def jacobian_kernel(w, x, step, dx, out):
    for i in range(x.size):
        out[i] = dx[i] if abs(x[i]) > step[()] * w[i] else 0


def test_native_hooks():
    pytest.importorskip("numba")

    class Native(Plain):
        prox = lo.native(numba=soft_kernel)
        prox_jacobian = lo.native(numba=jacobian_kernel)

    both = lambda f: jax.jit(jax.vmap(jax.value_and_grad(loss, (1, 2)), (None, 0, 0)))(f, XS, STEPS)  # noqa: E731
    close(both(Native(W)), both(Plain(W)))


def test_the_step_has_the_precision_of_x(x64):
    f = lo.L1()
    for dtype in (np.float32, np.complex64, np.float64):
        for step in (0.5, np.float32(0.5), jnp.float64(0.5), 1):
            assert f.prox(jnp.ones(2, dtype), step).dtype == dtype
    close(Host(W.astype(np.float64)).prox(X.astype(np.float64), 0.5), jnp.array([2.5, 0.0, 1.25, -1.0], np.float64))


def test_shard_map():
    mesh = jax.make_mesh((2,), ("i",), axis_types=(AxisType.Auto,))
    for f in (Host(W[:2]), Plain(W[:2])):

        @jax.jit
        def value_and_slopes(x, step, f=f):
            part = lambda x, step: f.prox(x, step)  # noqa: E731
            whole = jax.shard_map(part, mesh=mesh, in_specs=(P("i"), P()), out_specs=P("i"))
            return jax.value_and_grad(lambda x, step: jnp.sum(whole(x, step) ** 2), (0, 1))(x, step)

        expected = jax.value_and_grad(lambda x, s: jnp.sum(Plain(jnp.tile(W[:2], 2)).prox(x, s) ** 2), (0, 1))(X, 0.4)
        close(value_and_slopes(X, jnp.array(0.4)), expected)


def test_programs_can_be_exported():
    exported = export.export(jax.jit(lambda w, x, s: Host(w).prox(x, s)), disabled_checks=lo.export_checks())(W, X, 0.4)
    again = export.deserialize(bytearray(exported.serialize()))
    close(again.call(W, X, jnp.array(0.4)), Plain(W).prox(X, 0.4))


def test_a_traced_hook_that_closes_over_a_tracer():
    def value(w, x):
        class Inside(lo.Functional):
            apply = lo.traced(lambda self, x: jnp.sum(w * jnp.abs(x)))
            prox = lo.traced(lambda self, x, step: jnp.sign(x) * jnp.maximum(jnp.abs(x) - step * w, 0))
            prox_jacobian = lo.traced(lambda self, x, step, dx: jnp.where(jnp.abs(x) > step * w, dx, 0))

        return loss(Inside(), x, 0.4)

    close(jax.jit(jax.grad(value, 1))(W, X), jax.grad(loss, 1)(Plain(W), X, 0.4))


def test_inheritance_and_super():
    class Doubled(Plain):
        @lo.traced
        def prox(self, x, step):
            return super().prox(x, 2 * step)

    close(Doubled(W).prox(X, 0.2), Plain(W).prox(X, 0.4))
    close(jax.grad(loss, 1)(Doubled(W), X, 0.2), jax.grad(loss, 1)(Plain(W), X, 0.4))


def test_a_functional_without_prox_is_smooth():
    class Logistic(lo.Functional):
        smooth = 0.25
        apply = lo.traced(lambda self, x: jnp.sum(jnp.logaddexp(0.0, x)))

    close(Logistic().gradient(X), jax.nn.sigmoid(X))
    with pytest.raises(NotImplementedError, match=r"Logistic has no prox\. Define Logistic\.prox"):
        Logistic().prox(X, 1.0)
    with pytest.raises(NotImplementedError, match=r"Logistic has no prox"):
        Logistic().conjugate_prox(X, 1.0)


# ---- messages -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: lo.L1().prox(X, 0.0), ValueError, r"L1\.prox\(x, step\): expected a positive step, found 0\.0"),
        (lambda: lo.L1().prox(X, jnp.nan), ValueError, r"expected a positive step, found nan"),
        (lambda: lo.L1().prox(X, jnp.ones(4)), TypeError, r"expected a step that is a real number.*found f32\[4\]"),
        (lambda: lo.L1().prox(X, 1j), TypeError, r"expected a step that is a real number.*found 1j"),
        (lambda: lo.L1().prox(X, "1"), TypeError, r"expected a step that is a real number.*found '1'"),
        (lambda: lo.L1().prox(jnp.arange(3), 1.0), TypeError,
         r"L1\.prox\(x, step\): expected x of floating-point numbers, found i32\[3\]"),
        (lambda: lo.L1().prox(jax.ShapeDtypeStruct((3,), np.float32), 1.0), TypeError, r"L1\.prox\(x, step\).*jnp\.zeros"),
        (lambda: lo.NuclearNorm().conjugate_prox(jnp.eye(2), -1.0), ValueError,
         r"NuclearNorm\.conjugate_prox\(u, step\): expected a positive step"),
        (lambda: Plain(W).conjugate(X), NotImplementedError, r"Plain has no conjugate\. Define Plain\.conjugate\(self, u\)"),
        (lambda: jax.grad(loss, 1)(NoJacobian(W), X, 0.4), NotImplementedError,
         r"NoJacobian\.prox has no derivative\. Define NoJacobian\.prox_jacobian"),
        (lambda: jax.grad(loss, 2)(NoJacobian(W), X, 0.4), NotImplementedError,
         r"NoJacobian\.prox has no derivative\. Define NoJacobian\.prox_jacobian"),
        (lambda: jax.grad(loss)(NoJacobian(W), X, 0.4), NotImplementedError,
         r"NoJacobian\.d is being differentiated, but there is no hook for the derivative of NoJacobian\.prox"),
        (lambda: jax.hessian(loss, 1)(Host(W), X, 0.4), NotImplementedError,
         r"Derivatives of Host\.prox_jacobian with respect to x have no hook"),
        (lambda: jax.hessian(loss, 2)(Host(W), X, 0.4), NotImplementedError,
         r"Derivatives of Host\.prox_jacobian with respect to"),
    ],
)  # fmt: skip
def test_messages(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize(
    ("result", "error", "message"),
    [
        (lambda x: x[:-1], ValueError, r"Fails\.prox returned shape \(3,\); expected \(4,\)"),
        (lambda x: 1j * x, TypeError, r"Fails\.prox returned dtype complex64; expected float32"),
    ],
)
def test_a_prox_must_be_like_x(result, error, message):
    class Fails(lo.Functional):
        apply = lo.traced(lambda self, x: jnp.sum(x))

        def prox(self, x, step):
            return result(x)

    with pytest.raises(error, match=message):
        Fails().prox(X, 1.0)


def test_what_a_prox_raises_is_raised():
    class Raises(lo.Functional):
        apply = lo.traced(lambda self, x: jnp.sum(x))

        def prox(self, x, step):
            message = f"no prox for {step}"
            raise OverflowError(message)

    with pytest.raises(OverflowError, match=r"no prox for 2\.0") as caught:
        Raises().prox(X, 2.0)
    assert any("Raises.prox" in note for note in caught.value.__notes__)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"prox": lambda self, x: x}, r"Bad\.prox must accept \(self, x, step\)"),
        ({"prox": 3}, r"Bad\.prox must be a plain method `def prox\(self, x, step\)`"),
        ({"prox": None}, r"Bad\.prox = None is not possible"),
        ({"prox_jacobian": lambda self, x, dx: x}, r"Bad\.prox_jacobian must accept \(self, x, step, dx\)"),
    ],
)
def test_wrong_class_statements(body, message):
    apply = lo.traced(lambda self, x: jnp.sum(x))
    with pytest.raises(TypeError, match=message):
        type(lo.Functional)("Bad", (lo.Functional,), {"apply": apply, "__module__": __name__, **body})


def test_operators_of_functionals():
    A, y = lo.Matrix(normal((3, 4), np.float32)), jnp.array([1.0, -1.0, 2.0])
    f = lo.SquaredL2(y) @ A + 0.1 * lo.L1()
    close(f(X), jnp.sum((A(X) - y) ** 2) / 2 + 0.1 * jnp.sum(jnp.abs(X)))
    close(jax.grad(f)(X), A.H(A(X) - y) + 0.1 * jnp.sign(X))
    assert "SquaredL2" in str(f)
    assert "0.1 L1" in str(f)
    with pytest.raises(
        AttributeError, match=r"NonlinearSum has no attribute 'prox'\. Write f\.prox\(x, step\) of a functional f"
    ):
        f.prox(X, 1.0)
