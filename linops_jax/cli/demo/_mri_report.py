"""What `demo mri` shows and writes: its progress and table in the terminal, its figure, its summary."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jax
import numpy as np
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from rich.progress import Progress
from rich.table import Table

from . import _report
from ._report import as_json, plain_tests, png, psnr, show
from .mri import TOLERANCE, Result

# --- In the terminal ---------------------------------------------------------------------------------------


class Display(_report.Display):
    """The terminal, as this demo uses it."""

    @contextmanager
    def monitor(self, title: str, solves: int = 1) -> Iterator["Monitor"]:
        """Shows the progress of what runs inside, as the monitor hears of it."""
        with self.progress() as progress:
            monitor = Monitor(progress, title, solves)
            yield monitor
            jax.effects_barrier()
            monitor.finish()

    def result(self, result: Result, files: list[Path]) -> None:
        """The closing table, and where the files are."""
        table = Table("", "adjoint image", "reconstruction", title="MRI from radial samples")
        table.add_row("PSNR", *(f"{value:.2f} dB" for value in _psnrs(result)))
        table.add_row("misfit |A x - y|^2", "", f"{result.misfit:.4g}")
        table.add_row("d misfit / d lambda", "", f"{result.misfit_gradient:.4g}")
        table.add_row("iterations", "", f"{len(result.residuals) - 1}")
        table.add_row("residual, relative", "", f"{result.residuals[-1] / result.residuals[0]:.1e}")
        table.add_row("calls of the NUFFT", "1", f"{result.calls}")
        table.add_row("seconds", "", f"{result.seconds:.2f}")
        self.console.print(table)
        self.written(files)


class Monitor:
    """Keeps the norm of each residual that it is called with, and moves a progress bar.

    The bar is full when the residual has fallen to TOLERANCE; it only swings where there are several solves.
    """

    def __init__(self, progress: Progress, title: str, solves: int):
        self.residuals: list[float] = []
        self._progress = progress
        self._task = progress.add_task(title, total=1.0 if solves == 1 else None, note="")

    def __call__(self, norm) -> None:
        self.residuals.append(float(norm))
        fall = self.residuals[-1] / self.residuals[0]
        done = math.log(max(fall, TOLERANCE)) / math.log(TOLERANCE)
        note = f"{len(self.residuals) - 1} iterations, residual {fall:.1e}"
        self._progress.update(self._task, completed=max(0.0, done), note=note)

    def finish(self) -> None:
        """Fills the bar."""
        self._progress.update(self._task, total=1.0, completed=1.0)


# --- The figure and the summary ----------------------------------------------------------------------------


def _psnrs(result: Result) -> tuple[float, float]:
    return psnr(result.adjoint, result.truth), psnr(result.reconstruction, result.truth)


def summary(result: Result) -> bytes:
    """The figures of a run, as JSON."""
    height, width = result.truth.shape
    adjoint_psnr, solution_psnr = _psnrs(result)
    values = {
        "psnr_adjoint": adjoint_psnr,
        "psnr_reconstruction": solution_psnr,
        "misfit": result.misfit,
        "misfit_gradient": result.misfit_gradient,
        "seconds": result.seconds,
        "calls": result.calls,
        "iterations": len(result.residuals) - 1,
        "residual": result.residuals[-1] / result.residuals[0],
        "height": height,
        "width": width,
        "samples": len(result.coord),
        **result.settings,
        "dot_tests": plain_tests(result.dot_tests),
    }
    return as_json(values)


def figure(result: Result) -> bytes:
    """Truth, adjoint image and reconstruction above k-space, error and convergence, as PNG."""
    canvas = Figure(figsize=(12, 8.6), layout=ConstrainedLayoutEngine(h_pad=0.1, w_pad=0.1))
    (truth, adjoint, solution), (samples, error, convergence) = canvas.subplots(2, 3)
    show(truth, result.truth, "truth")
    adjoint_psnr, solution_psnr = _psnrs(result)
    show(adjoint, result.adjoint, f"adjoint image: {adjoint_psnr:.1f} dB")
    show(solution, result.reconstruction, f"reconstruction: {solution_psnr:.1f} dB")
    _show_samples(samples, result)
    _show_error(error, result)
    _show_convergence(convergence, result)
    return png(canvas)


def _show_samples(axes, result):
    spokes = result.settings["spokes"]
    ends = result.coord.reshape(spokes, -1, 2)[:, [0, -1]]
    axes.plot(ends[..., 1].T, ends[..., 0].T, color="tab:blue", linewidth=0.7)
    nyquist = math.ceil(math.pi / 2 * max(result.truth.shape))
    axes.set(title=f"samples: {spokes} spokes (Nyquist: {nyquist})", xlabel="radians per pixel", box_aspect=1)
    limits, ticks = (-math.pi, math.pi), ([-math.pi, 0, math.pi], ["-π", "0", "π"])
    axes.set(xlim=limits, ylim=limits)
    axes.set_xticks(*ticks)
    axes.set_yticks(*ticks)


def _show_error(axes, result):
    error = result.reconstruction - result.truth
    limit = float(np.quantile(abs(error), 0.999))
    image = show(axes, error, "error: reconstruction - truth", cmap="RdBu_r", vmin=-limit, vmax=limit)
    below = axes.inset_axes((0, -0.07, 1, 0.04))
    axes.figure.colorbar(image, cax=below, orientation="horizontal", extend="both")


def _show_convergence(axes, result):
    axes.semilogy(np.array(result.residuals) / result.residuals[0], color="tab:blue")
    axes.axhline(TOLERANCE, color="0.6", linestyle="--", linewidth=1)
    axes.set(title="convergence: relative residual", xlabel="iteration of conjugate gradients", box_aspect=1)
    axes.grid(alpha=0.3)
