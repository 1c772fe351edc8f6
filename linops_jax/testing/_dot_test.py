"""The dot test: whether the adjoint is the adjoint."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from linops_jax._types import Specs
from linops_jax.testing import _probes, _samples
from linops_jax.testing._diagnosis import diagnose
from linops_jax.testing._show import Printable, table, verdict
from linops_jax.testing._subject import Operator, Subject, unwatched

_MOST_BLOCKS = 64  # pairs of single arrays
_NOTHING = 0.1  # a tolerance beyond which a test says nothing


@dataclasses.dataclass(frozen=True)
class Probe:
    """One pair of random vectors u and v, and what the two sides of the identity are for them.

    Parameters
    ----------
    forward : complex
        <A u, v>.
    adjoint : complex
        <u, Aᴴ v>.
    error : float
        Their difference, over ``scale``.
    scale : float
        The larger one of ‖A u‖ ‖v‖ and ‖u‖ ‖Aᴴ v‖.
    """

    forward: complex
    adjoint: complex
    error: float
    scale: float = 1.0


@dataclasses.dataclass(frozen=True, repr=False)
class DotTest(Printable):
    """What ``lo.dot_test`` returns: true where the test passed; prints as a table.

    Attributes
    ----------
    operator : str
        How the operator prints.
    probes : tuple of Probe
        One for each pair of vectors, with ``forward``, <A u, v>, ``adjoint``, <u, Aᴴ v>, and ``error``.
    tolerance : float
        The largest error that passes.
    reason : str
        Where the tolerance comes from.
    seed : int
        That of the random vectors.
    """

    operator: str
    probes: tuple[Probe, ...]
    tolerance: float
    reason: str
    seed: int
    _diagnose: Callable[[], str] = dataclasses.field(default=lambda: "", compare=False)

    @property
    def error(self) -> float:
        """The largest error over all probes; NaN if any is."""
        return float(np.max([probe.error for probe in self.probes]))

    @property
    def passed(self) -> bool:
        """Whether no error is larger than the tolerance, or NaN."""
        return bool(self.error <= self.tolerance)  # False for NaN

    def __bool__(self) -> bool:
        return self.passed

    @functools.cached_property
    def diagnosis(self) -> str:
        """What is probably wrong, where the test failed: found by further calls of the operator, once asked for."""
        with unwatched():
            return "" if self.passed else self._diagnose()

    @property
    def sentence(self) -> str:
        """The worst probe in one sentence: both numbers, the tolerance, and where that comes from."""
        worst = max(self.probes, key=lambda probe: probe.error if np.isfinite(probe.error) else np.inf)
        return (
            f"<A u, v> = {_number(worst.forward)} but <u, A^H v> = {_number(worst.adjoint)}: error {worst.error:.2e} exceeds "
            f"{self.tolerance:.2e} ({self.reason})"
        )

    def _renderables(self) -> Iterator[Any]:
        from rich.markup import escape

        title = f"dot test of {escape(self.operator)}: {verdict(self.passed)}"
        shown = table("probe", "<A u, v>", "<u, A^H v>", "error", title=title, right=range(4))
        for i, probe in enumerate(self.probes):
            shown.add_row(str(i), _number(probe.forward), _number(probe.adjoint), f"{probe.error:.1e}")
        yield shown
        yield f"largest error {self.error:.1e}, tolerance {self.tolerance:.1e} ({self.reason}), seed {self.seed}"
        if self.diagnosis:
            yield escape(self.diagnosis)


def dot_test(
    op: Operator, x: Specs | None = None, *, probes: int = 5, seed: int = 0, rtol: float | None = None
) -> DotTest:
    r"""Compares <A u, v> with <u, Aᴴ v> for random u and v: the dot-product test.

    Parameters
    ----------
    op : LinearOperator
        The operator. Test the derivative of a nonlinear one, ``F.jacobian(x)``.
    x : pytree of arrays or jax.ShapeDtypeStruct, optional
        Specs or example arrays of the input; may be left out where ``op.domain`` is known. Arrays are tested as they
        are, too.
    probes : int, optional
        How many pairs of Gaussian vectors; 5 by default. Where there are several arrays, each is also drawn alone.
    seed : int, optional
        That of the random vectors; 0 by default.
    rtol : float, optional
        The tolerance, in place of the one below.

    Returns
    -------
    DotTest
        True where the test passed. It prints as a table; ``diagnosis`` says what is probably wrong.

    Raises
    ------
    TypeError
        If the operator is nonlinear, its input is not known, or ``infer_shape`` or ``infer_adjoint_shape`` answers what
        cannot be.
    ValueError
        If ``probes`` is less than 1.

    Notes
    -----
    The test is Claerbout's (1992). The error of a probe is

    .. math::
        \frac{|\langle A u, v \rangle - \langle u, A^H v \rangle|}{\max(\|A u\| \|v\|, \|u\| \|A^H v\|)}

    with inner products in double precision. Real parts are compared where the operator is linear over the reals only,
    or its input is real. The test passes up to 10 eps of the operator's coarsest dtype, or up to the ``adjoint_rtol``
    of the class. It passes up to more where large numbers cancel inside the operator, as evaluations on parts of the
    vectors tell.

    Where other processes hold parts of the arrays, the vectors are drawn and added up in compiled programs, and only numbers
    are fetched. All processes must call the test, and get the same answer.

    References
    ----------
    * Claerbout, J. F. (1992). Earth Soundings Analysis: Processing versus Inversion. Blackwell.

    Examples
    --------
    >>> A = lo.Matrix([[1.0, 2.0], [3.0, 4.0]])
    >>> bool(lo.dot_test(A, jnp.zeros(2)))
    True
    """
    if hasattr(op, "jacobian_apply"):
        message = (
            f"dot_test({op!r}): only linear operators have an adjoint. Test the derivative: dot_test(F.jacobian(x))."
        )
        raise TypeError(message)
    if probes < 1:
        message = f"dot_test: probes={probes} compares nothing. Give at least 1."
        raise ValueError(message)
    subject = Subject(op, x, seed=seed, where="dot_test")
    with unwatched(), subject.on_its_mesh():
        if subject.says_adjoint_shape and (wrong := subject.wrong_adjoint_shape()):
            message = f"dot_test: {wrong}."
            raise TypeError(message)
        return run(subject, probes=probes, rtol=rtol)


def run(subject: Subject, *, probes: int = 5, rtol: float | None = None) -> DotTest:
    """The dot test of a linear subject."""
    rng = np.random.default_rng(subject.seed)
    us, vs = list(_samples.draws(rng, subject.spec, probes)), list(_samples.draws(rng, subject.out, probes))
    tolerance, reason = adjoint_tolerance(subject, rtol)
    pairs = [*_as_given(subject, vs), *_pairs(us, vs, probes)]
    found = tuple(_probe(subject, u, v) for u, v in pairs)
    failing = [i for i, probe in enumerate(found) if not probe.error <= tolerance]
    if rtol is None and failing and (more := _rounding_allows(subject, [(found[i], pairs[i]) for i in failing])):
        tolerance, reason = more, "rounding inside the operator, where numbers cancel"
    worst = pairs[int(np.argmax([np.nan_to_num(probe.error, nan=np.inf) for probe in found]))]
    return DotTest(
        repr(subject.op), found, tolerance, reason, subject.seed, lambda: diagnose(subject, worst, tolerance)
    )


def _rounding_allows(subject: Subject, failing: list[tuple[Probe, tuple[Any, Any]]]) -> float:
    """The tolerance that these probes pass because large numbers cancel inside the operator; 0 where they do not pass.

    Rounding errors do not know the vector that they are multiplied by: their inner product with it is smaller than the
    product of the norms by the root of the number of elements.
    """
    tolerance, eps = 0.0, _probes.eps(subject.spec, subject.out)
    for probe, (u, v) in failing:
        if not probe.scale > 0:
            return 0.0
        through = _probes.norm(v) / np.sqrt(_probes.size(subject.out)) / probe.scale
        back = _probes.norm(u) / np.sqrt(_probes.size(subject.spec)) / probe.scale
        noise = subject.rounding("forward", u) * through + subject.rounding("reverse", v) * back
        noise = noise if noise <= _probes.CANCELLATION * eps else 0.0
        noise += subject.sensitivity("forward", u) * through + subject.sensitivity("reverse", v) * back
        allowed = _probes.MARGIN * noise
        if not probe.error <= allowed < _NOTHING:
            return 0.0
        tolerance = max(tolerance, allowed)
    return tolerance


def adjoint_tolerance(subject: Subject, rtol: float | None = None) -> tuple[float, str]:
    """How far an adjoint may be off, over the norms, and where this number comes from."""
    if rtol is not None:
        return rtol, "rtol as given"
    if subject.adjoint_rtol is not None:
        return subject.adjoint_rtol, "adjoint_rtol as declared by the class"
    eps = _probes.eps(subject.spec, subject.out)
    return _probes.MARGIN * eps, f"{_probes.MARGIN:g} eps, eps = {eps:.1e}"


def _pairs(us: list[Any], vs: list[Any], probes: int) -> list[tuple[Any, Any]]:
    pairs = list(zip(us[:probes], vs[:probes], strict=True))
    if len(us) + len(vs) > 2 * probes:  # arrays drawn alone
        alone = itertools.product(us[probes:] or us[:1], vs[probes:] or vs[:1])
        pairs += itertools.islice(alone, _MOST_BLOCKS)
    return pairs


def _as_given(subject: Subject, vs: list[Any]) -> list[tuple[Any, Any]]:
    """The arrays that were given, as they are, with a random v."""
    return [] if subject.given is None or not _probes.all_inexact(subject.given) else [(subject.given, vs[0])]


def _probe(subject: Subject, u: Any, v: Any) -> Probe:
    au, ahv = subject.forward(u), subject.reverse(v)
    forward, adjoint = _probes.inner(au, v), _probes.inner(u, ahv)
    if subject.real:
        forward, adjoint = complex(forward.real), complex(adjoint.real)
    scale = max(_probes.norm(au) * _probes.norm(v), _probes.norm(u) * _probes.norm(ahv))
    difference = abs(forward - adjoint)
    return Probe(forward, adjoint, difference / scale if scale > 0 else difference, scale)


def _number(value: complex) -> str:
    return f"{value.real:.8g}" if value.imag == 0 else f"{value:.8g}"
