"""What the demo shows and writes: progress and tables in the terminal, a figure, a summary."""

import json
import math
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import jax
import numpy as np
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from .._errors import BadInput, require
from .mri import TOLERANCE, Result

# --- In the terminal ---------------------------------------------------------------------------------------


class Display:
    """The terminal, as the demo uses it."""

    def __init__(self):
        self._console = Console()

    def dot_tests(self, tests: dict) -> None:
        """The dot test of each named operator."""
        table = Table("operator", "error", "tolerance", "", title="Dot test  |<A u, v> - <u, A^H v>|")
        for name, test in tests.items():
            verdict = "[green]passed[/]" if test.passed else "[bold red]failed[/]"
            table.add_row(name, f"{test.error:.1e}", f"{test.tolerance:.1e}", verdict)
        self._console.print(table)

    @contextmanager
    def monitor(self, title: str, solves: int = 1) -> Iterator["Monitor"]:
        """Shows the progress of what runs inside, as the monitor hears of it."""
        columns = TextColumn("{task.description:<19}"), BarColumn(), TextColumn("{task.fields[note]}")
        with Progress(*columns, TimeElapsedColumn(), console=self._console) as progress:
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
        self._console.print(table)
        self._console.print("written:", *map(str, files), highlight=False)


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


def psnr(picture: np.ndarray, truth: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB, for pictures from 0 to 1."""
    return float(-10 * np.log10(np.mean((picture - truth) ** 2)))


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
        "dot_tests": {name: _plain(test) for name, test in result.dot_tests.items()},
    }
    return json.dumps(values, indent=2).encode() + b"\n"


def _plain(test) -> dict:
    return {"passed": bool(test.passed), "error": float(test.error), "tolerance": float(test.tolerance)}


def figure(result: Result) -> bytes:
    """Truth, adjoint image and reconstruction above k-space, error and convergence, as PNG."""
    canvas = Figure(figsize=(12, 8.6), layout=ConstrainedLayoutEngine(h_pad=0.1, w_pad=0.1))
    (truth, adjoint, solution), (samples, error, convergence) = canvas.subplots(2, 3)
    _show(truth, result.truth, "truth")
    adjoint_psnr, solution_psnr = _psnrs(result)
    _show(adjoint, result.adjoint, f"adjoint image: {adjoint_psnr:.1f} dB")
    _show(solution, result.reconstruction, f"reconstruction: {solution_psnr:.1f} dB")
    _show_samples(samples, result)
    _show_error(error, result)
    _show_convergence(convergence, result)
    stream = BytesIO()
    canvas.savefig(stream, format="png", dpi=110)
    return stream.getvalue()


def _show(axes, picture, title, **options):
    image = axes.imshow(picture, interpolation="nearest", **{"cmap": "gray", "vmin": 0, "vmax": 1, **options})
    axes.set_title(title)
    axes.set_axis_off()
    return image


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
    image = _show(axes, error, "error: reconstruction - truth", cmap="RdBu_r", vmin=-limit, vmax=limit)
    below = axes.inset_axes((0, -0.07, 1, 0.04))
    axes.figure.colorbar(image, cax=below, orientation="horizontal", extend="both")


def _show_convergence(axes, result):
    axes.semilogy(np.array(result.residuals) / result.residuals[0], color="tab:blue")
    axes.axhline(TOLERANCE, color="0.6", linestyle="--", linewidth=1)
    axes.set(title="convergence: relative residual", xlabel="iteration of conjugate gradients", box_aspect=1)
    axes.grid(alpha=0.3)


# --- On disk -----------------------------------------------------------------------------------------------


def make_writable(folder: Path, names: list[str]) -> None:
    """Makes the folder where it is missing, and makes sure that files of these names can be put there."""
    with _refused(folder):
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    for name in names:
        require(not (folder / name).is_dir(), f"{folder / name} is a folder: choose another with --out")


def write(folder: Path, files: dict[str, bytes]) -> None:
    """Writes all files or none: under temporary names first, then renamed."""
    with _refused(folder), tempfile.TemporaryDirectory(dir=folder, prefix=".linops-jax-") as staging:
        for name, content in files.items():
            (Path(staging) / name).write_bytes(content)
        for name in files:
            os.replace(Path(staging) / name, folder / name)


@contextmanager
def _refused(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        msg = f"cannot write to the folder {folder} ({error.strerror or error}): choose another with --out"
        raise BadInput(msg) from error
