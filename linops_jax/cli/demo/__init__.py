"""`linops-jax demo`: complete examples of real problems. Without a name, it runs the first one."""

import math
from pathlib import Path
from typing import Annotated, Any

import typer

from .._errors import one_line_errors, require

app = typer.Typer(help="Complete examples of real problems (default: `demo mri`).")


@app.callback(invoke_without_command=True)
def _first(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        run_mri()


@app.command("mri")
def run_mri(
    image: Annotated[
        Path | None, typer.Option(help="Your own picture (PNG, JPEG, NPY) instead of matplotlib's MRI slice.")
    ] = None,
    spokes: Annotated[int, typer.Option(help="Number of radial lines in k-space.")] = 40,
    noise: Annotated[float, typer.Option(help="Noise relative to the data (ratio of root mean squares).")] = 0.01,
    lam: Annotated[float, typer.Option("--lambda", help="Weight of the smoothness term.")] = 0.3,
    seed: Annotated[int, typer.Option(help="Seed of the noise.")] = 0,
    out: Annotated[
        Path, typer.Option(help="Folder to write mri.png and mri.json to (mri-devices with --devices).")
    ] = Path("out"),
    devices: Annotated[
        int | None,
        typer.Option(help="Reconstruct from 8 coils, which are spread over 1, 2, ... up to this many CPU devices."),
    ] = None,
    processes: Annotated[
        int | None, typer.Option(help="Then once more with these devices in this many processes.")
    ] = None,
) -> None:
    """Reconstruct an MRI slice from a few radial lines of its Fourier transform."""
    with one_line_errors(extra="demo"):
        require(spokes >= 1, f"--spokes must be 1 or more, found {spokes}")
        require(0 <= noise < math.inf, f"--noise must be finite and 0 or more, found {noise}")
        require(0 < lam < math.inf, f"--lambda must be finite and more than 0, found {lam}")
        problem = {"spokes": spokes, "noise": noise, "lam": lam, "seed": seed}
        if devices is None and processes is None:
            _one_coil(image, problem, out)
        else:
            processes = 1 if processes is None else processes
            _all_coils(image, problem, out, processes if devices is None else devices, processes)


def _one_coil(image: Path | None, problem: dict[str, Any], out: Path) -> None:
    from . import _picture, _report, mri

    truth = _picture.read(image)
    _report.make_writable(out, ["mri.png", "mri.json"])
    display = _report.Display()
    result = mri.run(truth, **problem, display=display)
    files = {"mri.png": _report.figure(result), "mri.json": _report.summary(result)}
    _report.write(out, files)
    display.result(result, [out / name for name in files])


def _all_coils(image: Path | None, problem: dict[str, Any], out: Path, devices: int, processes: int) -> None:
    from . import _coils_report, _coils_runs, _picture, _report

    _coils_runs.start(devices, processes)
    truth = _picture.read(image)
    _report.make_writable(out, ["mri-devices.png", "mri-devices.json"])
    report = _coils_report.Report(truth, problem)
    report.collect(_coils_runs.runs(devices, processes, {"truth": truth, **problem}))
    files = {"mri-devices.png": report.figure(), "mri-devices.json": report.summary()}
    _report.write(out, files)
    report.show([out / name for name in files])
