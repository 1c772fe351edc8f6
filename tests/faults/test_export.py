"""What leaves the process: exported programs, serialized executables and the persistent compilation cache."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

import linops_jax as lo

pytestmark = pytest.mark.versions

SHOP = '''
import math
import jax, numpy as np
import linops_jax as lo

class Scale(lo.LinearOperator):
    factor: float = lo.static()
    def apply(self, x): return self.factor * x
    def adjoint(self, y): return self.factor * y
    def infer_shape(self, x): return x

class Decoy(lo.LinearOperator):
    factor: float = lo.static()
    def apply(self, x): return -1000 * x
    def adjoint(self, y): return -1000 * y
    def infer_shape(self, x): return x

class Diagonal(lo.LinearOperator):
    d: jax.Array
    def apply(self, x): return self.d * x
    def adjoint(self, y): return np.conj(self.d) * y
    def parameter_jvp(self, x, dself): return dself.d * x
    def parameter_vjp(self, x, dy): return {"d": np.conj(x) * dy}
    def infer_shape(self, x): return x

class Swap(lo.LinearOperator):
    """Pytrees in and out, into out."""
    factor: complex = lo.static()
    def apply(self, x, *, out):
        out["first"][...] = self.factor * x[1]["b"]
        out["rest"][0][...] = x[0]
    def adjoint(self, y): return y["rest"][0], {"b": np.conj(self.factor) * y["first"], "none": None}
    def infer_shape(self, x): return {"first": x[1]["b"], "rest": [x[0]]}

class Square(lo.NonlinearOperator):
    def apply(self, x): return x**2
    def jacobian_apply(self, x, dx): return 2 * x * dx
    def jacobian_adjoint(self, x, dy): return 2 * x * dy
    def infer_shape(self, x): return x

class Nested(lo.LinearOperator):
    inner: lo.LinearOperator
    offset: int = lo.static()
    def apply(self, x): return self.inner.apply(x) + self.offset * 0 * x
    def adjoint(self, y): return self.inner.adjoint(y)
    def infer_shape(self, x): return x

class Remembers(lo.NonlinearOperator):
    def apply(self, x): return x**3
    def linearize(self, x): return x**3, {"slope": 3 * x**2, "count": np.int32(5)}
    def infer_state_shape(self, x): return {"slope": x, "count": jax.ShapeDtypeStruct((), np.int32)}
    def jacobian_apply(self, x, dx, *, state): return state["slope"] * dx
    def jacobian_adjoint(self, x, dy, *, state):
        assert state["count"] == 5
        return state["slope"] * dy
    def infer_shape(self, x): return x

class Planned(lo.LinearOperator):
    d: jax.Array
    def prepare(self, x, *, d): return np.full(x.shape, 2.0) * d
    def apply(self, x, *, plan): return plan * x
    def adjoint(self, y, *, plan): return plan * y
    def infer_shape(self, x): return x

class Outer:
    class Inside(lo.LinearOperator):
        def apply(self, x): return 7 * x
        def adjoint(self, y): return 7 * y
        def infer_shape(self, x): return x

class Describe(lo.LinearOperator):
    """Encodes what it was given in its result, so that each value must survive exactly."""
    value: object = lo.static()
    adjoint = None
    def apply(self, x): return np.frombuffer(describe(self.value).encode().ljust(200), np.uint8).astype(np.int32)
    def infer_shape(self, x): return jax.ShapeDtypeStruct((200,), np.int32)

def describe(value):
    if type(value) is tuple:
        return "(" + ",".join(map(describe, value)) + ")"
    if type(value) is float and math.isnan(value):
        return "float nan"
    return f"{type(value).__name__} {value!r}"
'''

VALUES = """
import numpy as np, ml_dtypes
VALUES = [
    None, True, False, 0, 1, -5, 2**80, 0.0, -0.0, 0.1, 1e-320, float("inf"), -float("inf"), float("nan"), 1.0,
    1j, complex(-0.0, 0.0), complex(0.1, float("inf")), "", "plain", 'quo"te', "new\\nline", "nul\\0", "na\\u00efve \\U0001F600",
    "\\udcff", "*", b"", b"\\x00\\xff", np.dtype("float32"), np.dtype("int8"), np.dtype(bool), np.dtype("complex128"),
    np.dtype(ml_dtypes.bfloat16), np.float32, np.int64, np.complex64, ml_dtypes.bfloat16,
    (), (1,), (1, (2.0, ("x", None)), b"y"), ((), ((),)), (True, 1, 1.0),
]
"""

EXPORTER = """
import pickle, sys
import jax, jax.numpy as jnp, numpy as np
from jax import export
import linops_jax as lo
import shop
from values import VALUES

x = np.arange(4, dtype=np.float32)
c = (x + 1j).astype(np.complex64)

def save(name, function, *arguments, vjp_order=0):
    exported = export.export(jax.jit(function), disabled_checks=lo.export_checks())(*arguments)
    with open(name, "wb") as file:
        file.write(exported.serialize(vjp_order=vjp_order))

scale, diagonal, swap, square = shop.Scale(3.0), shop.Diagonal, shop.Swap(2 - 1j), shop.Square()
save("scale", lambda x: scale(x), x, vjp_order=1)
save("diagonal", lambda d, x: diagonal(d)(x), c, c, vjp_order=1)
save("swap", swap, (x, {"b": c, "none": None}))
save("square", lambda x: square(x), x, vjp_order=1)
save("nested", lambda d, x: shop.Nested(diagonal(d), 5)(x), x, x)
save("inside", lambda x: shop.Outer.Inside()(x), x)
save("composite", lambda x: (2 * scale @ lo.Diagonal(x) + lo.Identity())(x), x)
save("loop", lambda x: jax.lax.fori_loop(0, 3, lambda i, v: scale(v), x), x)
save("grad", jax.grad(lambda x: jnp.sum(square(x) ** 2)), x)
save("remembers", jax.grad(lambda x: jnp.sum(shop.Remembers()(x))), x)
save("planned", lambda d, x: jax.vmap(shop.Planned(d))(x), x, jax.ShapeDtypeStruct(export.symbolic_shape("n, 4"), np.float32))
save("fft", lambda x: lo.FFT()(x), c)
(batch,) = export.symbolic_shape("batch")
save("batch", lambda x: jax.vmap(lambda v: scale(v) + square(v))(x), jax.ShapeDtypeStruct((batch, 4), np.float32))
outer, inner = export.symbolic_shape("outer, inner")
save("batches", jax.vmap(jax.vmap(square, 1, 1)), jax.ShapeDtypeStruct((outer, 4, inner), np.float32))
save("length", lambda x: scale(x), jax.ShapeDtypeStruct((outer,), np.float32))
for i, value in enumerate(VALUES):
    save(f"value{i}", lambda x, op=shop.Describe(value): op(x), x)

from jax.experimental import serialize_executable
with open("executable", "wb") as file:
    pickle.dump(serialize_executable.serialize(jax.jit(lambda x: scale(x)).lower(x).compile()), file)
"""

LOADER = """
import jax, jax.numpy as jnp, numpy as np
from jax import export

def load(name):
    with open(name, "rb") as file:
        return export.deserialize(bytearray(file.read()))

x = np.arange(4, dtype=np.float32)
c = (x + 1j).astype(np.complex64)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("export")


@pytest.fixture
def exported(run_child, folder):
    """A folder with programs that another process exported."""
    if not (folder / "executable").exists():
        (folder / "shop.py").write_text(SHOP)
        (folder / "values.py").write_text(VALUES)
        run_child(EXPORTER, folder=folder)
    return folder


def test_programs_run_in_another_process(run_child, exported):
    run_child(
        LOADER
        + """
import pickle
import linops_jax as lo
import shop
from values import VALUES

decoys = [shop.Decoy(3.0), shop.Scale(5.0), shop.Scale(3)]
for decoy in decoys:
    decoy(x)

same = np.testing.assert_allclose
same(load("scale").call(x), 3 * x)
same(jax.grad(lambda x: jnp.sum(load("scale").call(x)))(x), np.full(4, 3))
same(load("diagonal").call(c, c), c * c, rtol=1e-6)
gradient = jax.vjp(load("diagonal").call, c, c)[1](c)
same(gradient[0], c * c, rtol=1e-6)
same(gradient[1], c * c, rtol=1e-6)
swapped = load("swap").call((x, {"b": c, "none": None}))
same(swapped["first"], (2 - 1j) * c, rtol=1e-6)
same(swapped["rest"][0], x)
same(load("square").call(x), x**2)
same(jax.grad(lambda x: jnp.sum(load("square").call(x)))(x), 2 * x)
same(load("nested").call(x, x), x * x)
same(load("inside").call(x), 7 * x)
same(load("composite").call(x), 6 * x * x + x)
same(load("loop").call(x), 27 * x)
same(load("grad").call(x), 4 * x**3)
same(load("remembers").call(x), 3 * x**2)
for i in (1, 2, 3):
    xs = np.arange(4 * i, dtype=np.float32).reshape(i, 4)
    same(load("planned").call(x, xs), 2 * x * xs)
    same(load("planned").call(i * x, xs), 2 * i * x * xs)
same(load("fft").call(c), np.fft.fft(c, norm="ortho"), rtol=1e-5, atol=1e-6)
for size in (1, 3, 7):
    xs = np.arange(4 * size, dtype=np.float32).reshape(size, 4)
    same(load("batch").call(xs), 3 * xs + xs**2)
    same(jax.jit(load("batch").call)(xs), 3 * xs + xs**2)
    xs = np.arange(20 * size, dtype=np.float32).reshape(size, 4, 5)
    same(load("batches").call(xs), xs**2)
    same(load("length").call(xs[:, 0, 0]), 3 * xs[:, 0, 0])
for i, value in enumerate(VALUES):
    text = np.asarray(load(f"value{i}").call(x)).astype(np.uint8).tobytes().decode().rstrip()
    assert text == shop.describe(value), (text, shop.describe(value))
from jax.experimental import serialize_executable
with open("executable", "rb") as file:
    executable = serialize_executable.deserialize_and_load(*pickle.load(file))
same(executable(x), 3 * x)
""",
        folder=exported,
    )


def test_a_class_that_is_not_imported_is_named(run_child, exported):
    run_child(
        LOADER
        + """
import sys, re
import linops_jax as lo

def message(name, *arguments):
    program = jax.jit(load(name).call)
    for _ in range(2):
        try:
            jax.block_until_ready(program(*arguments))
        except Exception as error:
            text = str(error)
        else:
            raise AssertionError(name)
    return text

text = message("scale", x)
assert "operator class Scale of module shop" in text, text
assert "run `import shop`" in text, text
assert isinstance(lo.last_error(), LookupError)
assert "Outer.Inside of module shop" in message("inside", x)
assert "import shop" in message("nested", x, x)
assert "shop" not in sys.modules

program = jax.jit(load("scale").call)
import shop
np.testing.assert_array_equal(program(x), 3 * x)
""",
        folder=exported,
    )


def test_a_process_without_the_package_says_so(run_child, exported):
    child = run_child(
        LOADER
        + """
try:
    jax.block_until_ready(load("scale").call(x))
except Exception as error:
    print(error)
else:
    raise AssertionError
""",
        folder=exported,
    )
    assert "linops_jax" in child.stdout


def changed(text, *replacements):
    for old, new in replacements:
        assert old in text
        text = text.replace(old, new)
    return text


SCALE = SHOP[SHOP.index("class Scale") : SHOP.index("class Decoy")]


@pytest.mark.parametrize(
    ("new", "expected"),
    [
        (
            changed(SCALE, ("factor", "gain")),
            r"static fields \['factor'\].*now has \['gain'\].*Export the program again",
        ),
        (
            changed(SCALE, ("factor: float = lo.static()", "factor: jax.Array")),
            r"static fields \['factor'\] and array fields \[\].*now has \[\] and \['factor'\].*Export",
        ),
        (
            changed(
                SCALE,
                ("factor: float = lo.static()", "factor: float = lo.static()\n    more: int = lo.static(default=1)"),
            ),
            r"static fields \['factor'\].*now has \['factor', 'more'\].*Export",
        ),
        (
            changed(SCALE, ("factor: float = lo.static()", "factor: float = lo.static()\n    d: jax.Array")),
            r"array fields \[\].*now has .*\['d'\].*Export",
        ),
        (
            changed(SCALE, ("def apply", "@lo.traced\n    def apply")),
            r"Scale\.apply, which is not a host hook any more",
        ),
        (changed(SCALE, ("class Scale", "class Other")), r"operator class Scale of module shop"),
        ("Scale = 5", r"operator class Scale of module shop"),
    ],
    ids=[
        "renamed field",
        "kind of field",
        "new static field",
        "new array field",
        "kind of hook",
        "renamed class",
        "no class",
    ],
)
def test_a_changed_class_is_refused(run_child, exported, tmp_path, new, expected):
    (tmp_path / "shop.py").write_text(changed(SHOP, (SCALE, new + "\n")))
    (tmp_path / "scale").write_bytes((exported / "scale").read_bytes())
    run_child(
        LOADER
        + f"""
import re
import linops_jax as lo
import shop
try:
    jax.block_until_ready(load("scale").call(x))
except Exception as error:
    text = str(error)
    assert re.search({expected!r}, text), text
    assert "shop" in text
else:
    raise AssertionError
""",
        folder=tmp_path,
    )


def test_a_changed_order_of_fields_is_refused(run_child, tmp_path):
    text = """
import jax, numpy as np
import linops_jax as lo

class Line(lo.LinearOperator):
    a: float = lo.static()
    b: float = lo.static()
    c: jax.Array
    d: jax.Array
    adjoint = None
    def apply(self, x): return (self.a - self.b + self.c - self.d) * x
    def infer_shape(self, x): return x
"""
    (tmp_path / "lines.py").write_text(text)
    run_child(
        """
        import jax, numpy as np
        from jax import export
        import linops_jax as lo
        import lines
        x = np.ones(3, np.float32)
        function = jax.jit(lambda c, d, x: lines.Line(1.0, 2.0, c, d)(x))
        with open("line", "wb") as file:
            file.write(export.export(function, disabled_checks=lo.export_checks())(x, x, x).serialize())
        """
    )
    load = (
        LOADER
        + """
import linops_jax as lo
import lines
try:
    jax.block_until_ready(load("line").call(x[:3], x[:3], x[:3]))
except Exception as error:
    assert "Export the program again" in str(error), error
    print("refused")
"""
    )
    assert "refused" not in run_child(load).stdout
    swaps = [("    a: float = lo.static()\n    b: float", "    b: float = lo.static()\n    a: float"),
             ("    c: jax.Array\n    d: jax", "    d: jax.Array\n    c: jax")]  # fmt: skip
    for swap in swaps:
        (tmp_path / "lines.py").write_text(changed(text, swap))
        assert "refused" in run_child(load).stdout


def test_a_changed_hook_body_runs_as_it_now_is(run_child, exported, tmp_path):
    new = changed(SCALE, ("return self.factor * x", "return self.factor * x + 100"))
    (tmp_path / "shop.py").write_text(changed(SHOP, (SCALE, new)))
    (tmp_path / "scale").write_bytes((exported / "scale").read_bytes())
    run_child(
        LOADER
        + """
import linops_jax as lo
import shop
np.testing.assert_array_equal(load("scale").call(x), 3 * x + 100)
""",
        folder=tmp_path,
    )


def test_a_class_of_the_main_script(run_child, tmp_path):
    script = """
import sys
import jax, numpy as np
from jax import export
import linops_jax as lo

class Main(lo.LinearOperator):
    factor: int = lo.static()
    adjoint = None
    def apply(self, x): return self.factor * x
    def infer_shape(self, x): return x

x = np.ones(3, np.float32)
if sys.argv[1] == "save":
    exported = export.export(jax.jit(lambda x: Main(4)(x)), disabled_checks=lo.export_checks())(x)
    open("main", "wb").write(exported.serialize())
else:
    assert export.deserialize(bytearray(open("main", "rb").read())).call(x)[0] == 4
"""
    run_child(script, "save")
    run_child(script, "load")


# ---- refused at export ----------------------------------------------------------------------------------------------

X = np.arange(4, dtype=np.float32)


class Holding(lo.LinearOperator):
    value: object = lo.static()
    adjoint = None

    def apply(self, x):
        return 2 * x

    def infer_shape(self, x):
        return x


class Number(int):
    pass


def export_op(op):
    return export.export(jax.jit(lambda x: op(x)), disabled_checks=lo.export_checks())(X)


@pytest.mark.parametrize(
    "value",
    [object(), (1, object()), Number(3), np.float64(1.5), frozenset({1}), math.sin, slice(1, 2, None).__class__],
    ids=["object", "in a tuple", "subclass of int", "numpy scalar", "frozenset", "function", "type"],
)
def test_live_objects_are_refused_at_export(value):
    with pytest.raises(TypeError, match=r"Holding\.apply cannot be exported.*static field Holding\.value") as caught:
        export_op(Holding(value))
    assert "Make static fields plain values" in str(caught.value)
    np.testing.assert_array_equal(jax.jit(lambda x: Holding(value)(x))(X), 2 * X)


def test_plain_values_are_not_refused():
    assert export_op(Holding((1, "a", None))).call(X)[1] == 2


def test_local_classes_are_refused_at_export():
    class Local(lo.LinearOperator):
        adjoint = None

        def apply(self, x):
            return x

        def infer_shape(self, x):
            return x

    with pytest.raises(
        TypeError, match=r"Local\.apply cannot be exported.*the class .*<locals>\.Local.*top of a module"
    ):
        export_op(Local())


def test_a_class_that_its_name_does_not_lead_to_is_refused_at_export(monkeypatch):
    op = Holding(1)
    monkeypatch.setitem(globals(), "Holding", None)
    with pytest.raises(TypeError, match=r"cannot be exported.*Holding, because it is defined inside a function"):
        export_op(op)


def test_live_objects_inside_other_operators_are_refused_at_export():
    class Bag:
        pass

    with pytest.raises(TypeError, match=r"cannot be exported.*Holding\.value"):
        export_op(2 * Holding(Bag()) @ lo.Identity())
    with pytest.raises(TypeError, match=r"cannot be exported.*Holding\.value"):
        export.export(jax.jit(jax.vmap(Holding(Bag()))), disabled_checks=lo.export_checks())(X[None])


def test_jax_refuses_without_our_checks():
    with pytest.raises(ValueError, match="linops_jax_host"):
        export.export(jax.jit(lambda x: Holding(1)(x)))(X)


def test_every_host_program_names_a_target_of_ours():
    checks = lo.export_checks()
    text = export_op(Holding(1)).mlir_module()
    assert "linops_jax_host" in text
    assert "0x" not in text.split("key = ")[1][:400]
    assert all(isinstance(check, export.DisabledSafetyCheck) for check in checks)


def test_the_same_program_exports_the_same_text():
    def text():
        jax.clear_caches()
        op = Holding((1, "a"))
        return jax.jit(lambda x: op(x)).lower(X).as_text()

    assert text() == text()


# ---- the persistent compilation cache -------------------------------------------------------------------------------

CACHED = """
import sys
import jax, jax.numpy as jnp, numpy as np
import linops_jax as lo
import shop

hits = []
jax.monitoring.register_event_listener(lambda event, **_: hits.append(event) if event.endswith("/cache_hits") else None)

class Plan:
    def __init__(self, factor):
        self.factor = factor

class Planned(lo.LinearOperator):
    plan: Plan = lo.static()
    adjoint = None
    def apply(self, x): return self.plan.factor * x
    def infer_shape(self, x): return x

x = np.arange(4, dtype=np.float32)
offset = float(sys.argv[2])
names = sys.argv[1].split(",")
for name in names:  # in an order that changes from process to process
    hits.clear()
    if name == "scale":
        result, expected = jax.jit(lambda x: shop.Scale(3.0)(x))(x), 3 * x
    elif name == "other":
        result, expected = jax.jit(lambda x: shop.Scale(4.0)(x))(x), 4 * x
    elif name == "decoy":
        result, expected = jax.jit(lambda x: shop.Decoy(3.0)(x))(x), -1000 * x
    elif name == "batch":
        result, expected = jax.jit(jax.vmap(shop.Scale(3.0)))(x[:, None]), 3 * x[:, None]
    elif name == "plan":
        result, expected = jax.jit(lambda x: Planned(Plan(offset))(x))(x), offset * x
    np.testing.assert_array_equal(result, expected)
    print(name, len(hits))
"""


def test_the_persistent_cache(run_child, tmp_path):
    (tmp_path / "shop.py").write_text(SHOP)
    cache = tmp_path / "cache"
    settings = {
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }

    def run(names, offset):
        output = run_child(CACHED, names, offset, **settings).stdout
        return {name: int(hits) for name, hits in map(str.split, output.splitlines())}

    def files():
        return sorted(path.name for path in cache.iterdir() if path.name.endswith("-cache"))

    first = run("scale,other,decoy,batch,plan", 2)
    assert set(first.values()) == {0}
    before = files()
    assert len(before) >= 5
    second = run("batch,decoy,plan,other,scale", 5)
    assert second == {"scale": 1, "other": 1, "decoy": 1, "batch": 1, "plan": 0}
    assert len(set(files()) - set(before)) <= 1  # the program of the live object


def test_a_program_from_the_cache_lives_as_long_as_any_other(run_child, tmp_path):
    run_child(
        """
        import gc
        import jax, numpy as np
        import linops_jax as lo

        class Plan:
            def __init__(self, factor):
                self.factor = factor

        class Planned(lo.LinearOperator):
            plan: Plan = lo.static()
            adjoint = None
            def apply(self, x): return self.plan.factor * x
            def infer_shape(self, x): return x

        x = np.arange(4, dtype=np.float32)
        op = Planned(Plan(3))
        programs = []
        for _ in range(3):
            programs.append(jax.jit(lambda x: op(x)).lower(x).compile())
            jax.clear_caches()
        del op
        gc.collect()
        for i in range(20):
            Planned(Plan(i))(x)
        for program in programs:
            np.testing.assert_array_equal(program(x), 3 * x)
        """,
        JAX_COMPILATION_CACHE_DIR=str(tmp_path / "cache"),
        JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="0",
        JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES="-1",
    )


def test_gradients_through_an_export_in_this_process():
    exported = export.export(jax.jit(lambda x: lo.FFT()(x)), disabled_checks=lo.export_checks())(X.astype(np.complex64))
    again = export.deserialize(exported.serialize(vjp_order=1))
    x = jnp.asarray(X, np.complex64)
    expected = jax.vjp(lo.FFT(), x)[1](x)[0]
    np.testing.assert_allclose(jax.vjp(again.call, x)[1](x)[0], expected, rtol=1e-5)
