"""Ratios of an earlier run, beside which `--check` holds those of today."""

import json
from pathlib import Path

from ._measure import Row

FILE = Path(__file__).with_name("recorded.json")
ALLOWED = 2.0  # machines differ and neighbours make noise; a call that lost its fast path is further off
LEAST = 0.02  # smaller ratios are taken for this one: half of almost nothing is noise


def recorded() -> dict[str, float]:
    return json.loads(FILE.read_text())


def record(rows: list[Row]) -> None:
    """Keeps the upper quartile of ratios, the larger one where there was one before. Forgets cases that are gone."""
    old = recorded() if FILE.exists() else {}
    measured = {row.comparison for row in rows}
    others = {key: value for key, value in old.items() if key.split(" | ")[0] not in measured}
    new = {row.key: max(_digits(row.ratio_quartiles[1]), old.get(row.key, 0)) for row in rows if row.ratio_quartiles}
    FILE.write_text(json.dumps({**others, **new}, indent=1, ensure_ascii=False) + "\n")


def _digits(ratio: float) -> float:
    return float(f"{ratio:.3g}")


def compared(rows: list[Row]) -> dict[str, tuple[float, float]]:
    """Key -> (lower quartile, recorded upper one), of all that is known on both sides: noise shall not fail a check."""
    known = recorded()
    found = {row.key: row.ratio_quartiles[0] for row in rows if row.ratio_quartiles}
    return {key: (ratio, known[key]) for key, ratio in found.items() if key in known}


def too_large(rows: list[Row]) -> dict[str, tuple[float, float]]:
    return {key: (now, then) for key, (now, then) in compared(rows).items() if now > ALLOWED * max(then, LEAST)}
