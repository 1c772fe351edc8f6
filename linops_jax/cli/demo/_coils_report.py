"""What `demo mri --devices` shows and writes: a table of its runs, their pictures, and the same as JSON."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from rich.table import Table

from ._report import Display, as_json, png, psnr, show
from .coils import COILS, Run, sensitivities


class Report:
    """Collects runs; the first one, on one device, is what others are compared with."""

    def __init__(self, truth: np.ndarray, settings: dict[str, Any]):
        self.truth, self.settings = truth, settings
        self.runs: list[Run] = []
        self._display = Display()

    def collect(self, runs: Iterable[Run]) -> None:
        """Takes all runs, and shows which ones there are while they come."""
        with self._display.console.status("reconstruction") as status:
            for run in runs:
                self.runs.append(run)
                status.update(f"reconstruction; done on {', '.join(map(_where, self.runs))}")

    def show(self, files: list[Path]) -> None:
        """The table of all runs, and where the files are."""
        names = ("devices", "processes", "seconds", "collectives", "hook calls per device")
        table = Table(*names, "largest difference", title=f"MRI by {COILS} coils, spread over devices", highlight=False)
        for column in table.columns:
            column.justify = "right"
        for run in self.runs:
            counts = (str(run.devices), str(run.processes), f"{run.seconds:.2f}")
            sent = ", ".join(f"{count} {name}" for name, count in run.collectives.items()) or "none"
            table.add_row(*counts, sent, f"{run.calls:g}", f"{self._difference(run):.1e}")
        self._display.console.print(table)
        self._display.console.print(f"PSNR {psnr(self.runs[0].picture, self.truth):.2f} dB", highlight=False)
        self._display.written(files)

    def _difference(self, run: Run) -> float:
        return float(np.max(abs(run.picture - self.runs[0].picture)))

    # ---- files -------------------------------------------------------------------------------------------------

    def summary(self) -> bytes:
        """The figures of all runs, as JSON."""
        height, width = self.truth.shape
        values = {
            **{"lambda" if name == "lam" else name: value for name, value in self.settings.items()},
            "coils": COILS,
            "height": height,
            "width": width,
            "psnr_reconstruction": psnr(self.runs[0].picture, self.truth),
            "runs": [self._plain(run) for run in self.runs],
        }
        return as_json(values)

    def _plain(self, run: Run) -> dict[str, Any]:
        names = ("devices", "processes", "seconds", "collectives")
        counts = {"hook_calls_per_device": run.calls, "difference": self._difference(run)}
        return {name: getattr(run, name) for name in names} | counts

    def figure(self) -> bytes:
        """The truth, what each coil sees of it, and all reconstructions, as PNG."""
        canvas = Figure(figsize=(3.2 * (2 + len(self.runs)), 3.8), layout="constrained")
        truth, seen, *others = canvas.subplots(1, 2 + len(self.runs))
        show(truth, self.truth, "truth", fontsize=10)
        coils = _side_by_side(self.truth * abs(np.asarray(sensitivities(self.truth.shape))))
        show(seen, coils, "seen by the coils", fontsize=10, vmax=None)
        for axes, run in zip(others, self.runs, strict=True):
            title = f"{_where(run)}: {run.seconds:.2f} s\ndifference at most {self._difference(run):.0e}"
            show(axes, run.picture, title if run is not self.runs[0] else title.partition("\n")[0], fontsize=10)
        return png(canvas)


def _where(run: Run) -> str:
    devices = f"{run.devices} device{'s' * (run.devices > 1)}"
    return devices if run.processes == 1 else f"{devices}, {run.processes} processes"


def _side_by_side(pictures: np.ndarray) -> np.ndarray:
    """All coils in two columns, each at half its size."""
    small = pictures[:, ::2, ::2]
    return np.concatenate([np.concatenate(row, axis=1) for row in small.reshape(-1, 2, *small.shape[1:])])
