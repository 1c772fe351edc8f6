"""`linops-jax demo`: complete examples of real problems. Without a name, it runs the first one."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from .._errors import one_line_errors, require

app = typer.Typer(help="Complete examples of real problems (default: `demo mri`).")

Size = Annotated[int, typer.Option(help="Pixels along the longer side of the picture.")]
Noise = Annotated[float, typer.Option(help="Noise relative to the data (ratio of root mean squares).")]
Factor = Annotated[float, typer.Option(help="Multiplies the weights of all penalties.")]
Seed = Annotated[int, typer.Option(help="Seed of the noise.")]


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
    noise: Noise = 0.01,
    lam: Annotated[float, typer.Option("--lambda", help="Weight of the smoothness term.")] = 0.3,
    seed: Seed = 0,
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
        _require_noise(noise)
        _require_positive("--lambda", lam)
        problem = {"spokes": spokes, "noise": noise, "lam": lam, "seed": seed}
        if devices is None and processes is None:
            _one_coil(image, problem, out)
        else:
            processes = 1 if processes is None else processes
            _all_coils(image, problem, out, processes if devices is None else devices, processes)


@app.command("tomography")
def run_tomography(
    image: Annotated[
        Path | None, typer.Option(help="Your own picture (PNG, JPEG, NPY) instead of matplotlib's MRI slice.")
    ] = None,
    size: Size = 512,
    angles: Annotated[int, typer.Option(help="Number of angles, spread over half a turn.")] = 100,
    noise: Noise = 0.01,
    factor: Factor = 1,
    seed: Seed = 0,
    out: Annotated[Path, typer.Option(help="Folder to write tomography.png and tomography.json to.")] = Path("out"),
) -> None:
    """Reconstruct a slice from a few of its projections, with three penalties: quadratic, total variation, wavelets."""
    with one_line_errors(extra="demo"):
        from . import tomography

        require(angles >= 1, f"--angles must be 1 or more, found {angles}")
        problem = {"angles": angles, "noise": noise, "factor": factor, "seed": seed}
        _compare("tomography", tomography.run, image, size, problem, out)


@app.command("deblur")
def run_deblur(
    image: Annotated[
        Path | None, typer.Option(help="Your own picture (PNG, JPEG, NPY) instead of matplotlib's portrait.")
    ] = None,
    size: Size = 512,
    radius: Annotated[float, typer.Option(help="Radius of the disc that a point becomes, in pixels.")] = 4,
    noise: Noise = 0.01,
    factor: Factor = 1,
    seed: Seed = 0,
    out: Annotated[Path, typer.Option(help="Folder to write deblur.png and deblur.json to.")] = Path("out"),
) -> None:
    """Sharpen a photograph that is out of focus, with three penalties: quadratic, total variation, wavelets."""
    with one_line_errors(extra="demo"):
        from . import _picture, deblur

        _require_positive("--radius", radius)
        problem = {"radius": radius, "noise": noise, "factor": factor, "seed": seed}
        _compare("deblur", deblur.run, image or _picture.PORTRAIT, size, problem, out)


def _require_noise(noise: float) -> None:
    require(0 <= noise < math.inf, f"--noise must be finite and 0 or more, found {noise}")


def _require_positive(option: str, value: float) -> None:
    require(0 < value < math.inf, f"{option} must be finite and more than 0, found {value}")


def _one_coil(image: Path | None, problem: dict[str, Any], out: Path) -> None:
    from . import _mri_report, _picture, _report, mri

    truth = _picture.read(image)
    _report.make_writable(out, ["mri.png", "mri.json"])
    display = _mri_report.Display()
    result = mri.run(truth, **problem, display=display)
    files = {"mri.png": _mri_report.figure(result), "mri.json": _mri_report.summary(result)}
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


def _compare(
    name: str, run: Callable[..., Any], image: Path | None, size: int, problem: dict[str, Any], out: Path
) -> None:
    from . import _comparison, _picture, _report

    require(size >= _picture.SMALLEST, f"--size must be {_picture.SMALLEST} or more, found {size}")
    _require_noise(problem["noise"])
    _require_positive("--factor", problem["factor"])
    truth = _picture.read(image, size)
    _report.make_writable(out, [f"{name}.png", f"{name}.json"])
    display = _comparison.Display()
    result = run(truth, **problem, display=display)
    files = {f"{name}.png": _comparison.figure(result), f"{name}.json": _comparison.summary(result)}
    _report.write(out, files)
    display.result(result, [out / name for name in files])
