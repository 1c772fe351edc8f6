"""Native hooks in programs that leave the process."""

import os
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

pytestmark = pytest.mark.newest

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
    environment = {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, str(tmp_path / "loader.py"), *names, "executable"]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, **environment},
        timeout=120,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_live_objects_stay_here(shop):
    with pytest.raises(TypeError, match=r"Live\.apply cannot be exported: another process could not find .*Live\.plan"):
        export.export(jax.jit(lambda x: shop.Live(object())(x)), disabled_checks=lo.export_checks())(np.ones(3))


# A program that did not come from here: compiled code would take its arrays for others.
CHANGED = """
import json, re
import jax, jax.numpy as jnp, numpy as np
import scaling_shop

def run(cls, batch="", operands=((5,),), out=(5,), dtype=np.float32, target="linops_jax_native", **changes):
    operator = ["operator", f"scaling_shop:{cls}", changes.pop("statics", []), []]
    key = {"class": f"scaling_shop:{cls}", "hook": "apply", "arguments": [operator, "*"], "result": "*", "ignored": [False],
           "kind": "native", **changes}
    call = jax.ffi.ffi_call(target, jax.ShapeDtypeStruct(out, dtype))
    operands = [np.ones(shape, dtype) for shape in operands]
    return np.asarray(call(*operands, key=json.dumps(key), batch=batch))

def refused(match, *arguments, **keywords):
    for _ in range(2):
        try:
            found = run(*arguments, **keywords)
        except (jax.errors.JaxRuntimeError, ValueError) as error:
            assert re.search(match, str(error)), (match, str(error))
        else:
            raise AssertionError((match, found))

three = {"statics": [["factor", ["float", (3.0).hex()]]]}
np.testing.assert_array_equal(run("Scaling", **three), np.full(5, 3))
refused("operand 0 is int8 of rank 1; it is compiled for float32. Export", "Scaling", dtype=np.int8, **three)
refused("found masks of 2 operands, expected 1", "Scaling", "1,1", **three)
refused("operand 0 is float32.7,5., which has size 7 along batch axis 0; expected 3", "Scaling", "1", [(7, 5)], (3, 5), **three)
refused("with 2 operands and 1 result; its key describes 1 operand", "Scaling", operands=[(5,), (5,)], **three)
refused("as a host hook, but it is a native one", "Scaling", target="linops_jax_host", **three)
refused("was made for another kind of Scaling.apply: found", "Scaling", signature=["tuple"], **three)
assert run("Scaling", "1", [(0, 5)], (0, 5), **three).shape == (0, 5)
promised = r"Scaling\\.%s failed: ValueError: this program calls it with %s: f32\\[%s\\], where infer_shape promises f32\\[%s\\]"
refused(promised % ("apply", "result", 500, 5), "Scaling", out=(500,), **three)
refused(promised % ("apply", "result", 500, 5), "Scaling", "1", [(3, 5)], (3, 500), **three)
refused(promised % ("apply", "result", "5,1", 5), "Scaling", out=(5, 1), **three)
refused(promised % ("adjoint", "y", 5, 500), "Scaling", out=(500,), hook="adjoint", **three)

def array(dtype="float32", rank=1):
    return ["tuple", ["str", dtype], ["int", rank]]

def signature(inputs, outputs):
    return {"signature": ["tuple", ["tuple", *inputs], ["tuple", *outputs]]}

if hasattr(scaling_shop, "Doubling"):
    np.testing.assert_array_equal(run("Doubling", **signature([array()], [array()])), np.full(5, 2))
    refused("operand 0 is float32 of rank 1; it is compiled for float64 of rank 1", "Doubling",
            **signature([array("float64")], [array()]))
    refused("result 0 is float32 of rank 1; it is compiled for float32 of rank 2", "Doubling",
            **signature([array()], [array(rank=2)]))
    inject = array("float32_); __import__('os').abort(); (0")
    for wrong in (signature([], [array(), array()]), signature([array()] * 2, []), signature([array()], [array("str")]),
                  signature([inject], [array()]), signature([array(rank=-1)], [array()]),
                  signature([array(rank=49)], [array()]), {}):
        refused("was made for another kind of Doubling.apply: found .*, expected the dtype and rank of 1 operands",
                "Doubling", **wrong)
"""  # fmt: skip


def test_programs_that_do_not_fit_compiled_code(shop, tmp_path):
    module = MODULE.replace("lo.native(C.scale_by_user_data, ", 'lo.native(C.scale_by_user_data, dtypes=["float32"], ')
    (tmp_path / "scaling_shop.py").write_text(module)
    (tmp_path / "changed.py").write_text(CHANGED)
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", str(tmp_path / "changed.py")],
        cwd=tmp_path,
        timeout=120,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
