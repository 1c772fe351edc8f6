"""What makes an operator linear, and its adjoint the adjoint."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from linops_jax.testing import _dense, _probes, _samples
from linops_jax.testing._check import check, close, require
from linops_jax.testing._dot_test import adjoint_tolerance, run
from linops_jax.testing._hypotheses import number
from linops_jax.testing._subject import Subject, cast_obstacle


def _has_adjoint(subject: Subject) -> bool:
    return subject.has_adjoint


def is_inexact(subject: Subject) -> bool:
    """Whether input and result can be differentiated."""
    return _probes.all_inexact(subject.spec) and _probes.all_inexact(subject.out)


def is_small(subject: Subject) -> bool:
    rows, columns = _probes.real_size(subject.out), _probes.real_size(subject.spec)
    return (
        rows > 0 and columns > 0 and rows + columns <= (_dense.MOST if subject.is_linear else _dense.MOST_SIMULATIONS)
    )


@check(
    needs=("repeatable",),
    when=lambda subject: subject.is_linear and _probes.all_inexact(subject.spec),
)
def check_linear(subject: Subject) -> str | None:
    """A(a x + b z) = a A x + b A z, for complex a and b unless declared linear over the reals."""
    complex_input = not _probes.has_real(subject.spec)
    scalars = (0.7 - 0.4j, -0.2 + 1.1j) if complex_input and not subject.is_real_linear else (0.7, -1.3)
    error = _linearity(subject, *scalars)
    if error is None and subject.given is not None:
        error = _linearity(subject, *scalars, x=subject.given)
    if error is not None:
        difference, tolerance = error
        field = "complex" if np.iscomplexobj(scalars[0]) else "real"
        message = (
            f"not linear: A(a x + b z) and a A x + b A z, {field} a and b, differ by {difference:.2e}, which exceeds "
            f"{tolerance:.2e} ({_probes.LOOSE:g} eps of the norms); {_why_not_linear(subject, difference)}"
        )
        raise AssertionError(message)
    if not subject.declares_real_linear:
        return None
    if complex_input and _linearity(subject, 0.7 - 0.4j, -0.2 + 1.1j) is None:
        return (
            "declared real_linear, but it is linear over the complex numbers: without real_linear=True more is checked"
        )
    if at := without_imaginary_part(subject.forward(subject.point(subject.rng("imaginary part")))):
        return f"declared real_linear, and {DROPPED.format(at=at)}"
    return None


def _linearity(subject: Subject, a: complex, b: complex, x: Any = None) -> tuple[float, float] | None:
    """Difference and tolerance where the former exceeds the latter; at x, or at a random vector."""
    rng = subject.rng("linear")
    gaussian, z = subject.points(rng, 2)
    z = _samples.with_zeros(rng, z)
    given, x = x is not None, gaussian if x is None else x
    combined = jax.tree.map(
        lambda p, q: jnp.asarray(a * p + b * q, dtype=p.dtype) if _probes.is_inexact(p) else p, x, z
    )
    found, ax, az = subject.forward(combined), subject.forward(x), subject.forward(z)
    expected = _probes.combine((a, ax), (b, az))
    difference = _probes.norm(_probes.subtract(found, expected))
    size = _probes.norm(ax)
    if given:  # what it has in common with a null space is no mistake, and large
        size = max(size, _probes.norm(x) * _probes.norm(az) / max(_probes.norm(z), 1e-300))
    scale = abs(a) * size + abs(b) * _probes.norm(az)
    tolerance = _probes.LOOSE * _probes.eps(subject.spec, subject.out) * scale
    if not difference <= tolerance:
        noises = [subject.rounding("forward", vector) for vector in (combined, x, z)]
        noise = noises[0] + abs(a) * noises[1] + abs(b) * noises[2]
        if noise <= _probes.CANCELLATION * _probes.eps(subject.spec, subject.out) * scale:
            tolerance = max(tolerance, _probes.MARGIN * noise)
    return None if difference <= tolerance else (difference, tolerance)


DROPPED = (
    "the imaginary part of every result is zero{at}: was it dropped, by .real or by a buffer of real numbers? If the real "
    "part is what is meant, promise a real dtype in infer_shape"
)


def without_imaginary_part(tree: Any) -> str:
    """Which arrays of a complex dtype hold real numbers only, up to rounding; empty where none does."""
    real = [
        jax.tree_util.keystr(path)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
        if _probes.is_complex(leaf)
        and _probes.norm(leaf.imag) <= _probes.MARGIN * _probes.eps(leaf) * _probes.norm(leaf)
        and leaf.size
    ]
    return " in A(x)" + " and ".join(real) if real else ""


def _why_not_linear(subject: Subject, difference: float) -> str:
    x = subject.point(subject.rng("linear"))
    value = subject.forward(x)
    size = _probes.norm(value)
    if not np.isfinite(size):
        return "A x holds NaN or infinity for random x"
    zero = _probes.norm(subject.forward(jax.tree.map(jnp.zeros_like, x)))
    tolerance = _probes.LOOSE * _probes.eps(subject.spec, subject.out) * size
    if not zero <= tolerance:
        return f"A(0) has norm {zero:.2e} instead of 0: an affine offset, A x + b (use a NonlinearOperator)"
    complex_linear = not subject.is_real_linear and not _probes.has_real(subject.spec)
    if complex_linear and (at := without_imaginary_part(value)) and _linearity(subject, 0.7, -1.3) is None:
        return DROPPED.format(at=at)
    if complex_linear and _linearity(subject, 0.7, -1.3) is None:
        return "it is linear over the real numbers only: declare the class with real_linear=True"
    minus = subject.forward(jax.tree.map(lambda leaf: -leaf, x))
    if _probes.norm(_probes.subtract(minus, value)) <= tolerance:
        return "A(-x) = A(x): an absolute value, a square?"
    twice = subject.forward(jax.tree.map(lambda leaf: leaf + leaf, x))  # rounding scales with powers of two
    scales = _probes.norm(_probes.combine((1, twice), (-2, value))) <= tolerance
    for name, coarse in (("float32", 2.0**-23), ("bfloat16 or float16", 2.0**-8)):
        fine = _probes.eps(subject.spec, subject.out) < coarse and difference <= _probes.MARGIN * coarse * size
        if fine and scales:
            return f"the difference is of the size of rounding in {name}: a lost precision?"
    return "what depends on the size of x, or on earlier calls, is not linear"


@check(needs=("linear", "repeatable"), when=_has_adjoint)
def check_adjoint(subject: Subject) -> None:
    """<A u, v> = <u, A^H v> for random u and v, up to rounding or the declared ``adjoint_rtol``."""
    test = run(subject)
    require(test.passed, f"{test.sentence}; {test.diagnosis}")


ENTRIES = "it compares all entries of two matrices"


@check(
    needs=("adjoint",),
    when=lambda subject: _has_adjoint(subject) and is_inexact(subject) and is_small(subject),
    whole=ENTRIES,
)
def check_dense_adjoint(subject: Subject) -> None:
    """The matrix of A^H is the conjugate transpose of the matrix of A, entry by entry (small sizes)."""
    compare_dense(subject)


def compare_dense(subject: Subject) -> None:
    """Raises AssertionError where entries of the two matrices differ.

    They agree up to 10 eps of the larger one of the norms of their row and column.
    """
    n, m = _probes.real_size(subject.spec), _probes.real_size(subject.out)
    a = _dense.matrix(subject.forward, subject.spec, m)
    ah = _dense.matrix(subject.reverse, subject.out, n)
    rtol, reason = adjoint_tolerance(subject)
    norms = np.maximum(np.linalg.norm(a, axis=0)[:, None], np.linalg.norm(a, axis=1)[None, :])
    wrong = np.argwhere(~(np.abs(ah - a.T) <= rtol * norms))
    if len(wrong):
        rtol *= subject.amplification
        wrong = np.argwhere(~(np.abs(ah - a.T) <= rtol * norms))
    if not len(wrong):
        return
    i, j = max(wrong, key=lambda at: np.nan_to_num(abs(ah[*at] - a.T[*at]) / max(norms[*at], 1e-300), nan=np.inf))
    from_y, to_x = _dense.names(subject.out, "y")[j], _dense.names(subject.spec, "x")[i]
    message = (
        f"adjoint[{i},{j}] = {ah[i, j]:.9g}, expected {a[j, i]:.9g} = A[{j},{i}], from {from_y} to {to_x}: they differ by "
        f"{abs(ah[i, j] - a[j, i]):.2e}, which exceeds {rtol * norms[i, j]:.2e} ({reason}, of the norm of row or column); "
        f"{len(wrong)} wrong of {ah.size} entries{_as_pairs(subject)}"
    )
    raise AssertionError(message)


def _as_pairs(subject: Subject) -> str:
    leaves = jax.tree.leaves((subject.spec, subject.out))
    return " (complex numbers are pairs of reals)" if any(map(_probes.is_complex, leaves)) else ""


@check(needs=("adjoint", "adjoint_shape"), when=_has_adjoint)
def check_adjoint_of_adjoint(subject: Subject) -> None:
    """A.H.H = A."""
    x = subject.point(subject.rng("adjoint of adjoint"))
    close(subject.op.H.H(x), subject.op(x), "A.H.H(x) and A(x)", subject)


@check(needs=("adjoint", "adjoint_shape"), when=lambda subject: _has_adjoint(subject) and is_inexact(subject))
def check_transpose(subject: Subject) -> None:
    """jax.linear_transpose gives A^T = conj A^H conj, and its own transpose gives A."""
    rng = subject.rng("transpose")
    x, y = subject.point(rng), subject.cotangent(rng)
    transpose = jax.linear_transpose(subject.op, subject.spec)
    close(transpose(y)[0], fixed(subject).T(y), "jax.linear_transpose(A)(y) and A.T(y)", subject)
    (again,) = jax.linear_transpose(lambda y: transpose(y)[0], subject.out)(x)
    close(again, subject.op(x), "the transpose of the transpose and A(x)", subject)


def _with_hook(*names: str) -> Callable[[Subject], bool]:
    return lambda subject: _has_adjoint(subject) and is_inexact(subject) and all(map(subject.has_hook, names))


@check(needs=("adjoint", "by_hand"), when=_with_hook("gram"))
def check_gram(subject: Subject) -> None:
    """The hook gram is A^H A, up to rounding or the declared ``gram_rtol``."""
    x = subject.point(subject.rng("gram"))
    expected, found = subject.reverse(subject.forward(x)), subject.hook("gram", x)
    try:
        close(found, expected, "gram(x) and A^H A x", subject, rtol=_gram_rtol(subject))
    except AssertionError as error:
        message = f"{error}{_other_gram(subject, x, found, expected)}"
        raise AssertionError(message) from None


def _gram_rtol(subject: Subject) -> float | None:
    """The declared error, where it is more than rounding."""
    declared, rounding = subject.gram_rtol or 0.0, _probes.LOOSE * _probes.eps(subject.spec, subject.out)
    return declared if declared > rounding else None


def _other_gram(subject: Subject, x: Any, found: Any, expected: Any) -> str:
    """What the hook computes in place of A^H A x: a multiple, or A A^H x."""

    def same(a: Any, b: Any) -> bool:
        tolerance = _probes.LOOSE * _probes.eps(subject.spec, subject.out)
        return _probes.norm(_probes.subtract(a, b)) <= tolerance * _probes.norm(b)

    c = _probes.inner(expected, found) / max(_probes.norm(expected) ** 2, 1e-300)
    if c and same(found, _probes.combine((c, expected))):
        return f"; gram(x) is {number(c)} A^H A x: a constant factor"
    if cast_obstacle(subject.out, subject.spec) is None and same(found, subject.forward(subject.reverse(x))):
        return "; gram(x) is A A^H x"
    return ""


@check(needs=("linear", "by_hand"), when=_with_hook("inverse"))
def check_inverse(subject: Subject) -> None:
    """The hook inverse solves A x = y for y in the range of A: the residual is rounding."""
    y = subject.forward(subject.point(subject.rng("inverse")))
    x = subject.hook("inverse", y)
    at = (
        without_imaginary_part(x)
        and not without_imaginary_part(y)
        and "; the imaginary part of inverse(y) is zero everywhere"
    )
    small_residual(subject, subject.forward, x, y, "A inverse(y) and y", at or "")


@check(needs=("adjoint", "inverse"), when=_with_hook("inverse", "inverse_adjoint"))
def check_inverse_adjoint(subject: Subject) -> None:
    """The hook inverse_adjoint solves A^H y = x for x in the range of A^H: the residual is rounding."""
    x = subject.reverse(subject.cotangent(subject.rng("inverse adjoint")))
    y = subject.hook("inverse_adjoint", x)
    small_residual(subject, subject.reverse, y, x, "A^H inverse_adjoint(x) and x")


def small_residual(
    subject: Subject, function: Callable[[Any], Any], solution: Any, right: Any, what: str, why: str = ""
) -> None:
    """Raises AssertionError where the residual is more than rounding.

    It is relative to the operator's gain times the solution, as the residual of a stable solver is.

    References
    ----------
    * Higham, N. J. (2002). Accuracy and Stability of Numerical Algorithms, chapter 7. SIAM.
    """
    found = function(solution)
    residual = _probes.norm(_probes.subtract(found, right))
    rng = subject.rng("gain")
    probes = [
        _probes.draw(rng, jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), solution))
        for _ in range(3)
    ]
    gain = max(_probes.norm(function(probe)) / _probes.norm(probe) for probe in probes)
    scale = _probes.norm(right) + gain * np.sqrt(_probes.size(solution)) * _probes.norm(solution)
    tolerance = _probes.LOOSE * _probes.eps(subject.spec, subject.out) * scale
    require(
        residual <= tolerance,
        f"{what}: they differ by {residual:.2e}, which exceeds {tolerance:.2e}, 100 eps of the norms{why}",
    )


def fixed(subject: Subject) -> Any:
    """The operator with its domain."""
    return subject.op if subject.op.domain is not None else subject.op.with_domain(subject.spec)
