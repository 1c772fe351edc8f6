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
    """Keeps the ratios to contestants, the larger one where there was a ratio before."""
    old = recorded() if FILE.exists() else {}
    new = {row.key: max(_digits(row.ratio), old.get(row.key, 0)) for row in rows if row.ratio is not None}
    FILE.write_text(json.dumps({**old, **new}, indent=1, ensure_ascii=False) + "\n")


def _digits(ratio: float) -> float:
    return float(f"{ratio:.3g}")


def compared(rows: list[Row]) -> dict[str, tuple[float, float]]:
    """Key -> (measured, recorded), of all that is known on both sides."""
    known = recorded()
    return {row.key: (row.ratio, known[row.key]) for row in rows if row.ratio is not None and row.key in known}


def too_large(rows: list[Row]) -> dict[str, tuple[float, float]]:
    return {key: (now, then) for key, (now, then) in compared(rows).items() if now > ALLOWED * max(then, LEAST)}
