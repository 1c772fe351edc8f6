"""Code written for JAXbind, with only the import changed: its own bindings of ducc0, against ducc0 itself."""

import functools
import importlib.util
import itertools
import pathlib
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import close, energy, normal
from jax.test_util import check_grads

import linops_jax as lo

ducc0 = pytest.importorskip("ducc0")
NAMES = ("get_linear_call", "get_nonlinear_call", "load_kwargs")


@pytest.fixture(scope="module")
def ours():
    """The installed jaxbind.contrib.jaxducc0, run inside a package that holds our three functions in place of its own."""
    found = importlib.util.find_spec("jaxbind")
    if found is None or not found.submodule_search_locations:
        pytest.skip("needs jaxbind")
    path = pathlib.Path(found.submodule_search_locations[0]) / "contrib" / "jaxducc0.py"
    packages = {name: types.ModuleType(name) for name in ("with_our_functions", "with_our_functions.contrib")}
    for package in packages.values():
        package.__path__ = []
    for name in NAMES:
        setattr(packages["with_our_functions"], name, getattr(lo, name))
    sys.modules.update(packages)
    spec = importlib.util.spec_from_file_location("with_our_functions.contrib.jaxducc0", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
        yield module
    finally:
        for name in (*packages, spec.name):
            sys.modules.pop(name, None)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("shape", "axes"), [((7,), (0,)), ((4, 6), (0, 1)), ((4, 6), (1,)), ((3, 4, 5), (0, 2))])
def test_hartley(ours, x64, dtype, shape, axes):
    x = jnp.asarray(normal(shape, dtype))
    call = functools.partial(ours.genuine_fht, axes=axes)
    expected = ducc0.fft.genuine_fht(np.asarray(x), axes=axes)
    close(call(x), [jnp.asarray(expected)], 10)
    close(jax.jit(call)(x), [jnp.asarray(expected)], 10)
    y = jnp.asarray(normal(shape, dtype, 1))
    close(jax.linear_transpose(call, x)([y])[0], jnp.asarray(ducc0.fft.genuine_fht(np.asarray(y), axes=axes)), 10)


def test_hartley_to_order_two(ours, x64):
    call = functools.partial(ours.genuine_fht, axes=(0, 1))
    check_grads(lambda x: call(x)[0] ** 2, (jnp.asarray(normal((3, 4))),), order=2, modes=("fwd", "rev"))


@pytest.mark.parametrize(("in_axis", "out_axis"), list(itertools.product((0, 1, 2, -1), repeat=2)))
def test_hartley_in_batches(ours, in_axis, out_axis):
    x = jnp.asarray(normal((2, 3, 4), np.float32))
    call = functools.partial(ours.genuine_fht, axes=(1,))
    rows = [
        ducc0.fft.genuine_fht(np.ascontiguousarray(row), axes=(1,)) for row in np.moveaxis(np.asarray(x), in_axis, 0)
    ]
    found = jax.vmap(call, in_axis, out_axis)(x)
    close(found, [jnp.stack(rows, out_axis)], 10)


def test_hartley_in_nested_batches_with_gradients(ours):
    x = jnp.asarray(normal((2, 3, 4, 5), np.float32))
    call = functools.partial(ours.genuine_fht, axes=(0,))

    def twin(v):
        frequencies = jnp.fft.fft(v, axis=0)
        return [frequencies.real - frequencies.imag]

    for derive in (lambda g: g, lambda g: jax.grad(lambda x: energy(g(x)))):
        found, expected = (derive(jax.vmap(jax.vmap(g, 1), 0))(x) for g in (call, twin))
        close(found, expected, 10)


@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
@pytest.mark.parametrize("forward", [True, False])
@pytest.mark.parametrize("axes", [(0,), (1,), (0, 1)])
def test_c2c(ours, x64, dtype, forward, axes):
    x = jnp.asarray(normal((4, 6), dtype))
    call = functools.partial(ours.c2c, axes=axes, forward=forward)

    def twin(x):
        return [jnp.fft.fftn(x, axes=axes) if forward else jnp.fft.ifftn(x, axes=axes, norm="forward")]

    close(call(x), [jnp.asarray(ducc0.fft.c2c(np.asarray(x), axes=axes, forward=forward))], 10)
    close(jax.grad(lambda x: energy(call(x)))(x), jax.grad(lambda x: energy(twin(x)))(x), 10)
    xs = jnp.asarray(normal((4, 3, 6), dtype))
    found, expected = (jax.vmap(jax.grad(lambda x, g=g: energy(g(x))), 1, 1)(xs) for g in (call, twin))
    close(found, expected, 10)


@pytest.mark.parametrize("spin", [0, 2])
def test_healpix(ours, x64, spin):
    nside, lmax, mmax = 4, 6, 5
    call = ours.get_healpix_sht(nside, lmax, mmax, spin)
    ncomp, size = 1 if spin == 0 else 2, 2 * ours.nalm(lmax, mmax) - lmax - 1
    x = jnp.asarray(normal((ncomp, size)))

    def direct(x):
        alm = np.empty((ncomp, (size + lmax + 1) // 2), np.complex128)
        alm[:, : lmax + 1] = x[:, : lmax + 1]
        alm[:, lmax + 1 :] = x[:, lmax + 1 :].view(np.complex128) / np.sqrt(2)
        geometry = ducc0.healpix.Healpix_Base(nside, "RING").sht_info()
        return ducc0.sht.synthesis(alm=alm, spin=spin, lmax=lmax, mmax=mmax, nthreads=1, **geometry)

    close(call(x), [jnp.asarray(direct(np.array(x)))], 10)
    matrix = jnp.stack([jnp.asarray(direct(np.asarray(unit).reshape(x.shape))) for unit in np.eye(x.size)], -1)
    y = jnp.asarray(normal(matrix.shape[:-1], seed=2))
    pulled = jnp.tensordot(y, matrix, 2).reshape(x.shape)
    close(jax.linear_transpose(call, x)([y])[0], pulled, 100)
    xs = jnp.asarray(normal((3, *x.shape), seed=3))
    close(jax.vmap(call)(xs), [jnp.stack([jnp.asarray(direct(np.array(v))) for v in xs])], 10)
    found = jax.grad(lambda xs: jnp.sum(jax.vmap(call)(xs)[0] ** 2) / 2)(xs)
    expected = jax.grad(lambda xs: jnp.sum(jnp.tensordot(xs.reshape(3, -1), matrix, (1, 2)) ** 2) / 2)(xs)
    close(found, expected, 100)
    close(jax.jit(jax.hessian(lambda v: jnp.sum(call(v)[0] ** 2) / 2))(x).reshape(x.size, x.size),
          jnp.tensordot(matrix, matrix, ((0, 1), (0, 1))), 100)  # fmt: skip


def test_wgridder(ours, x64):
    """From a real image to complex visibilities; the transpose has no conjugate."""
    uvw, freq = normal((10, 3)) * 100, np.array([1e9, 1.1e9])
    options = {"pixsize_x": 1e-4, "pixsize_y": 1e-4, "epsilon": 1e-12, "do_wgridding": True}
    call = ours.get_wgridder(npix_x=16, npix_y=16, **options)
    image = jnp.asarray(normal((16, 16)))

    def direct(image):
        return ducc0.wgridder.experimental.dirty2vis(uvw=uvw, freq=freq, dirty=np.asarray(image), **options)

    close(call(uvw, freq, image), [jnp.asarray(direct(image))], 1e6)
    y = jnp.asarray(normal((10, 2), np.complex128))
    (found,) = jax.linear_transpose(functools.partial(call, uvw, freq), image)([y])
    probe = jnp.asarray(normal((16, 16), seed=5))
    np.testing.assert_allclose(jnp.vdot(found, probe), jnp.sum(y * direct(probe)).real, rtol=1e-9)
    energy_of = lambda image: jnp.sum(jnp.abs(call(uvw, freq, image)[0]) ** 2) / 2  # noqa: E731
    slope = jnp.vdot(jax.grad(energy_of)(image), probe)
    np.testing.assert_allclose(slope, np.vdot(direct(image), direct(probe)).real, rtol=1e-9)
