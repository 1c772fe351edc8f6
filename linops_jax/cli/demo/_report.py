"""What all demos show and write: progress and tables in the terminal, pictures, files."""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from .._errors import BadInput, require

# --- In the terminal ---------------------------------------------------------------------------------------


class Display:
    """The terminal, as the demos use it."""

    def __init__(self):
        self.console = Console()

    def dot_tests(self, tests: dict) -> None:
        """The dot test of each named operator."""
        table = Table("operator", "error", "tolerance", "", title="Dot test  |<A u, v> - <u, A^H v>|")
        for name, test in tests.items():
            verdict = "[green]passed[/]" if test.passed else "[bold red]failed[/]"
            table.add_row(name, f"{test.error:.1e}", f"{test.tolerance:.1e}", verdict)
        self.console.print(table)

    @contextmanager
    def progress(self) -> Iterator[Progress]:
        """Shows the bars of what runs inside, each with a note."""
        columns = TextColumn("{task.description:<19}"), BarColumn(), TextColumn("{task.fields[note]}")
        with Progress(*columns, TimeElapsedColumn(), console=self.console) as progress:
            yield progress

    def written(self, files: list[Path]) -> None:
        """Says where the files are."""
        self.console.print("written:", *map(str, files), highlight=False)


# --- Figures -----------------------------------------------------------------------------------------------


def psnr(picture: np.ndarray, truth: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB, for pictures from 0 to 1."""
    return float(-10 * np.log10(np.mean((picture - truth) ** 2)))


def show(axes, picture, title, *, fontsize=12, **options):
    """Shows a picture from 0 to 1 in grey, unless the options of imshow say something else."""
    image = axes.imshow(picture, interpolation="nearest", **{"cmap": "gray", "vmin": 0, "vmax": 1, **options})
    axes.set_title(title, fontsize=fontsize)
    axes.set_axis_off()
    return image


def plain_tests(tests: dict) -> dict[str, dict]:
    """The results of dot tests, for JSON."""
    return {
        name: {"passed": bool(test.passed), "error": float(test.error), "tolerance": float(test.tolerance)}
        for name, test in tests.items()
    }


def as_json(values: dict[str, Any]) -> bytes:
    """The figures of a run as a JSON file."""
    return json.dumps(values, indent=2).encode() + b"\n"


def png(canvas: Figure) -> bytes:
    """The figure as a PNG file."""
    stream = BytesIO()
    canvas.savefig(stream, format="png", dpi=110)
    return stream.getvalue()


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
