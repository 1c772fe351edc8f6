"""What `demo tomography` and `demo deblur` show and write: several reconstructions of one picture, side by side."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from rich.progress import Progress
from rich.table import Table

from . import _report
from ._report import as_json, plain_tests, png, psnr, show


@dataclass(frozen=True)
class Reconstruction:
    """What one method made of the data."""

    name: str
    weight: float  # of the penalty
    picture: np.ndarray  # (height, width)
    steps: int  # of the solver
    seconds: float  # with its compilation


@dataclass(frozen=True)
class Comparison:
    """The results of a run. The first reconstruction is the one without a penalty."""

    title: str
    settings: dict[str, Any]  # the options of the command
    truth: np.ndarray  # (height, width)
    data: np.ndarray
    data_title: str
    reconstructions: list[Reconstruction]
    dot_tests: dict
    zoom: tuple[
        float, float, float
    ]  # the centre of the enlarged part, down and across, and its side, per side of the picture


# --- In the terminal ---------------------------------------------------------------------------------------


class Display(_report.Display):
    """The terminal, as these demos use it."""

    def reconstruct(self, name: str, weight: float, solve: Callable[..., Any], steps: int) -> Reconstruction:
        """Calls `solve(weight, monitor)`, and shows the progress: `solve` calls the monitor after each of about so many steps."""
        start = time.perf_counter()
        with self.progress() as progress:
            monitor = Monitor(progress, name, steps)
            picture = np.asarray(solve(weight, monitor))
            jax.effects_barrier()
            monitor.finish()
        return Reconstruction(name, weight, picture, monitor.steps, time.perf_counter() - start)

    def result(self, result: Comparison, files: list[Path]) -> None:
        """The closing table, and where the files are."""
        table = Table("", "PSNR", "relative error", "weight", "steps", "seconds", title=result.title, highlight=False)
        for column in table.columns[1:]:
            column.justify = "right"
        for found in result.reconstructions:
            errors = f"{psnr(found.picture, result.truth):.2f} dB", f"{relative_error(found, result):.3f}"
            table.add_row(found.name, *errors, f"{found.weight:g}", f"{found.steps}", f"{found.seconds:.1f}")
        self.console.print(table)
        self.written(files)


class Monitor:
    """Counts the steps of a solver, whatever it is called with, and moves a progress bar."""

    def __init__(self, progress: Progress, title: str, steps: int):
        self.steps = 0
        self._progress = progress
        self._task = progress.add_task(title, total=steps, note="")

    def __call__(self, *_) -> None:
        self.steps += 1
        self._progress.update(self._task, completed=self.steps, note=f"{self.steps} steps")

    def finish(self) -> None:
        """Fills the bar."""
        self._progress.update(self._task, total=1, completed=1)


# --- The figure and the summary ----------------------------------------------------------------------------


def relative_error(found: Reconstruction, result: Comparison) -> float:
    """The norm of the error, relative to that of the truth."""
    return float(np.linalg.norm(found.picture - result.truth) / np.linalg.norm(result.truth))


def summary(result: Comparison) -> bytes:
    """The figures of a run, as JSON."""
    height, width = result.truth.shape
    return as_json(
        {
            **result.settings,
            "height": height,
            "width": width,
            "data": list(result.data.shape),
            "reconstructions": {found.name: _plain(found, result) for found in result.reconstructions},
            "dot_tests": plain_tests(result.dot_tests),
        }
    )


def _plain(found: Reconstruction, result: Comparison) -> dict[str, Any]:
    errors = {"psnr": psnr(found.picture, result.truth), "relative_error": relative_error(found, result)}
    return errors | {name: getattr(found, name) for name in ("weight", "steps", "seconds")}


def figure(result: Comparison) -> bytes:
    """The truth and all reconstructions, above an enlarged part of each, above the data and all errors, as PNG."""
    pictures = [result.truth, *(found.picture for found in result.reconstructions)]
    height, width = np.array(result.truth.shape) / max(result.truth.shape) * 3  # inches
    canvas = Figure(figsize=(len(pictures) * width, 2 * height + width + 1.9), layout="constrained")
    canvas.suptitle(result.title, fontsize=16)
    grid = canvas.add_gridspec(4, len(pictures), height_ratios=(height, width, height, 0.12))
    first, second, third = ([canvas.add_subplot(grid[row, k]) for k in range(len(pictures))] for row in range(3))
    _show_pictures(first, pictures, result)
    _show_zooms(first[0], second, pictures, result.zoom)
    _show_data(third[0], result)
    _show_errors(third[1:], canvas.add_subplot(grid[3, 1:]), result)
    return png(canvas)


def _show_pictures(row, pictures, result):
    names = [
        "truth\n",
        *(f"{found.name}\n{psnr(found.picture, result.truth):.1f} dB" for found in result.reconstructions),
    ]
    for axes, picture, name in zip(row, pictures, names, strict=True):
        show(axes, picture, name)


def _show_zooms(whole, row, pictures, zoom):
    *centre, side = zoom
    side = round(side * min(pictures[0].shape))
    top, left = (
        round(min(max(at * n - side / 2, 0), n - side)) for at, n in zip(centre, pictures[0].shape, strict=True)
    )
    for axes, picture in zip(row, pictures, strict=True):
        show(axes, picture[top : top + side, left : left + side], "")
    whole.add_patch(Rectangle((left, top), side, side, fill=False, edgecolor="tab:orange", linewidth=1.5))


def _show_data(axes, result):
    show(axes, result.data, result.data_title, vmin=None, vmax=None, aspect="auto")
    axes.set_box_aspect(result.truth.shape[0] / result.truth.shape[1])


def _show_errors(row, below, result):
    errors = [found.picture - result.truth for found in result.reconstructions]
    limit = float(np.quantile(abs(errors[1]), 0.99))
    for axes, error, found in zip(row, errors, result.reconstructions, strict=True):
        title = f"error: {100 * relative_error(found, result):.1f} %"
        image = show(axes, error, title, cmap="RdBu_r", vmin=-limit, vmax=limit)
    label = "reconstruction - truth"
    below.figure.colorbar(image, cax=below, orientation="horizontal", extend="both", extendfrac=0.02, label=label)
