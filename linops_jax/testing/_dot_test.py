"""The dot test: is the adjoint the adjoint?"""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import jax
import numpy as np

from linops_jax import _specs
from linops_jax.testing import _probes

_MOST_BLOCKS = 64  # pairs of single arrays


@dataclasses.dataclass(frozen=True)
class Probe:
    """One pair of random vectors: <A u, v> and <u, A^H v>, and their difference over the norms."""

    forward: complex
    adjoint: complex
    error: float


@dataclasses.dataclass(frozen=True)
class DotTest:
    """The answer of ``dot_test``; prints as a table."""

    operator: str
    probes: tuple[Probe, ...]
    tolerance: float
    reason: str
    seed: int

    @property
    def error(self) -> float:
        """The largest error over all probes; NaN if any is."""
        return float(np.max([probe.error for probe in self.probes]))

    @property
    def passed(self) -> bool:
        return bool(self.error <= self.tolerance)  # False for NaN

    def __bool__(self) -> bool:
        return self.passed

    def __str__(self) -> str:
        return _as_table(self)

    def __repr__(self) -> str:
        return _as_table(self)

    @property
    def diagnosis(self) -> str:
        """What is probably wrong, or an empty string."""
        return "" if self.passed else _diagnose(self.probes)


def dot_test(op: Any, x: Any = None, *, probes: int = 5, seed: int = 0, rtol: float | None = None) -> DotTest:
    """Compares <A u, v> with <u, A^H v> for random u, v.

    The error of a probe is ``|<A u, v> - <u, A^H v>| / max(|A u| |v|, |u| |A^H v|)``, inner products in double precision.
    It passes up to 10 eps of the operator's coarsest dtype, or up to the class's ``adjoint_rtol``. Real parts are compared
    where the operator is linear over the reals only, or its input is real.

    op: a LinearOperator
    x: specs or example arrays of its input; may be left out where ``op.domain`` is known
    probes: pairs of Gaussian vectors; where there are several arrays, each is also drawn alone
    seed: of the random vectors
    rtol: tolerance to use instead

    Raises TypeError for a nonlinear operator (test ``F.jacobian(x)``) and where the input is not known.
    """
    where = f"dot_test({op!r})"
    if not hasattr(op, "_reverse"):
        message = f"{where}: only linear operators have an adjoint. Test the derivative: dot_test(F.jacobian(x))."
        raise TypeError(message)
    spec = input_spec(op, x, where)
    out = op._infer_shape(spec)
    rng = np.random.default_rng(seed)
    real = op._is_real_linear or _probes.has_real(spec)
    us, vs = list(_probes.draws(rng, spec, probes)), list(_probes.draws(rng, out, probes))
    declared = type(op)._traits.adjoint_rtol
    tolerance, reason = _tolerance(rtol, declared, _probes.eps(spec, out))
    return DotTest(
        repr(op), tuple(_probe(op, spec, u, v, real) for u, v in _pairs(us, vs, probes)), tolerance, reason, seed
    )


def _pairs(us: list[Any], vs: list[Any], probes: int) -> list[tuple[Any, Any]]:
    pairs = list(zip(us[:probes], vs[:probes], strict=True))
    if len(us) + len(vs) > 2 * probes:  # arrays drawn alone
        alone = itertools.product(us[probes:] or us[:1], vs[probes:] or vs[:1])
        pairs += itertools.islice(alone, _MOST_BLOCKS)
    return pairs


def input_spec(op: Any, x: Any, where: str) -> Any:
    """Specs of the input: those given, or the operator's domain. Integer arrays stay as they are: they may be indices."""
    if x is not None:
        return jax.tree.map(lambda leaf: leaf if _is_index(leaf) else _specs.specs(leaf), x)
    if op.domain is None:
        message = (
            f"{where} needs to know the input: pass specs or example arrays, or fix the domain with with_domain(spec)."
        )
        raise TypeError(message)
    return op.domain


def _is_index(leaf: Any) -> bool:
    return isinstance(leaf, np.ndarray | jax.Array) and not _specs.is_inexact(leaf.dtype)


def _tolerance(rtol: float | None, declared: float | None, eps: float) -> tuple[float, str]:
    if rtol is not None:
        return rtol, "rtol as given"
    if declared is not None:
        return declared, "adjoint_rtol as declared by the class"
    return _probes.MARGIN * eps, f"{_probes.MARGIN:g} eps, eps = {eps:.1e}"


def _probe(op: Any, spec: Any, u: Any, v: Any, real: bool) -> Probe:
    au, ahv = op._forward(u), op._reverse(v, spec)
    forward, adjoint = _probes.inner(au, v), _probes.inner(u, ahv)
    if real:
        forward, adjoint = complex(forward.real), complex(adjoint.real)
    scale = max(_probes.norm(au) * _probes.norm(v), _probes.norm(u) * _probes.norm(ahv))
    difference = abs(forward - adjoint)
    return Probe(forward, adjoint, difference / scale if scale > 0 else difference)


def _diagnose(probes: tuple[Probe, ...]) -> str:
    if not np.all(np.isfinite([p.error for p in probes])):
        return "a result is not finite"
    forward = np.array([p.forward for p in probes])
    adjoint = np.array([p.adjoint for p in probes])
    if np.all(np.abs(adjoint) == 0):
        return "the adjoint returns zero"
    ratios = adjoint[np.abs(forward) > 0] / forward[np.abs(forward) > 0]
    if ratios.size and np.ptp(ratios.real) + np.ptp(ratios.imag) <= 1e-3 * abs(ratios.mean()):
        factor = ratios.mean()
        shown = f"{factor.real:.6g}" if abs(factor.imag) < 1e-6 * abs(factor) else f"{factor:.6g}"
        return f"<u, A^H v> is {shown} times <A u, v> in every probe: a constant factor is missing in the adjoint"
    return "the ratio differs from probe to probe: compare dense matrices with check_operator on a small input"


def _number(value: complex) -> str:
    return f"{value.real:.6e}" if value.imag == 0 else f"{value:.6e}"


def _as_table(test: DotTest) -> str:
    from rich.console import Console
    from rich.table import Table

    verdict = "passed" if test.passed else "FAILED"
    table = Table(title=f"dot test of {test.operator}: {verdict}", title_justify="left")
    for heading in ("probe", "<A u, v>", "<u, A^H v>", "error"):
        table.add_column(heading, justify="right")
    for i, probe in enumerate(test.probes):
        table.add_row(str(i), _number(probe.forward), _number(probe.adjoint), f"{probe.error:.1e}")
    console = Console(width=100, force_terminal=False, color_system=None)
    with console.capture() as capture:
        console.print(table)
        console.print(
            f"largest error {test.error:.1e}, tolerance {test.tolerance:.1e} ({test.reason}), seed {test.seed}"
        )
        if test.diagnosis:
            console.print(test.diagnosis)
    return capture.get()


__all__ = ["DotTest", "Probe", "dot_test", "input_spec"]
