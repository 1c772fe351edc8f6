"""Native hooks in programs that leave the process."""

import pickle
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from building import path
from jax import export
from jax.experimental import serialize_executable

import linops_jax as lo

MODULE = """
import ctypes, os
import jax, numpy as np
import linops_jax as lo

C = ctypes.CDLL(os.environ["KERNELS"])

class Scaling(lo.LinearOperator):
    factor: float = lo.static()
    apply = adjoint = lo.native(C.scale_by_user_data, user_data=lambda op: np.array([op.factor]))
    def infer_shape(self, x): return x

class Live(lo.LinearOperator):
    plan: object = lo.static()
    apply = adjoint = lo.native(C.meet)
    def infer_shape(self, x): return x

def double(x, out):
    out[:] = 2 * x

try:
    class Doubling(lo.LinearOperator):
        apply = adjoint = lo.native(numba=double)
        def infer_shape(self, x): return x
except ImportError:
    pass
"""

LOADER = """
import pickle, sys
import jax, jax.numpy as jnp, numpy as np
from jax import export
from jax.experimental import serialize_executable
import linops_jax as lo
x = np.arange(5, dtype=np.float32)
calls = [export.deserialize(bytearray(open(name, "rb").read())).call for name in sys.argv[1:-1]]
with open(sys.argv[-1], "rb") as file:
    calls.append(serialize_executable.deserialize_and_load(*pickle.load(file)))
try:
    calls[0](x)
    raise SystemExit("it ran without the class")
except (jax.errors.JaxRuntimeError, ValueError) as error:
    assert "import scaling_shop" in str(error), error
import scaling_shop
for call in calls:
    factor = 2 if call is calls[-2] and len(calls) > 2 else 3
    np.testing.assert_array_equal(call(x), factor * x)
    np.testing.assert_array_equal(call(x), factor * x)
"""


@pytest.fixture
def shop(tmp_path, monkeypatch):
    (tmp_path / "scaling_shop.py").write_text(MODULE)
    monkeypatch.setenv("KERNELS", str(path("kernels.c")))
    monkeypatch.syspath_prepend(tmp_path)
    import scaling_shop

    yield scaling_shop
    del sys.modules["scaling_shop"]


def test_export_and_back_in_another_process(shop, tmp_path, monkeypatch):
    x = jnp.arange(5, dtype=jnp.float32)
    names = []
    for op in (shop.Scaling(3.0), *([shop.Doubling()] if hasattr(shop, "Doubling") else [])):
        names.append(type(op).__name__)
        exported = export.export(jax.jit(lambda x, op=op: op(x)), disabled_checks=lo.export_checks())(x)
        (tmp_path / names[-1]).write_bytes(exported.serialize())
    compiled = jax.jit(lambda x: shop.Scaling(3.0)(x)).lower(x).compile()
    (tmp_path / "executable").write_bytes(pickle.dumps(serialize_executable.serialize(compiled)))
    (tmp_path / "loader.py").write_text(LOADER)
    environment = {"PYTHONPATH": str(tmp_path)}
    command = [sys.executable, str(tmp_path / "loader.py"), *names, "executable"]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={**__import__("os").environ, **environment},
        timeout=120,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_live_objects_stay_here(shop):
    with pytest.raises(TypeError, match=r"Live\.apply cannot be exported: another process could not find .*Live\.plan"):
        export.export(jax.jit(lambda x: shop.Live(object())(x)), disabled_checks=lo.export_checks())(np.ones(3))
