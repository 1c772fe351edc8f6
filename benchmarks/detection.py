"""How often is a wrong adjoint seen, and how often is a right one refused? Ours beside PyLops, SCICO and ODL.

    pip install pylops odl && pip install --no-deps scico    # a missing one is a column of dashes
    python benchmarks/detection.py                           # prints the tables
    python benchmarks/detection.py --markdown                # writes them into docs/detection.md
    python benchmarks/detection.py --museum                  # instead: the mistakes in tests/testing/museum.py

``--no-deps``: SCICO 0.0.7 asks for JAX <= 0.8.1, but its linear operators run on JAX 0.10.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import importlib.metadata
import importlib.util
import io
import pathlib
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

import linops_jax as lo

ROOT = pathlib.Path(__file__).parents[1]
PAGE = ROOT / "docs" / "detection.md"
DTYPES = ("float32", "float64")


@dataclasses.dataclass(frozen=True)
class Family:
    """Operators of one kind, given by an array of entries and by which of them may go wrong.

    draw: from a random generator and the size, the entries and the place of one of them (an index into the flat array)
    """

    name: str
    size: int
    draw: Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray]]
    forward: Callable[[Any, Any, Any], Any]
    adjoint: Callable[[Any, Any, Any], Any]
    every: int = 1  # for large ones: one seed in so many


class Pair(lo.LinearOperator):
    """An operator of a family, and an adjoint that may have other entries. Every library calls these two hooks."""

    family: Family = lo.static()
    entries: Any
    adjoint_entries: Any
    place: Any

    def apply(self, x):
        return self.family.forward(self.entries, self.place, x)

    def adjoint(self, y):
        return self.family.adjoint(self.adjoint_entries, self.place, y)

    def infer_shape(self, x):
        return x

    def infer_adjoint_shape(self, y):
        return y


def gaussian(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    return rng.standard_normal((size, size)), rng.integers(size**2, size=1)


def ill_scaled(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Twelve decades: 1e-6 to 1e6, uniform in the logarithm."""
    return 10 ** rng.uniform(-6, 6, size), rng.integers(size, size=1)


def ones(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The matrix of a cumulative sum holds ones: entry 0 stands for all of them but one, entry 1 for that one.

    The place goes on with its row and column in the adjoint.
    """
    return np.ones(2), np.array([1, *np.sort(rng.integers(size, size=2))])


def cumulative_adjoint(entries: np.ndarray, place: np.ndarray, y: np.ndarray) -> np.ndarray:
    x = entries[0] * np.cumsum(y[::-1])[::-1]
    x[place[1]] += (entries[1] - entries[0]) * y[place[2]]
    return x


def dense(size: int, every: int = 1) -> Family:
    forward, adjoint = lambda a, place, x: a @ x, lambda a, place, y: a.T @ y
    return Family(f"Gaussian matrix, {size} x {size}", size, gaussian, forward, adjoint, every)


FAMILIES = (
    dense(10),
    dense(100),
    dense(1000, every=2),
    Family("cumulative sum, n = 2000", 2000, ones, lambda a, place, x: np.cumsum(x), cumulative_adjoint),
    Family(
        "ill-scaled diagonal, n = 50", 50, ill_scaled, lambda d, place, x: d * x, lambda d, place, y: np.conj(d) * y
    ),
)


@dataclasses.dataclass(frozen=True)
class Fault:
    """One entry of the adjoint, or all, times 1 + relative."""

    name: str
    relative: float
    everywhere: bool = False


FAULTS = (
    Fault("none: false alarms", 0.0),
    Fault("one entry doubled", 1.0),
    Fault("one entry off by 1e-2", 1e-2),
    Fault("one entry off by 1e-4", 1e-4),
    Fault("one entry off by 1e-8", 1e-8),
    Fault("all times 1 + 1e-6", 1e-6, everywhere=True),
)


def spoiled(entries: np.ndarray, place: np.ndarray, fault: Fault) -> np.ndarray:
    where = slice(None) if fault.everywhere else place[0]
    result = entries.copy()
    result.reshape(-1)[where] *= 1 + fault.relative
    return result


def pairs(family: Family, dtype: str, seed: int) -> Iterator[Pair | None]:
    """One operator with each fault in turn; None where the precision cannot hold the fault."""
    entries, place = family.draw(np.random.default_rng(seed), family.size)
    entries = entries.astype(dtype)
    for fault in FAULTS:
        wrong = spoiled(entries, place, fault)
        changed = fault.relative == 0 or not np.array_equal(wrong, entries)
        yield Pair(family=family, entries=entries, adjoint_entries=wrong, place=place) if changed else None


def pylops_dottest(rtol: float) -> Callable[[Pair, int], bool]:
    def refuses(pair: Pair, seed: int) -> bool:
        import pylops
        from pylops.utils import dottest

        n, dtype = pair.family.size, pair.entries.dtype
        np.random.seed(seed)  # the source of its random vectors
        op = pylops.FunctionOperator(pair.apply, pair.adjoint, n, n, dtype=dtype)
        return not dottest(op, rtol=rtol, raiseerror=False)

    return refuses


def scico_valid_adjoint(pair: Pair, seed: int) -> bool:
    with warnings.catch_warnings(action="ignore"):  # on import, about names that this JAX no longer has
        from scico.linop import LinearOperator, valid_adjoint

    def operator(function: Callable[[Any], Any]) -> LinearOperator:
        shape, dtype = (pair.family.size,), pair.entries.dtype
        evaluate = lambda x: jnp.asarray(function(np.asarray(x)))  # noqa: E731
        return LinearOperator(shape, shape, eval_fn=evaluate, input_dtype=dtype, output_dtype=dtype)

    return not valid_adjoint(operator(pair.apply), operator(pair.adjoint), key=jax.random.PRNGKey(seed))


def odl_operator_test(pair: Pair, seed: int) -> bool:
    import odl

    class Wrapped(odl.Operator):
        def __init__(self, forward: Callable[[Any], Any], reverse: Callable[[Any], Any]) -> None:
            space = odl.rn(pair.family.size, dtype=str(pair.entries.dtype))
            super().__init__(space, space, linear=True)
            self.forward, self.reverse = forward, reverse

        def _call(self, x: Any) -> Any:
            return self.forward(x.data)

        @property
        def adjoint(self) -> Wrapped:
            return Wrapped(self.reverse, self.forward)

    printed = io.StringIO()  # it prints its verdict
    with contextlib.redirect_stdout(printed):
        odl.diagnostics.OperatorTest(Wrapped(pair.apply, pair.adjoint), verbose=False).adjoint()
    return "FAILED" in printed.getvalue()


def ours(pair: Pair) -> tuple[Pair, jax.ShapeDtypeStruct]:
    """The operator with its fields in JAX arrays, which are not copied at each call, and its input."""
    return jax.tree.map(jnp.asarray, pair), jax.ShapeDtypeStruct((pair.family.size,), pair.entries.dtype)


def our_dot_test(pair: Pair, seed: int) -> bool:
    return not lo.dot_test(*ours(pair), seed=seed).passed


def our_checks(pair: Pair, seed: int) -> bool:
    checks = dict(lo.operator_checks(*ours(pair), seed=seed))
    try:
        if "dense_adjoint" in checks:  # not for large operators
            checks["dense_adjoint"]()
        checks["adjoint"]()
    except AssertionError:
        return True
    return False


@dataclasses.dataclass(frozen=True)
class Method:
    name: str
    module: str
    refuses: Callable[[Pair, int], bool]


METHODS = (
    Method("PyLops", "pylops", pylops_dottest(1e-6)),
    Method("PyLops 1e-3", "pylops", pylops_dottest(1e-3)),
    Method("SCICO", "scico", scico_valid_adjoint),
    Method("ODL", "odl", odl_operator_test),
    Method("dot_test", "linops_jax", our_dot_test),
    Method("check_operator", "linops_jax", our_checks),
)


HEADER = ["precision", "fault", *(method.name for method in METHODS)]

Rates = dict[tuple[str, ...], float]  # by dtype, fault and method: per cent of operators refused


def available() -> dict[str, str | None]:
    """The version of each library, or None."""
    modules = ["jax", "numpy", *dict.fromkeys(method.module for method in METHODS)]
    found = [module for module in modules if importlib.util.find_spec(module)]
    return {module: importlib.metadata.version(module) if module in found else None for module in modules}


def measure(family: Family, seeds: range, methods: tuple[Method, ...]) -> Rates:
    verdicts: dict[tuple[str, ...], list[bool]] = {}
    for dtype in DTYPES:
        with jax.enable_x64(dtype == "float64"):
            for seed in track(seeds, f"{family.name}, {dtype}", transient=True):
                for fault, pair in zip(FAULTS, pairs(family, dtype, seed), strict=True):
                    for method in methods if pair is not None else ():
                        verdict = bool(method.refuses(pair, seed))
                        verdicts.setdefault((dtype, fault.name, method.name), []).append(verdict)
    return {key: 100 * float(np.mean(found)) for key, found in verdicts.items()}


def mean(several: list[Rates]) -> Rates:
    return {key: float(np.mean([rates[key] for rates in several])) for key in several[0]}


def rows(rates: Rates) -> list[list[str]]:
    def cell(*key: str) -> str:
        return f"{rates[key]:.3g}" if key in rates else "–"

    return [
        [dtype, fault.name, *(cell(dtype, fault.name, method.name) for method in METHODS)]
        for dtype in DTYPES
        for fault in FAULTS
    ]


def as_rich(title: str, rates: Rates) -> Table:
    table = Table(title=title, title_justify="left")
    for index, heading in enumerate(HEADER):
        table.add_column(heading, justify="left" if index < 2 else "right")
    for row in rows(rates):
        table.add_row(*row, end_section=row[1] == FAULTS[-1].name)
    return table


def as_markdown(title: str, rates: Rates) -> str:
    lines = [HEADER, ["---"] * 2 + ["---:"] * len(METHODS), *rows(rates)]
    return f"### {title}\n\n" + "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def write(text: str, part: str) -> None:
    begin, end = f"<!-- {part}: begin -->", f"<!-- {part}: end -->"
    before, rest = PAGE.read_text().split(begin)
    after = rest.split(end)[1]
    PAGE.write_text(f"{before}{begin}\n\n{text}\n{end}{after}")


def museum() -> str:
    """What the checks say of the mistakes that other projects have shipped: counts, and a row for each."""
    sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "testing")]
    import museum

    counts, lines = Counter[str](), []
    with jax.enable_x64(True), np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):
        for name, shown in track(museum.MUSEUM.items(), "museum", transient=True):
            wrong, right = museum.examined(name)
            verdict = museum.verdict(name, wrong)
            counts.update([verdict, "right ones refused"] if right.failures else [verdict])
            failed = ", ".join(f"`{outcome.name}`" for outcome in wrong.failures) or "–"
            said = {museum.NAMED: "cause named", museum.UNNAMED: "seen"}.get(verdict, verdict)
            lines.append(f"| {shown.project}, {shown.report} | {shown.mistake} | {failed} | {said} |")
    total = len(museum.MUSEUM)
    seen = total - counts[museum.UNSEEN]
    summary = {
        "seen": seen,
        "cause named": counts[museum.NAMED],
        "misled": counts[museum.MISLED],
        "corrected twins refused": counts["right ones refused"],
    }
    rows = [f"| {what} | {count} | {100 * count / total:.0f} % |" for what, count in summary.items()]
    head = ["| of the " + f"{total} mistakes | | |", "| --- | ---: | ---: |"]
    table = ["| report | mistake | checks that fail | |", "| --- | --- | --- | --- |"]
    return "\n".join([*head, *rows, "", *table, *lines]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--markdown", action="store_true", help=f"write the tables into docs/{PAGE.name}")
    parser.add_argument(
        "--museum", action="store_true", help="what the checks say of mistakes that others have shipped"
    )
    options = parser.parse_args()
    if options.museum:
        text = museum()
        print(text)
        if options.markdown:
            write(text, "museum")
        return

    versions = available()
    methods = tuple(method for method in METHODS if versions[method.module])
    sentences = ["With " + ", ".join(f"{name} {version}" for name, version in versions.items() if version) + "."]
    sentences += [f"{name} is not installed." for name, version in versions.items() if not version]
    note = " ".join(sentences)
    console = Console(width=110)
    console.print(note)
    tables: dict[str, Rates] = {}
    for family in FAMILIES:
        seeds = range(max(1, options.seeds // family.every))
        title = f"{family.name}: {len(seeds)} operators"
        tables[title] = measure(family, seeds, methods)
        console.print(as_rich(title, tables[title]))
    tables = {"All kinds: the mean of the tables below": mean(list(tables.values())), **tables}
    console.print(as_rich(*next(iter(tables.items()))))
    if options.markdown:
        write("\n".join([note + "\n", *(as_markdown(title, rates) for title, rates in tables.items())]), "measured")


if __name__ == "__main__":
    main()
