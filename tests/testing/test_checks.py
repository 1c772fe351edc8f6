"""The checks on operators that are right, and on operators that are wrong on purpose."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import linops_jax as lo
from linops_jax.testing import CheckError

N = 6
SPECS = {dtype: jax.ShapeDtypeStruct((N,), dtype) for dtype in (np.float32, np.complex64)}


class Dense(lo.LinearOperator):
    matrix: jax.Array

    def apply(self, x):
        return self.matrix @ x

    def adjoint(self, y):
        return np.conj(self.matrix).T @ y

    def infer_shape(self, x):
        return jax.ShapeDtypeStruct((self.matrix.shape[0],), np.result_type(x.dtype, self.matrix.dtype))

    def infer_adjoint_shape(self, y):
        return jax.ShapeDtypeStruct((self.matrix.shape[1],), np.result_type(y.dtype, self.matrix.dtype))


def matrix(dtype, rows=N):
    rng = np.random.default_rng(7)
    values = rng.standard_normal((rows, N)) + 1j * rng.standard_normal((rows, N))
    return (values if np.issubdtype(dtype, np.complexfloating) else values.real).astype(dtype)


class MissingFactor(Dense):
    def adjoint(self, y):
        return 0.5 * super().adjoint(y)


class MissingConjugate(Dense):
    def adjoint(self, y):
        return self.matrix.T @ y


class OneWrongEntry(Dense):
    def adjoint(self, y):
        x = np.array(super().adjoint(y))
        x[2] += np.float32(0.1) * y[3]
        return x


class AffineOffset(Dense):
    def apply(self, x):
        return self.matrix @ x + 1


class ZeroAdjoint(Dense):
    def adjoint(self, y):
        return np.zeros(N, y.dtype)


class NotANumber(Dense):
    def adjoint(self, y):
        return np.nan * super().adjoint(y)


class RealPartOnly(Dense):
    def apply(self, x):
        return (self.matrix @ x).real.astype(x.dtype)


class WrongShape(Dense):
    def apply(self, x):
        return (self.matrix @ x)[:-1]


class WritesHalf(Dense):
    def apply(self, x, *, out):
        out[::2] = (self.matrix @ x)[::2]
        out[-1] = (self.matrix @ x)[-1]


class Raises(Dense):
    def apply(self, x):
        message = "kernel"
        raise KeyError(message)


WRONG = [
    (MissingFactor, np.float32, "adjoint", r"<u, A\^H v> is 0\.5 times <A u, v> in every probe: a constant factor"),
    (MissingConjugate, np.complex64, "adjoint", r"exceeds .* \(10 eps"),
    (OneWrongEntry, np.float32, "dense_adjoint", r"adjoint\[2,3\] = .* \(1 wrong of 36 entries"),
    (AffineOffset, np.float32, "linear", r"not linear.*A\(0\) has norm .* instead of 0"),
    (ZeroAdjoint, np.float32, "adjoint", "the adjoint returns zero"),
    (NotANumber, np.float32, "adjoint", "a result is not finite"),
    (RealPartOnly, np.complex64, "linear", r"not linear: .*complex a and b"),
    (WrongShape, np.float32, "promises", r"WrongShape\.apply returned shape \(5,\); infer_shape promised \(6,\)"),
    (WritesHalf, np.float32, "promises", r"on poisoned output and through JAX"),
    (Raises, np.float32, "promises", r"KeyError: 'kernel' \[Raises\.apply failed\]"),
]


@pytest.mark.parametrize(("cls", "dtype", "check", "message"), WRONG, ids=[case[0].__name__ for case in WRONG])
def test_wrong_operators_are_caught(cls, dtype, check, message):
    with pytest.raises(CheckError, match=rf"(?s){cls.__name__}.* fails .* of .* checks:.*{check}: .*{message}"):
        lo.check_operator(cls(matrix(dtype)), SPECS[dtype])


@pytest.mark.parametrize("dtype", [np.float32, np.complex64])
@pytest.mark.parametrize("rows", [N, 3, 1])
def test_right_operators_pass(dtype, rows):
    op = Dense(matrix(dtype, rows))
    lo.check_operator(op, SPECS[dtype])
    lo.check_operator(op.H, jax.ShapeDtypeStruct((rows,), dtype))
    lo.check_operator(op.H @ op + 0.3 * lo.Identity(), SPECS[dtype])


def test_dot_test_never_cries_wolf_and_sees_a_doubled_entry():
    false_alarms = misses = 0
    for seed in range(100):
        values = np.random.default_rng(seed).standard_normal((40, 40)).astype(np.float32)
        spec = jax.ShapeDtypeStruct((40,), np.float32)
        false_alarms += not lo.dot_test(Dense(values), spec, seed=seed).passed

        class Doubled(Dense):
            def adjoint(self, y):
                wrong = self.matrix.copy()
                wrong[5, 5] *= 2
                return wrong.T @ y

        misses += lo.dot_test(Doubled(values), spec, seed=seed).passed if abs(values[5, 5]) > 0.1 else 0
    assert (false_alarms, misses) == (0, 0)


def test_dot_test_result():
    result = lo.dot_test(Dense(matrix(np.float32)), SPECS[np.float32], probes=3, seed=4)
    assert result.passed
    assert result.error <= result.tolerance == pytest.approx(10 * np.finfo(np.float32).eps)
    assert len(result.probes) == 3
    assert "passed" in str(result)
    assert "seed 4" in str(result)
    again = lo.dot_test(Dense(matrix(np.float32)), SPECS[np.float32], probes=3, seed=4)
    assert again.probes == result.probes


def test_declared_inexact_adjoint():
    class Inexact(MissingFactor, adjoint_rtol=0.6):
        pass

    result = lo.dot_test(Inexact(matrix(np.float32)), SPECS[np.float32])
    assert result.passed
    assert result.tolerance == 0.6
    assert not lo.dot_test(Inexact(matrix(np.float32)), SPECS[np.float32], rtol=1e-3).passed


def test_an_error_in_a_small_array_does_not_hide_behind_a_large_one():
    class Pair(lo.LinearOperator):
        def apply(self, x):
            large, small = x
            return 1e6 * large, small

        def adjoint(self, y):
            large, small = y
            return 1e6 * large, 1.01 * small

        def infer_shape(self, x):
            return x

    spec = (jax.ShapeDtypeStruct((1000,), np.float32), jax.ShapeDtypeStruct((2,), np.float32))
    assert not lo.dot_test(Pair(), spec).passed


def test_dot_test_needs_a_linear_operator_and_an_input():
    class Square(lo.NonlinearOperator):
        @lo.traced
        def apply(self, x):
            return x**2

    with pytest.raises(TypeError, match=r"only linear operators have an adjoint.*dot_test\(F\.jacobian\(x\)\)"):
        lo.dot_test(Square(), SPECS[np.float32])
    with pytest.raises(TypeError, match=r"needs to know the input: pass specs or example arrays"):
        lo.dot_test(lo.Identity())
    assert lo.dot_test(lo.Identity().with_domain(SPECS[np.float32])).passed


class WrongJacobian(lo.NonlinearOperator):
    def apply(self, x):
        return x**3

    def jacobian_apply(self, x, dx):
        return 2 * x**2 * dx

    def jacobian_adjoint(self, x, dy):
        return 3 * np.conj(x**2) * dy

    def infer_shape(self, x):
        return x


def test_a_wrong_jacobian_is_caught():
    with pytest.raises(CheckError, match=r"(?s)jacobian: the remainder .* falls with order .* instead of 2") as caught:
        lo.check_operator(WrongJacobian(), SPECS[np.float32])
    assert "jacobian_adjoint: <A u, v>" in str(caught.value)


def test_operator_checks_have_names():
    names = [name for name, _ in lo.operator_checks(lo.Identity(), jnp.ones(3))]
    assert {"linear", "adjoint", "promises", "jit", "vmap", "jvp", "vjp"} <= set(names)
