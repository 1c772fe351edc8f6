"""`linops-jax demo mri`: what it computes, what it writes, and how it refuses bad input."""

import json
import subprocess
import sys
import time
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ducc0 import nufft
from PIL import Image
from typer.testing import CliRunner

import linops_jax as lo
from linops_jax.cli import app
from linops_jax.cli.demo import _coils_runs, _picture, coils, mri

COMMAND = [sys.executable, "-m", "linops_jax"]


def demo(*arguments):
    return CliRunner().invoke(app, ["demo", "mri", *map(str, arguments)])


@pytest.fixture(scope="module")
def slice64():
    """The MRI slice at a quarter of its size: (64, 64), from 0 to 1."""
    small = _picture.read(None).reshape(64, 4, 64, 4).mean(axis=(1, 3))
    return small / small.max()


@pytest.fixture
def image(slice64, tmp_path):
    file = tmp_path / "slice.npy"
    np.save(file, slice64)
    return file


@pytest.fixture
def problem(slice64, x64):
    """lam, A, G, y at a quarter of the size."""
    coord, _ = mri.trajectory(12, slice64.shape)
    A = mri.NUFFT(coord, slice64.shape) / len(coord) ** 0.5
    return 0.3, A, mri.Gradient(), mri.measure(A, jnp.asarray(slice64, complex), noise=0.01, seed=0)


def nothing(norm):
    pass


# --- The operators -----------------------------------------------------------------------------------------


def test_nufft_is_the_direct_sum(x64):
    rng = np.random.default_rng(0)
    coord = rng.uniform(-np.pi, np.pi, (7, 2))
    x = rng.normal(size=(6, 5)) + 1j * rng.normal(size=(6, 5))
    down, across = np.meshgrid(np.arange(-3, 3), np.arange(-2, 3), indexing="ij")
    phase = coord[:, 0, None, None] * down + coord[:, 1, None, None] * across
    expected = np.sum(x * np.exp(-1j * phase), axis=(1, 2))
    A = mri.NUFFT(jnp.asarray(coord), (6, 5))
    np.testing.assert_allclose(A(jnp.asarray(x)), expected, rtol=1e-8)


@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
def test_adjoints_are_proved_in_both_precisions(dtype, x64):
    coord, _ = mri.trajectory(5, (12, 9))
    x = jnp.ones((12, 9), dtype)
    for operator in (mri.NUFFT(coord, (12, 9)), mri.Gradient()):
        assert operator(x).dtype == dtype
        result = lo.dot_test(operator, x)
        assert result.passed, str(result)


def test_nufft_takes_a_batch_in_one_call(x64, monkeypatch):
    coord, _ = mri.trajectory(5, (8, 8))
    A = mri.NUFFT(coord, (8, 8))
    xs = jax.random.normal(jax.random.key(0), (3, 8, 8), complex)
    expected = jnp.stack([A(x) for x in xs])
    calls = count_calls(monkeypatch, "u2nu")
    found = jax.block_until_ready(jax.vmap(A)(xs))
    assert calls == ["u2nu"]
    np.testing.assert_allclose(found, expected, rtol=1e-9)


# --- The reconstruction ------------------------------------------------------------------------------------


def count_calls(monkeypatch, *names):
    calls = []

    def counted(name, function):
        return lambda **options: (calls.append(name), function(**options))[1]

    for name in names:
        monkeypatch.setattr(nufft, name, counted(name, getattr(nufft, name)))
    return calls


def test_reconstruction_solves_the_normal_equations(problem):
    lam, A, G, y = problem
    x = mri.reconstruct(*problem, nothing)
    residual = A.H(A(x) - y) + lam * G.H(G(x))
    assert jnp.linalg.norm(residual) <= 2 * mri.TOLERANCE * jnp.linalg.norm(A.H(y))


def test_each_residual_stands_for_one_call_of_the_nufft_and_one_of_its_adjoint(problem, monkeypatch):
    calls, residuals = count_calls(monkeypatch, "u2nu", "nu2u"), []
    mri.reconstruct(*problem, residuals.append).block_until_ready()
    jax.effects_barrier()
    assert calls.count("u2nu") == len(residuals)
    assert calls.count("nu2u") == len(residuals) + 1


def test_gradient_of_the_misfit_is_right(problem):
    lam, A, G, y = problem
    misfit = partial(mri.misfit, A=A, G=G, y=y, monitor=nothing)
    difference = float(misfit(lam + 0.01) - misfit(lam - 0.01)) / 0.02
    assert jax.grad(misfit)(lam) == pytest.approx(difference, rel=1e-3)


def test_same_seed_same_noise(problem, slice64):
    _, A, _, y = problem
    again, other = (mri.measure(A, jnp.asarray(slice64, complex), noise=0.01, seed=seed) for seed in (0, 1))
    np.testing.assert_allclose(again, y, rtol=1e-9)
    assert not np.allclose(other, y)


def test_samples_share_the_disc_of_k_space(x64):
    coord, area = mri.trajectory(7, (32, 20))
    assert coord.shape == (7 * 64, 2)
    assert float(jnp.max(jnp.linalg.norm(coord, axis=1))) == pytest.approx(np.pi)
    assert float(jnp.sum(area)) == pytest.approx(np.pi * np.pi**2, rel=1e-3)


# --- What the command writes -------------------------------------------------------------------------------


def test_reconstruction_beats_the_adjoint_image(image, tmp_path):
    out = tmp_path / "a" / "b"
    result = demo("--image", image, "--spokes", 16, "--out", out)
    assert result.exit_code == 0, result.output
    assert "Dot test" in result.stdout
    assert "PSNR" in result.stdout
    assert sorted(file.name for file in out.iterdir()) == ["mri.json", "mri.png"]
    with Image.open(out / "mri.png") as written:
        assert min(written.size) > 500
    found = json.loads((out / "mri.json").read_text())
    assert found["psnr_reconstruction"] > found["psnr_adjoint"] + 3
    assert found["residual"] <= mri.TOLERANCE
    assert found["calls"] == 2 * found["iterations"] + 3
    assert found["seconds"] > 0
    assert found["misfit"] > 0
    assert found["misfit_gradient"] > 0
    assert (found["spokes"], found["height"], found["width"]) == (16, 64, 64)
    assert all(test["passed"] for test in found["dot_tests"].values())


def test_as_a_process(image, tmp_path):
    arguments = ["demo", "mri", "--image", str(image), "--spokes", "8", "--out", str(tmp_path / "out")]
    done = subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, timeout=120, cwd=tmp_path, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "out" / "mri.png").exists()


# --- On several devices ------------------------------------------------------------------------------------


def test_all_coils_are_the_sum_of_each(slice64, x64):
    """The normal operator on two devices, against NUFFTs that know of no coils."""
    mesh = jax.make_mesh((2,), ("coils",), axis_types=(jax.sharding.AxisType.Auto,), devices=jax.devices()[:2])
    coord, _ = mri.trajectory(5, slice64.shape)
    A, one, maps = (
        coils.all_coils(coord, slice64.shape, mesh),
        mri.NUFFT(coord, slice64.shape),
        coils.sensitivities((64, 64)),
    )
    x = jnp.asarray(slice64 + 1j * slice64.T)
    expected = sum(np.conj(s) * one.H(one(s * x)) for s in np.asarray(maps)) / len(coord)
    found = jax.jit(lambda A, x: A.H(A(x)))(A, x)
    np.testing.assert_allclose(found, expected, atol=1e-8 * np.max(abs(expected)))


def test_devices_and_processes_come_to_the_same_picture(image, tmp_path):
    arguments = ["--image", image, "--spokes", 12, "--devices", 2, "--processes", 2, "--out", tmp_path]
    result = demo(*arguments)
    assert result.exit_code == 0, result.output
    assert "3 all-reduce" in result.stdout
    with Image.open(tmp_path / "mri-devices.png") as written:
        assert min(written.size) > 400
    found = json.loads((tmp_path / "mri-devices.json").read_text())
    assert [(run["devices"], run["processes"]) for run in found["runs"]] == [(1, 1), (2, 1), (2, 2)]
    calls = coils.COILS * (2 * coils.STEPS + 3)  # A.H(y); A and A.H at the start and in each step
    for run in found["runs"]:
        assert run["hook_calls_per_device"] == calls / run["devices"]
        assert run["collectives"] == ({"all-reduce": 3} if run["devices"] > 1 else {})
        assert run["difference"] < 1e-6
        assert run["seconds"] > 0
    assert found["psnr_reconstruction"] > 20
    assert (found["spokes"], found["lambda"], found["height"], found["width"]) == (12, 0.3, 64, 64)


def test_a_process_that_fails_is_told_and_ends_the_others(tmp_path, monkeypatch):
    program = "import sys, time; time.sleep(60) if sys.argv[-1] == '0' else sys.exit('no device')"
    monkeypatch.setattr(_coils_runs, "COMMAND", [sys.executable, "-c", program])
    started = time.monotonic()
    with pytest.raises(RuntimeError, match=r"process 1 of 2 ended with exit code 1:\nno device"):
        _coils_runs._in_processes(2, 2, {})
    assert time.monotonic() - started < 30


# --- Reading pictures --------------------------------------------------------------------------------------


def test_the_slice_is_the_one_of_matplotlib():
    picture = _picture.read(None)
    assert picture.shape == (256, 256)
    assert (picture.min(), picture.max()) == (0, 1)
    assert len(np.unique(picture)) > 100


@pytest.mark.parametrize(
    ("name", "dtype", "mode"),
    [
        ("a.png", np.uint8, "L"),
        ("a.png", np.uint16, "I;16"),
        ("a.png", np.uint8, "RGBA"),
        ("a.jpeg", np.uint8, "RGB"),
    ],
)
def test_pictures_of_all_kinds(name, dtype, mode, slice64, tmp_path):
    levels = (slice64 * np.iinfo(dtype).max).astype(dtype)
    picture = Image.fromarray(levels)
    (picture if picture.mode == mode else picture.convert(mode)).save(tmp_path / name, quality=100)
    np.testing.assert_allclose(_picture.read(tmp_path / name), slice64, atol=0.05)


def test_large_pictures_are_reduced(slice64, tmp_path):
    np.save(tmp_path / "large.npy", np.kron(slice64[16:48], np.ones((16, 16))))
    np.testing.assert_allclose(
        _picture.read(tmp_path / "large.npy"), np.kron(slice64[16:48], np.ones((8, 8))), atol=1e-6
    )


# --- Bad input ---------------------------------------------------------------------------------------------


def refused(result, message):
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("linops-jax: ")
    assert result.stderr.count("\n") == 1
    assert message in result.stderr


def with_value(value):
    picture = np.arange(256.0).reshape(16, 16)
    picture[3, 4] = value
    return picture


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (np.ones((1, 1)), "has 1 x 1 pixels: at least 8 x 8 are needed"),
        (np.ones((1, 300)), "has 1 x 300 pixels: at least 8 x 8 are needed"),
        (np.ones((0, 300)), "has 0 x 300 pixels"),
        (with_value(np.nan), "has 1 values that are NaN or infinite"),
        (with_value(-np.inf), "has 1 values that are NaN or infinite"),
        (np.ones((16, 16)), "has no contrast: every pixel is 1"),
        (np.ones((16, 16, 3)), "found shape (16, 16, 3)"),
        (np.ones((16, 16), complex), "found dtype complex128"),
        (np.full((16, 16), "a"), "found dtype <U1"),
        (np.full((16, 16), None), "cannot be read as a picture (PNG, JPEG or NPY)"),
    ],
)
def test_unusable_arrays(picture, message, tmp_path):
    file, out = tmp_path / "picture.npy", tmp_path / "out"
    np.save(file, picture)
    result = demo("--image", file, "--out", out)
    refused(result, message)
    assert str(file) in result.stderr
    assert not out.exists()


@pytest.mark.parametrize("name", ["picture.png", "picture.jpg", "picture.npy", "picture"])
@pytest.mark.parametrize("content", [b"", b"not a picture\n" * 9, b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00"])
def test_unreadable_files(name, content, tmp_path):
    (tmp_path / name).write_bytes(content)
    result = demo("--image", tmp_path / name, "--out", tmp_path / "out")
    refused(result, f"{tmp_path / name} cannot be read as a picture (PNG, JPEG or NPY)")
    assert not (tmp_path / "out").exists()


def test_truncated_picture(slice64, tmp_path):
    file = tmp_path / "picture.png"
    Image.fromarray((255 * slice64).astype(np.uint8)).save(file)
    file.write_bytes(file.read_bytes()[:-500])
    refused(demo("--image", file, "--out", tmp_path / "out"), "picture.png cannot be read as a picture")


def test_one_pixel_png(tmp_path):
    Image.new("L", (1, 1)).save(tmp_path / "dot.png")
    refused(demo("--image", tmp_path / "dot.png"), "dot.png has 1 x 1 pixels: at least 8 x 8 are needed")


def test_missing_file(tmp_path):
    refused(
        demo("--image", tmp_path / "no.png", "--out", tmp_path / "out"),
        f"there is no file {tmp_path / 'no.png'}",
    )
    refused(demo("--image", tmp_path, "--out", tmp_path / "out"), f"{tmp_path} is not a file")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--spokes", 0, "--spokes must be 1 or more, found 0"),
        ("--spokes", -3, "--spokes must be 1 or more, found -3"),
        ("--noise", -0.1, "--noise must be finite and 0 or more, found -0.1"),
        ("--noise", "nan", "--noise must be finite and 0 or more, found nan"),
        ("--lambda", 0, "--lambda must be finite and more than 0, found 0.0"),
        ("--lambda", "inf", "--lambda must be finite and more than 0, found inf"),
        ("--devices", 3, "--devices must be a number that divides 8, that of the coils, found 3"),
        ("--processes", 3, "--devices must be a number that divides 8, that of the coils, found 3"),
        ("--processes", 0, "--processes must be 1 or more, found 0"),
        ("--devices", 8, "--devices 8: JAX runs already in this process, with 4 CPU devices"),
    ],
)
def test_bad_numbers(option, value, message, tmp_path):
    refused(demo(option, value, "--out", tmp_path / "out"), message)
    assert not (tmp_path / "out").exists()


def test_unwritable_folder(image, tmp_path):
    file = tmp_path / "file"
    file.write_text("kept")
    for out in (file, file / "below"):
        refused(demo("--image", image, "--out", out), f"cannot write to the folder {out}")
    assert file.read_text() == "kept"


def test_all_files_or_none(image, tmp_path):
    out = tmp_path / "out"
    (out / "mri.json").mkdir(parents=True)
    refused(demo("--image", image, "--out", out), f"{out / 'mri.json'} is a folder")
    assert [file.name for file in out.iterdir()] == ["mri.json"]


# --- The command itself ------------------------------------------------------------------------------------


def test_missing_package(tmp_path):
    hidden = "import sys; sys.modules['ducc0'] = None; from linops_jax.cli import main; main()"
    arguments = [sys.executable, "-c", hidden, "demo", "mri"]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=120, cwd=tmp_path, check=False)
    assert done.returncode == 2
    assert done.stderr == "linops-jax: the package ducc0 is missing: pip install 'linops-jax[demo]'\n"


def test_help_and_version():
    runner = CliRunner()
    assert "demo" in runner.invoke(app, ["--help"]).stdout
    assert "--spokes" in runner.invoke(app, ["demo", "mri", "--help"]).stdout
    assert runner.invoke(app, ["--version"]).stdout.startswith("linops-jax ")


def test_demo_alone_runs_the_first_one(monkeypatch):
    runs = []
    monkeypatch.setattr("linops_jax.cli.demo.run_mri", lambda: runs.append("mri"))
    assert CliRunner().invoke(app, ["demo"]).exit_code == 0
    assert runs == ["mri"]
