"""Views of a host hook serve again in the next call of the same program, but for those that a hook changed."""

import gc
import sys
import threading
import warnings
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

import linops_jax as lo

pytestmark = [pytest.mark.versions, pytest.mark.route]

X = np.arange(8, dtype=np.float32)
RARE = np.dtype(np.uint16)  # each array refers to its dtype: of a rare one they can be counted


class Twice(lo.LinearOperator):
    adjoint = None

    def apply(self, x, *, out):
        np.multiply(x, 2, out=out)

    def infer_shape(self, x):
        return x


def reshaped(array):
    with warnings.catch_warnings(action="ignore"):  # newer NumPy warns
        array.shape = (2, 4)


def reinterpreted(array):
    with warnings.catch_warnings(action="ignore"):
        array.dtype = np.int32


def sealed(array):
    array.setflags(write=False)


def misaligned(array):
    array.setflags(align=False)


def restrided(array):
    with warnings.catch_warnings(action="ignore"):
        array.strides = (0,)


@pytest.mark.parametrize("change", [reshaped, reinterpreted, sealed, misaligned, restrided])
def test_a_view_that_a_hook_changed_does_not_come_back(change):
    class Changing(Twice):
        def apply(self, x, *, out):
            for array, writable in ((x, False), (out, True)):
                found = array.shape, array.dtype, array.strides, array.flags.writeable, array.flags.aligned
                assert found == ((8,), np.float32, (4,), writable, True)
            np.multiply(x, 2, out=out)
            change(x)
            change(out)

    run = jax.jit(lambda x: jax.lax.fori_loop(0, 4, lambda _, v: Changing()(v), x))
    np.testing.assert_array_equal(jax.vmap(run)(np.stack([X, X + 1])), 16 * np.stack([X, X + 1]))


@pytest.mark.parametrize("pytree", [False, True])
def test_weak_references_to_a_view_die_with_the_call(pytree):
    seen = []

    class Watching(Twice):
        def apply(self, x, *, out):
            assert not any(reference() is not None for reference in seen)
            for array in jax.tree.leaves((x, out)):
                seen.append(weakref.ref(array))
            jax.tree.map(lambda x, out: np.multiply(x, 2, out=out), x, out)

    x = {"a": X, "b": X + 1} if pytree else X
    jax.block_until_ready(jax.jit(lambda x: Watching()(Watching()(x)))(x))
    assert seen
    assert not any(reference() is not None for reference in seen)


def test_views_of_a_failed_call_do_not_come_back():
    kept = []

    class Once(Twice):
        def apply(self, x, *, out):
            if not kept:
                kept.append((x, out))
                message = "the first time"
                raise RuntimeError(message)
            assert all(x is not other and out is not other for other in kept[0])
            np.multiply(x, 2, out=out)

    run = jax.jit(lambda x: Once()(x))
    with pytest.raises((RuntimeError, ValueError), match="the first time"):
        jax.block_until_ready(run(X))
    np.testing.assert_array_equal(run(X), 2 * X)
    np.testing.assert_array_equal(run(X), 2 * X)
    kept.clear()


def test_calls_that_overlap_have_views_of_their_own():
    """One program on two devices, with both hooks inside at once, several times."""
    barrier = threading.Barrier(2, timeout=30)

    class Meeting(Twice):
        def apply(self, x, *, out):
            barrier.wait()
            np.multiply(x, 2, out=out)
            barrier.wait()

    mesh = jax.make_mesh((2,), ("i",), axis_types=(jax.sharding.AxisType.Auto,), devices=jax.devices()[:2])
    run = jax.jit(jax.shard_map(lambda x: Meeting()(x), mesh=mesh, in_specs=P("i"), out_specs=P("i")))
    for i in range(5):
        np.testing.assert_array_equal(run(jnp.asarray(X + i)), 2 * (X + i))


def test_they_go_with_the_program():
    def references():
        gc.collect()
        return sys.getrefcount(RARE)

    x = jnp.arange(8, dtype=RARE)
    before = references()
    run = jax.jit(lambda x: Twice()(x)).lower(x).compile()
    counts = []
    for _ in range(4):
        run(x).block_until_ready()
        counts.append(references())
    assert counts == 4 * counts[:1]
    del run
    jax.clear_caches()
    assert references() <= before
