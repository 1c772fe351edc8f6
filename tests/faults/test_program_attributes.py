"""Programs from elsewhere: their attributes are data, which may be anything. Each is an error that says what was found.

What corrupts memory, imports or calls runs in a process of its own. Random attributes: tests/fuzz.
"""

import jax
import jax.numpy as jnp
import pytest
from helpers import energy, is_inexact
from operators import CASES

from linops_jax._engine import promises

pytestmark = pytest.mark.versions

PRELUDE = """
import json, re, sys, types
import jax, jax.numpy as jnp, numpy as np
import linops_jax as lo

class D(lo.LinearOperator):
    d: jax.Array
    option: object = lo.static(default=None)
    def apply(self, x): return self.d * x
    def adjoint(self, y): return self.d * y
    def parameter_jvp(self, x, dself): return dself.d * x
    def parameter_vjp(self, x, dy): return {"d": x * dy}
    def infer_shape(self, x): return x

def operator(name="__main__:D", option=("none",)):
    return ["operator", name, [["option", list(option)]], [["d", "*"]]]

def key(**changes):
    data = {"class": "__main__:D", "hook": "apply", "arguments": [operator(), "*"], "result": "*", "ignored": [False]}
    return {name: value for name, value in {**data, **changes}.items() if value is not ...}

def run(key, batch="", operands=((4,), (4,)), out=(4,), dtype=np.float32, target="linops_jax_host"):
    several = bool(out) and type(out[0]) is tuple
    results = [jax.ShapeDtypeStruct(shape, dtype) for shape in (out if several else [out])]
    call = jax.ffi.ffi_call(target, results if several else results[0])
    operands = [2 * np.ones(shape, dtype) for shape in operands]
    return np.asarray(jax.block_until_ready(call(*operands, key=key if type(key) is str else json.dumps(key), batch=batch)))

def refused(match, *arguments, **keywords):
    for _ in range(2):
        try:
            found = run(*arguments, **keywords)
        except (jax.errors.JaxRuntimeError, ValueError) as error:
            text = str(error)
            assert re.search(match, text, re.DOTALL), (match, text)
            assert len(text) < 2000, text
        else:
            raise AssertionError((match, found))

np.testing.assert_array_equal(run(key()), np.full(4, 4))
np.testing.assert_array_equal(run(key(), "0,1", [(4,), (3, 4)], (3, 4)), np.full((3, 4), 4))
"""

BATCH = r"""
refused(r"attribute batch of this program is '1': found masks of 1 operands, expected 2\. Export", key(), "1",
        [(4,), (1000, 4)], (3, 4))
refused(r"is '0,1,1': found masks of 3 operands, expected 2", key(), "0,1,1", [(4,), (3, 4)], (3, 4))
refused(r"found a mask of 2 batch axes, expected 1", key(), "0,11", [(4,), (3, 4)], (3, 4))
refused(r"found a mask of 0 batch axes, expected at least 1", key(), ",", [(4,), (4,)], (4,))
refused(r"found a mask of 0 batch axes, expected 1", key(), "1,", [(3, 4), (4,)], (3, 4))
refused(r"found 'x', expected only 0 and 1", key(), "0,x", [(4,), (3, 4)], (3, 4))
refused(r"found '\?', expected only 0 and 1", key(), "0,\1", [(4,), (3, 4)], (3, 4))
refused(r"found '1c', expected copies of an operand along all", key(), "01,1c", [(3, 4), (3, 4, 4)], (3, 4, 4))
refused(r"more than 16 nested vmaps", key(), "1" * 1000 + ",1", [(4,), (3, 4)], (3, 4))
refused(r"operand 1 is float32\[\]; expected at least 1 axis, those of the batch", key(), "0,1", [(4,), ()], (3, 4))
refused(r"result 0 is float32\[4\]; expected at least 2 axes", key(), "01,11", [(3, 4), (3, 3, 4)], (4,))
refused(r"operand 1 is float32\[3,4\], which has size 3 along batch axis 0; expected 5", key(), "0,1", [(4,), (3, 4)], (5, 4))
refused(r"operand 1 is float32\[1000,4\].*size 1000 along batch axis 0; expected 3", key(), "1,1", [(3, 4), (1000, 4)], (3, 4))
refused(r"operand 0 is float32\[0,4\].*size 0 along batch axis 0; expected a copy at least", key(), "c,1",
        [(0, 4), (3, 4)], (3, 4))
refused(r"D\.apply.*with 3 operands and 1 result; its key describes 2 operands and 1 result", key(), "", [(4,)] * 3)
refused(r"with 1 operand and 1 result; its key describes 2", key(), "", [(4,)])
refused(r"with 2 operands and 2 results; its key describes 2 operands and 1 result", key(), "", out=[(4,), (4,)])
refused(r"rank 33 are not supported \(at most 32", key(), "", [(1,) * 33, (4,)])
refused(r"(operand|result) 0 has XLA's element type \d+, of which NumPy has no arrays", key(), dtype=jnp.int4)
# a batch that nobody has along an axis is that of the results
np.testing.assert_array_equal(run(key(), "0,0", out=(3, 4)), np.full((3, 4), 4))
"""

KEYS = r"""
refused("malformed key, which is not JSON.*begins with", "{")
refused("malformed key, which is not JSON", "\0")
refused(r"malformed key: found '\[\]', expected a JSON object", "[]")
refused("nested more than 200 levels deep", "[" * 100_000)
refused("nested more than 200 levels deep", '{"class":' + "[" * 100_000 + "]" * 100_000 + "}")
deep = "*"
for _ in range(150):
    deep = ["tuple", deep]
refused("calls it with result: .*, where infer_shape promises f32.4.", key(result=deep))
refused("entry 'arguments' is 'missing'; expected the entries class, hook, arguments, result", key(arguments=...))
refused(r"entry 'hook' is \['apply'\]", key(hook=["apply"]))
refused("entry 'surprise' is 1", key(surprise=1))
refused("expected a list that begins with one of tuple, list, dict, operator", key(arguments=[operator(), "x"]))
refused("found {}, expected a list that begins", key(arguments=[operator(), {}]))
refused("expected a list of keys and a value for each", key(result=["dict", [["int", 1]], "*", "*"]))
refused("malformed key", key(result=["dict", "*"]))
refused("expected an operator with its fields by name", key(arguments=[["operator", "__main__:D", [["option"]], []], "*"]))
refused("calls D.apply with 1 arguments; expected self, x", key(arguments=[operator()]))
refused("self must be of class D", key(arguments=["*", "*"]))
refused("self must be of class D", key(arguments=[["tuple", "*"], "*"]))
refused(r"found ignored=\(\), expected true or false for each of 1 results", key(ignored=[]))
refused(r"found ignored=\(0,\), expected true or false", key(ignored=[0]))
refused("expected true or false for each of 1000 results", key(result=["list", *["*"] * 1000]))
refused("with 2 operands and 1 result; its key describes 2 operands and 1000",
        key(result=["list", *["*"] * 1000], ignored=[True] * 1000))
refused("D.other, which is not a host hook any more", key(hook="other"))
refused("D.apply, which is not a native hook any more", key(kind="native"))
refused("calls it as a native hook, but it is a host hook", key(), target="linops_jax_native")
refused("batch axes for D.apply, which does not take them", key(layout=["tuple"]))
for option in (["int", True], ["int", "1"], ["bool", 0], ["str", None], ["float", "x"], ["float", "0x1p999999"], ["float", 1],
               ["bytes", "x"], ["complex", "0x0p0"], ["dtype", "O"], ["dtype", "float32,float32"], ["scalar type", "nothing"],
               ["none", 1]):  # fmt: skip
    refused("malformed key: found .*, expected ", key(arguments=[operator(option=option), "*"]))
refused("class now has", key(arguments=[["operator", "__main__:D", [["other", ["none"]]], [["d", "*"]]], "*"]))
"""

NAMES = r"""
class Lazy(types.ModuleType):
    def __getattribute__(self, name):
        print("a module was asked for", name)
        return D

class Meta(type):
    def __getattribute__(cls, name):
        print("a class was asked for", name)
        return D

class Holder(metaclass=Meta):
    D = D

class Property:
    def __get__(self, instance, owner=None):
        print("a descriptor was called")
        return D

class Plain:
    inside = Property()

sys.modules["lazy"] = Lazy("lazy")
shop = types.ModuleType("shop")
shop.__getattr__ = lambda name: print("a module's __getattr__ was called") or D
sys.modules["shop"] = shop
import scipy
before = set(sys.modules)

def named(name):
    return key(**{"class": name, "arguments": [operator(name), "*"]})

refused(r"operator class optimize\.Bounds of module scipy, which is not an operator class in this process",
        named("scipy:optimize.Bounds"))
refused(r"operator class Bounds of module scipy\.optimize, which this process has not imported: run `import scipy\.optimize`",
        named("scipy.optimize:Bounds"))
for name in ("lazy:D", "shop:D", "__main__:Plain.inside", "__main__:jax", "__main__:np.ndarray", "builtins:int", "", ":",
             "__main__:D.", "__main__:D.apply", "__main__:", "__main__:D\0", "__main__:None"):
    refused("this program calls the operator class", named(name))
np.testing.assert_array_equal(run(named("__main__:Holder.D")), np.full(4, 4))
refused("malformed key: found 5, expected the name", key(arguments=[["operator", 5, [], []], "*"]))
assert not {name for name in set(sys.modules) - before if name.startswith("scipy")}
"""

FUNCTIONS = r"""
def double(out, args, kwargs): out[0][...] = 2 * args[0]
def abstract(x): return ((x.shape, x.dtype),)
def unbound(out, args, kwargs): print("a function was called that nobody has bound")
class Shop:
    @staticmethod
    def double(out, args, kwargs): double(out, args, kwargs)
lo.get_linear_call(double, double, abstract, abstract)
lo.get_linear_call(Shop.double, None, abstract, None)

def calls(f="__main__:double", abstract="__main__:abstract", **statics):
    name = "linops_jax.functional._functions:LinearCall"
    given = {"functions": ["tuple", ["function", f], ["none"]], "abstracts": ["tuple", ["function", abstract], ["none"]],
             "fixed": ["tuple"], "can_batch": ["bool", False], "keywords": ["tuple"], **statics}
    operator = ["operator", name, list(map(list, given.items())), []]
    return {"class": name, "hook": "apply", "arguments": [operator, ["tuple"], ["tuple", "*"]],
            "result": ["list", "*"], "ignored": [False]}

one = {"operands": [(4,)]}
np.testing.assert_array_equal(run(calls(), **one), np.full(4, 4))
np.testing.assert_array_equal(run(calls("__main__:Shop.double"), **one), np.full(4, 4))
refused("function print of module builtins, which this process has not bound, so it was not called: "
        "pass it to lo.get_linear_call",
        calls("builtins:print"), **one)
refused("function unbound of module __main__, which this process has not bound", calls("__main__:unbound"), **one)
refused("function print of module builtins, which this process has not bound", calls(abstract="builtins:print"), **one)
refused("function gone of module __main__, which no longer exists", calls("__main__:gone"), **one)
refused("function f of module nowhere, which this process has not imported: run `import nowhere`", calls("nowhere:f"), **one)
none = ["tuple", ["none"], ["none"]]
refused("functions, fixed arguments or batch axes that do not fit", calls(functions=none), **one)
refused("functions, fixed arguments or batch axes that do not fit", calls(functions=["tuple"]), **one)
refused("functions=1 for LinearCall; expected a tuple", calls(functions=["int", 1]), **one)
refused(r"fixed=\(True,\) for LinearCall", calls(fixed=["tuple", ["bool", True]]), **one)
refused("do not fit", calls(fixed=["tuple", ["int", 0]]), **one)
refused("do not fit", calls(keywords=["tuple", ["tuple", ["int", 0], ["int", 0]]]), **one)
refused("do not fit", {**calls(), "layout": ["tuple", ["int", 1], ["tuple"], ["tuple"], ["tuple"]]}, **one)
refused("has no f_T: reverse-mode differentiation needs it", {**calls(), "hook": "transpose"}, **one)
refused("double.*this program calls it with result: .*f32.5.*, where infer_shape promises .*f32.4.", calls(), **one,
        out=(5,))
refused("promises .*f32.4.", calls(), "1", operands=[(3, 4)], out=(3, 4, 1))
transposed = {**calls(functions=["tuple", *[["function", "__main__:double"]] * 2]), "hook": "transpose"}
np.testing.assert_array_equal(run(transposed, **one), np.full(4, 4))
refused("calls it with dy: .*f32.4.*, where infer_shape promises .*f32.5.", transposed, **one, out=(5,))
many = "linops_jax.functional._functions:MultilinearCall99999999"
refused("operator class MultilinearCall99999999 of module linops_jax", {**calls(), "class": many}, **one)

function = ["function", "__main__:double"]

def with_state(hook, arguments, result, state="__main__:abstract", **statics):
    name = "linops_jax.functional._functions:LinearizedCall"
    about = ["function", "__main__:abstract"]
    statics = {"functions": ["tuple", *[function] * 6], "abstracts": ["tuple", *[about] * 5, ["function", state]], **statics}
    operator = calls(**statics)["arguments"][0]
    operator[1] = name
    return {"class": name, "hook": hook, "arguments": [operator, ["tuple"], ["tuple", "*"], *arguments],
            "result": result, "ignored": [False] * (json.dumps(result).count("*"))}

def two(x): return 2 * abstract(x)
def reverse(x, *others): return abstract(x)
lo.get_linear_call(double, None, two, reverse)
reverses = {"abstracts": ["tuple", *[["function", "__main__:" + f]
                                     for f in ("abstract", "abstract", "reverse", "abstract", "reverse", "two")]]}
product = with_state("vjp", [["list", "*", "*"], ["list", "*"]], ["tuple", "*"], **reverses)
np.testing.assert_array_equal(run(product, operands=[(4,)] * 4), np.full(4, 4))
refused("calls it with state: .*f32.4., f32.5.*, where infer_state_shape promises .*f32.4., f32.4.", product,
        operands=[(4,), (4,), (5,), (4,)])
few = with_state("vjp", [["list", "*"], ["list", "*"]], ["tuple", "*"], **reverses)
refused("calls it with state: .*f32.4.*, where infer_state_shape promises .*f32.4., f32.4.", few, operands=[(4,)] * 3)
refused("calls LinearizedCall.vjp with 4 arguments; expected self, fixed, x, state, dy",
        with_state("vjp", [["list", "*"]], ["tuple", "*"]), operands=[(4,)] * 2)
def linearizes(**statics): return with_state("linearize", [], ["list", "*"], **statics)
refused("calls it with result: .*f32.4.*, where infer_shape, or infer_state_shape, promises .*f32", linearizes(), **one)
refused("has no f_linearize", linearizes(functions=["tuple", function, *[["none"]] * 5]), **one)
unsaid = ["tuple", *[["function", "__main__:abstract"]] * 5, ["none"]]
refused("Nothing says what .*double returns", linearizes(abstracts=unsaid), **one)
refused("do not fit", linearizes(functions=["tuple", function]), **one)
"""


SHAPES = r"""
calls = []

class Row(lo.LinearOperator):
    def apply(self, x):
        calls.append(x.shape)
        return x[:3].astype(np.float32)
    def adjoint(self, y): return np.concatenate([y, y[:1]])
    def infer_shape(self, x):
        if x.ndim != 1:
            raise ValueError("one axis please")
        return jax.ShapeDtypeStruct((3,), np.float32)

class Power(lo.NonlinearOperator):
    def apply(self, x): return x**2
    def jacobian_apply(self, x, dx): return 2 * x * dx
    def jacobian_adjoint(self, x, dy): return 2 * x * dy
    def infer_shape(self, x): return x

class Computes(Row):
    def infer_shape(self, x): return jnp.zeros(3, np.float32) + 0

class Wide(Row):
    def apply(self, x): return x[:3]
    def infer_shape(self, x): return jax.ShapeDtypeStruct((3,), jnp.result_type(float))

def of(name, hook="apply", arguments=("*",), **changes):
    name = f"__main__:{name}"
    return key(**{"class": name, "hook": hook, "arguments": [["operator", name, [], []], *arguments], **changes})

def unpromised(name, found, promised):
    return rf"ValueError: this program calls it with {name}: {found}, where infer_shape promises {promised}\. Export"

def f32(dims): return rf"f32\[{dims}\]"

one, two, first = {"operands": [(4,)]}, {"operands": [(4,), (4,)]}, {"operands": [(3,)]}
np.testing.assert_array_equal(run(of("Row"), **one, out=(3,)), [2, 2, 2])
assert calls == [(4,)]
refused("Row.apply failed: " + unpromised("result", f32(4), f32(3)), of("Row"), **one, out=(4,))
refused(unpromised("result", f32(2), f32(3)), of("Row"), "1", operands=[(2, 4)], out=(2, 2))
refused(unpromised("result", r"i8\[3\]", f32(3)), of("Row"), **one, out=(3,), dtype=np.int8)
refused("Row.apply failed: ValueError: one axis please", of("Row"), operands=[(4, 4)], out=(3,))
assert calls == [(4,)], "no hook saw anything of these"
np.testing.assert_array_equal(run(of("Row", "adjoint"), **first, out=(4,)), [2, 2, 2, 2])
refused("Row.adjoint failed: " + unpromised("y", f32(2), f32(3)), of("Row", "adjoint"), operands=[(2,)], out=(4,))
refused("no_execution|JAX was called", of("Computes"), **one, out=(3,))

# a program may be from where jax_enable_x64 was the other way round
np.testing.assert_array_equal(run(of("Wide"), **one, out=(3,)), [2, 2, 2])
with jax.enable_x64(True):
    np.testing.assert_array_equal(run(of("Wide"), **one, out=(3,), dtype=np.float64), [2, 2, 2])

for hook, argument in (("jacobian_apply", "dx"), ("jacobian_adjoint", "dy")):
    call = of("Power", hook, ("*", "*"))
    np.testing.assert_array_equal(run(call, **two), np.full(4, 8))
    refused(f"Power.{hook} failed: " + unpromised(argument, f32(1), f32(4)), call, operands=[(4,), (1,)])
    refused(f"Power.{hook} failed: " + unpromised("result", f32(5), f32(4)), call, **two, out=(5,))

vjp = key(hook="parameter_vjp", arguments=[operator(), "*", "*"], result=operator())
jvp = key(hook="parameter_jvp", arguments=[operator(), "*", operator()])
np.testing.assert_array_equal(run(vjp, operands=[(4,)] * 3), np.full(4, 4))
refused("D.parameter_vjp failed: ValueError: this program calls it with result: D", vjp, operands=[(4,)] * 3, out=(5,))
np.testing.assert_array_equal(run(jvp, operands=[(4,)] * 3), np.full(4, 4))
refused("D.parameter_jvp failed: ValueError: this program calls it with dself: D", jvp, operands=[(4,), (4,), (1,)])
"""


@pytest.mark.parametrize(
    "cases", [BATCH, KEYS, NAMES, FUNCTIONS, SHAPES], ids=["batch", "keys", "names", "functions", "shapes"]
)
def test_attributes_that_cannot_be(run_child, cases):
    child = run_child(PRELUDE + cases)
    assert " was " not in child.stdout


@pytest.mark.parametrize("name", CASES)
def test_programs_as_they_should_be_are_promised(name, monkeypatch):
    """Every call of every kind of program, asked as if it came from elsewhere."""
    asked = []

    def check(promises, *arguments):
        asked.append(arguments)
        promises._known.clear()
        return original(promises, *arguments)

    original = promises.Promises.check
    monkeypatch.setattr(promises.Promises, "check", check)
    case = CASES[name]
    moving = all(is_inexact(leaf) for leaf in jax.tree.leaves(case.x))
    programs = [lambda op, x: op(x), lambda op, x: jax.vmap(op)(jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), x))]
    if case.linear and moving and case.reverse:
        programs.append(lambda op, x: op.with_domain(x).H(op(x)))
    if case.reverse and moving:
        programs.append(lambda op, x: jax.grad(lambda x: energy(op(x)))(x))
    if case.forward and moving:
        programs.append(lambda op, x: jax.jvp(op, (x,), (x,))[1])
    if case.second and case.reverse and moving:
        programs.append(lambda op, x: jax.grad(lambda x: energy(jax.grad(lambda x: energy(op(x)))(x)))(x))
    if case.parameters:
        programs.append(lambda op, x: jax.grad(lambda op: energy(op(x)), allow_int=True)(op))
    x = jax.tree.map(jnp.asarray, case.x)
    for program in programs:
        jax.block_until_ready(jax.jit(lambda op, x, program=program: program(op, x))(case.op, x))
    assert asked or not any(hook.is_foreign for hook in type(case.op)._hooks.values())
