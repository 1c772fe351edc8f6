"""The rules by which properties are carried through the algebra, tested by the harness on operators that have them."""

import jax
import numpy as np
import pytest
from helpers import S, normal
from operators import Dense

import linops_jax as lo
from linops_jax.testing import Checkup

F3, C3, F33, F4 = S((3,), np.float64), S((3,), np.complex128), S((3, 3), np.float64), S((4,), np.float64)
NAMES = ("symmetric", "positive", "unitary", "diagonal")


def operators():
    a, c = normal((4, 3)), normal((3, 3), np.complex128)
    A = Dense(a)
    E = lo.declare(Dense(c + c.conj().T), symmetric=True)
    P = lo.declare(Dense(c @ c.conj().T), positive=True)
    U = lo.declare(Dense(np.linalg.qr(c)[0]), unitary=True)
    R = lo.declare(Dense(np.eye(3)[::-1].copy()), symmetric=True, unitary=True)
    D = lo.Diagonal(normal((3,)))
    W = lo.declare(lo.Diagonal(np.arange(1.0, 5.0)), positive=True)
    identity = lo.Identity()
    yield from [(A.gram, F3), (A.H @ W @ A, F3), (A @ A.H, F4), ((A.H @ A) ** 2, F3), (A.gram + 0.1 * identity, F3)]
    yield from [(-2 * E, C3), (E + P, C3), (3 * P, C3), (E @ E, C3), (E @ P @ E, C3), (U.H @ E @ U, C3), (P.gram, C3)]
    yield from [(U @ U.H, C3), (U @ U, C3), (1j * U, C3), (U.inv, C3), (U.T, C3), (U**-2, C3), (R**3, F3), (R.H, F3)]
    yield from [(D, F3), (D @ D, F3), (D.inv, F3), (D - identity, F3), (lo.Diagonal(c[0]) @ D, C3), (D**2, F3)]
    yield from [(lo.block_diag([R, D]), [F3, F3]), (lo.block_diag({"a": U, "b": U}), {"a": C3, "b": C3})]
    yield from [(lo.kron(R, D), F33), (lo.kron(P, P), S((3, 3), np.complex128)), (lo.kron_sum(R, D), F33)]
    yield from [(lo.along_axis(P, 0), S((3, 2), np.complex128)), (lo.along_axis(D, -1), F33)]
    yield from [(lo.vstack([A, A]).gram, F3), (lo.hstack([R, R]).gram, [F3, F3]), (lo.Zero(), F3), (identity, C3)]
    yield from [(P.with_domain(C3), C3), (P.conj(), C3), (E.T, C3), (lo.FFT(), C3), (lo.FFT().gram, C3)]


with jax.enable_x64(True):
    CASES = list(operators())


@pytest.mark.parametrize(("op", "spec"), CASES, ids=[str(op) for op, _ in CASES])
def test_properties_survive_as_promised(op, spec, x64):
    known = [name for name in NAMES if getattr(op.properties, name)]
    assert known
    checkup = Checkup(op, spec)
    outcomes = {name: checkup.outcome(name) for name in ("adjoint", *known)}
    assert {name: outcome.status for name, outcome in outcomes.items()} == dict.fromkeys(outcomes, "passed"), outcomes


def test_real_vectors_of_a_complex_operator_say_nothing(x64):
    """Neither symmetric nor unitary as a map of real vectors, and no false alarm."""
    c = normal((3, 3), np.complex128)
    hermitian = lo.declare(Dense(c + c.conj().T), symmetric=True)
    assert Checkup(hermitian, F3).report().passed
    assert Checkup(lo.FFT(), F3).report().passed


def test_mixed_precision_is_no_false_alarm(x64):
    """A float64 parameter on a float32 input."""
    assert Checkup(lo.Diagonal(normal((3,))), S((3,), np.float32)).report().passed
    assert jax.config.jax_enable_x64
