"""`linops-jax demo tomography` and `demo deblur`: what they compute, what they write, and how they refuse bad input."""

import json

import jax.numpy as jnp
import numpy as np
import pyproximal
import pytest
import pywt
import scipy.ndimage
import scipy.signal
from PIL import Image
from typer.testing import CliRunner

import linops_jax as lo
from linops_jax.cli import app
from linops_jax.cli.demo import _picture, deblur, tomography


def demo(*arguments):
    return CliRunner().invoke(app, ["demo", *map(str, arguments)])


@pytest.fixture
def noisy():
    return jnp.asarray(_picture.read(None, 16) + 0.1 * np.random.default_rng(0).normal(size=(16, 16)), jnp.float32)


# --- Tomography --------------------------------------------------------------------------------------------


def test_tomography_shows_and_writes_three_reconstructions_that_beat_back_projection(tmp_path):
    found = run("tomography", tmp_path, "--size", 48, "--angles", 20)
    assert found["data"] == [20, 68]
    expected = {"quadratic": 1.4, "total variation": 3.3, "wavelets": 2.3}
    assert improvements(found, "back-projection") == pytest.approx(expected, abs=0.2)
    assert found["reconstructions"]["total variation"]["steps"] == tomography.STEPS


def test_the_filter_undoes_the_blur_of_the_adjoint():
    disc = np.hypot(*np.mgrid[-1:1:32j, -1:1:32j]) < 0.7
    x = jnp.asarray(scipy.ndimage.gaussian_filter(disc.astype(np.float32), 1))
    A = lo.ops.XRay(np.pi / 60 * jnp.arange(60), x.shape)
    y = A(x)
    found = tomography.filtered_back_projection(A, y, x)
    blurred = A.H(y) * jnp.vdot(A.H(y), x) / jnp.vdot(A.H(y), A.H(y))
    assert jnp.linalg.norm(found - x) < 0.1 * jnp.linalg.norm(x)
    assert jnp.linalg.norm(blurred - x) > 0.2 * jnp.linalg.norm(x)


def test_prox_of_total_variation_is_that_of_pyproximal(noisy):
    expected = pyproximal.TV(noisy.shape, 1.0, niter=500, rtol=1e-9).prox(np.ravel(noisy), 0.02)
    found = tomography.TotalVariation().prox(noisy, 0.02)
    assert np.linalg.norm(np.ravel(found) - expected) < 0.01 * np.linalg.norm(np.ravel(noisy) - expected)


def test_wavelets_of_data_that_are_a_picture_are_a_soft_threshold_of_pywavelets(noisy):
    levels = pywt.dwt_max_level(16, "db4")
    coarse, *details = pywt.wavedec2(np.asarray(noisy), "db4", "periodization", levels)
    soft = [tuple(pywt.threshold(part, 0.2, "soft") for part in level) for level in details]
    expected = pywt.waverec2([pywt.threshold(coarse, 0.2, "soft"), *soft], "db4", "periodization")
    found = tomography.wavelets(lo.Identity(), noisy, 0.2, print, noisy)
    np.testing.assert_allclose(found, expected, atol=1e-5)


# --- Deblurring --------------------------------------------------------------------------------------------


def test_deblur_shows_and_writes_three_reconstructions_that_beat_least_squares(tmp_path):
    found = run("deblur", tmp_path, "--size", 64, "--radius", 2)
    assert found["data"] == [60, 51]
    expected = {"quadratic": 5.4, "total variation": 8.1, "wavelets": 3.3}
    assert improvements(found, "no penalty") == pytest.approx(expected, abs=0.2)
    assert found["reconstructions"]["wavelets"]["steps"] == deblur.STEPS


def test_the_camera_is_a_convolution_with_a_disc_as_of_scipy():
    x = np.random.default_rng(0).normal(size=(14, 11)).astype(np.float32)
    h = np.asarray(deblur.disc(2.3))
    assert h.shape == (5, 5)
    assert h.sum() == pytest.approx(1)
    inside = np.hypot(*np.mgrid[-2:3, -2:3]) < 1.8
    assert np.ptp(h[inside]) < 1e-7
    expected = scipy.signal.convolve2d(x, h, "valid")
    np.testing.assert_allclose(deblur.camera(2.3, x.shape)(jnp.asarray(x)), expected, atol=1e-5)


# --- Both --------------------------------------------------------------------------------------------------


def run(name, out, *options):
    result = demo(name, *options, "--out", out)
    assert result.exit_code == 0, result.output
    assert "total variation" in result.stdout
    assert sorted(file.name for file in out.iterdir()) == [f"{name}.json", f"{name}.png"]
    with Image.open(out / f"{name}.png") as written:
        assert min(written.size) > 800
    found = json.loads((out / f"{name}.json").read_text())
    assert all(test["passed"] for test in found["dot_tests"].values())
    assert all(value["seconds"] > 0 for value in found["reconstructions"].values())
    assert max(found["height"], found["width"]) == options[1]
    return found


def improvements(found, first):
    """How much higher the PSNR is, in dB, with each penalty; relative errors must tell the same."""
    psnr = {name: value["psnr"] for name, value in found["reconstructions"].items()}
    errors = {name: value["relative_error"] for name, value in found["reconstructions"].items()}
    gains = {name: value - psnr[first] for name, value in psnr.items()}
    assert gains == pytest.approx({name: -20 * np.log10(error / errors[first]) for name, error in errors.items()})
    return {name: gain for name, gain in gains.items() if name != first}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("tomography", "--angles", 0), "--angles must be 1 or more, found 0"),
        (("tomography", "--size", 7), "--size must be 8 or more, found 7"),
        (("tomography", "--noise", -1), "--noise must be finite and 0 or more, found -1.0"),
        (("deblur", "--radius", 0), "--radius must be finite and more than 0, found 0.0"),
        (("deblur", "--factor", "nan"), "--factor must be finite and more than 0, found nan"),
        (("deblur", "--size", 16, "--radius", 7), "--radius 7: the disc has 15 pixels across, the picture 16 x 14"),
    ],
)
def test_bad_numbers(arguments, message, tmp_path):
    result = demo(*arguments, "--out", tmp_path / "out")
    assert (result.exit_code, result.stderr) == (2, f"linops-jax: {message}\n")


def test_a_picture_too_narrow_for_its_size(tmp_path):
    np.save(tmp_path / "narrow.npy", np.arange(640.0).reshape(10, 64))
    result = demo("deblur", "--image", tmp_path / "narrow.npy", "--size", 32)
    assert result.exit_code == 2
    assert "narrow.npy has 5 x 32 pixels if its longer side has 32: at least 8 x 8 are needed" in result.stderr


def test_pictures_are_enlarged():
    picture, larger = _picture.read(None), _picture.read(None, 512)
    assert larger.shape == (512, 512)
    assert (larger.min(), larger.max()) == pytest.approx((0, 1), abs=0.01)
    np.testing.assert_allclose(larger.reshape(256, 2, 256, 2).mean(axis=(1, 3)), picture, atol=0.1)
