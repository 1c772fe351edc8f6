"""Strict settings for every test: several CPU devices, no implicit broadcasting between ranks, 32 bits."""

import gc
import os
import pathlib
import random
import shutil
import sys
import tempfile

import jax
import numpy as np
import pytest

sys.path[:0] = [str(pathlib.Path(__file__).parent), str(pathlib.Path(__file__).parent / "testing")]  # for helpers
import quick_mlir  # noqa: E402, F401
import quick_xla  # noqa: E402, F401

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # of workers and children, which have the cores to share
jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_enable_x64", False)
jax.config.update("jax_traceback_in_locations_limit", 0)  # where in the tests an operation comes from, nobody reads


CACHE = "LINOPS_JAX_TESTS_COMPILED"


def pytest_addoption(parser):
    parser.addoption("--each", type=int, metavar="N", help="at most N sets of parameters for each test")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    """On another version of JAX, what differs is the way through it, which a few of a test's parameters take as all do."""
    if (most := config.getoption("each")) is None:
        return
    of_test = {}
    for item in items:
        of_test.setdefault(item.nodeid.partition("[")[0], []).append(item)
    drawn = set()
    for name, group in of_test.items():
        drawn.update(random.Random(f"{jax.__version__} {name}").sample(group, min(most, len(group))))
    config.hook.pytest_deselected(items=[item for item in items if item not in drawn])
    items[:] = [item for item in items if item in drawn]


def pytest_configure(config):
    """Half of what tests compile, other tests compile as well: they share it, in a folder of this run."""
    if CACHE not in os.environ:
        os.environ[CACHE] = folder = tempfile.mkdtemp(prefix="linops-jax-tests-")  # pytest-xdist's workers inherit it
        config.add_cleanup(lambda: (os.environ.pop(CACHE), shutil.rmtree(folder, ignore_errors=True)))
    jax.config.update("jax_compilation_cache_dir", os.environ[CACHE])
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    # JAX reads what another thread is still writing, and compiles then
    config.addinivalue_line("filterwarnings", "ignore:Error reading persistent compilation cache entry")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Tests of one file share what they trace and compile: they stay in one worker, as far as that keeps all busy."""
    from xdist.scheduler import WorkStealingScheduling

    return WorkStealingScheduling(config, log) if config.getvalue("dist") == "load" else None


def pytest_collection_finish():
    """Thousands of collected tests are no garbage: without them in its sight a collection takes a tenth of the time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="module")
def empty_caches():
    """What one file has compiled is of no use to the next, and slows every garbage collection."""
    yield
    jax.clear_caches()


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield
