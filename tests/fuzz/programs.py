"""Programs with attributes at random, through XLA: each is an error with a text, or has the right result.

python tests/fuzz/programs.py [SEED [COUNT]]

Where it crashes, the last line that was printed is the program.
"""

import copy
import itertools
import json
import random
import sys

import jax
import numpy as np

import linops_jax as lo


class Scaling(lo.LinearOperator):
    """All that these programs can call multiplies two arrays."""

    d: jax.Array
    option: object = lo.static(default=None)

    def apply(self, x):
        return self.d * x

    def adjoint(self, y):
        return self.d * y

    def infer_shape(self, x):
        return x


class Filling(lo.LinearOperator, batched=True):
    d: jax.Array
    option: object = lo.static(default=None)
    adjoint = None

    def apply(self, x, *, out):
        np.multiply(self.d, x, out=out)

    def infer_shape(self, x):
        return x


def multiply(out, args, kwargs):
    out[0][...] = args[0] * args[1]


def abstract(d, x):
    return ((x.shape, x.dtype),)


def tripwire(*args, **kwargs):
    print("a function was called that nobody has bound")
    sys.exit(1)


def nothing(d, x):
    return ()


lo.get_linear_call(multiply, None, abstract, None, first_n_args_fixed=1)
lo.get_nonlinear_call(multiply, (None, None), abstract, None, first_n_args_fixed=1, linearize=(multiply, nothing))


def operator_key(name):
    operator = ["operator", name, [["option", ["tuple", ["int", 1], ["none"]]]], [["d", "*"]]]
    return {"class": name, "hook": "apply", "arguments": [operator, "*"], "result": "*", "ignored": [False]}


def function_key():
    name, functions = (
        "linops_jax.functional._functions:LinearCall",
        ["tuple", ["function", "__main__:multiply"], ["none"]],
    )
    abstracts = ["tuple", ["function", "__main__:abstract"], ["none"]]
    statics = [["functions", functions], ["abstracts", abstracts], ["fixed", ["tuple", ["int", 0]]],
               ["can_batch", ["bool", False]], ["keywords", ["tuple"]]]  # fmt: skip
    arguments = [["operator", name, statics, []], ["tuple", "*"], ["tuple", "*"]]
    return {"class": name, "hook": "apply", "arguments": arguments, "result": ["list", "*"], "ignored": [False]}


def linearize_key():
    """The same function with a state of no arrays."""
    key, name = function_key(), "linops_jax.functional._functions:LinearizedCall"
    multiply, abstract, nothing = (["function", f"__main__:{each}"] for each in ("multiply", "abstract", "nothing"))
    _, _, statics, _ = operator = key["arguments"][0]
    operator[1] = name
    statics[0][1] = ["tuple", multiply, *[["none"]] * 4, multiply]
    statics[1][1] = ["tuple", abstract, abstract, ["none"], abstract, ["none"], nothing]
    return {**key, "class": name, "hook": "linearize", "result": ["tuple", ["list", "*"], ["list"]]}


KEYS = [operator_key("__main__:Scaling"), operator_key("__main__:Filling"), function_key(), linearize_key()]
CALLS = [("", [(4,), (4,)], (4,)), ("0,1", [(4,), (3, 4)], (3, 4)), ("1,0", [(3, 4), (4,)], (3, 4)),
         ("01,11", [(2, 4), (3, 2, 4)], (3, 2, 4)), ("c,1", [(2, 4), (3, 4)], (3, 4))]  # fmt: skip
JUNK = [None, True, 0, -1, 2**70, 0.5, "", "*", "apply", "transpose", "__main__:tripwire", "builtins:print", "os:path.join",
        "scipy:optimize.Bounds", "__main__:Scaling", "linops_jax.functional._functions:LinearCall", "linops_jax:FFT.apply",
        [], {}, ["*"], ["none"], ["tuple", "*"], ["list"], ["dict", [["int", 1]], "*"], ["function", "__main__:tripwire"],
        ["operator", "__main__:Scaling", [], []], ["dtype", "O"], ["float", "0x1p999999"], ["bytes", "x"],
        [False] * 1000, ["tuple"] * 5000]  # fmt: skip


def spoil(rng, data):
    """One entry of nested lists and dicts, changed."""
    places = []

    def collect(node):
        if isinstance(node, list | dict):
            for index in range(len(node)) if isinstance(node, list) else node:
                places.append((node, index))
                collect(node[index])

    collect(data)
    node, index = rng.choice(places)
    match rng.randrange(4):
        case 0:
            del node[index]
        case 1 if isinstance(node, list):
            node.insert(index, copy.deepcopy(rng.choice(node)))
        case _:
            node[index] = copy.deepcopy(rng.choice(JUNK))


def make_program(rng):
    key, (batch, shapes, out) = copy.deepcopy(rng.choice(KEYS)), copy.deepcopy(rng.choice(CALLS))
    what = rng.randrange(5)
    if what == 0:
        spoil(rng, key)
    text = json.dumps(key)
    if what == 1:
        at = rng.randrange(len(text))
        text = (
            text[:at] + rng.choice(["", "[" * 10**5, '"', "\\", "\0", "\u00fc", "}", "1e999", "NaN"]) + text[at + 1 :]
        )
    if what == 2:
        batch = rng.choice(
            ["1", "1,1", "0,0", "1,1,1", "01,1", "c,c", "cc,11", "1c,11", ",", "1,", "2,1", "1" * 40, batch * 9]
        )
    if what == 3:
        target = shapes if rng.random() < 0.7 else [out]
        i = rng.randrange(len(target))
        target[i] = rng.choice([(), (4,), (1000, 4), (2, 4), (0, 4), (4, 3), (2, 2, 2, 4)])
        out = target[0] if target is not shapes else out
        if rng.random() < 0.3:
            shapes.append((4,))
    if what == 4 and rng.random() < 0.5:
        shapes.pop()
    return text, batch, shapes, out, rng.choice([np.float32, np.float32, np.int8, np.complex64])


def expected(batch, operands, out):
    """From the masks alone, one element of the batch after the other; None where the hook itself may broadcast its field."""
    masks = batch.split(",") if batch else ["", ""]
    result = np.full(out, 0, operands[0].dtype)
    for index in itertools.product(*map(range, out[: len(masks[0])])):
        d, x = (
            a[tuple(i if has == "1" else 0 for i, has in zip(index, mask, strict=True) if has != "0")]
            for a, mask in zip(operands, masks, strict=True)
        )
        assert x.shape == result[index].shape, "infer_shape would not have promised this"
        if d.shape != x.shape:
            return None
        result[index] = d * x
    return result


def check_text(text):
    assert len(text) < 4000, text
    assert not any(word in text for word in ("RecursionError", "object has no attribute", " KeyError")), text


def main(seed=0, count=2000):
    rng, outcomes = random.Random(seed), {"right": 0, "refused": 0}
    before = None
    for i in range(count):
        key, batch, shapes, out, dtype = make_program(rng)
        print(f"{i}: key={key:.2000} batch={batch!r} operands={shapes} result={out} {dtype.__name__}", flush=True)
        operands = [(np.arange(np.prod(shape, dtype=int)) % 7).reshape(shape).astype(dtype) for shape in shapes]
        call = jax.ffi.ffi_call("linops_jax_host", jax.ShapeDtypeStruct(out, dtype))
        try:
            result = np.asarray(jax.block_until_ready(call(*operands, key=key, batch=batch)))
        except (jax.errors.JaxRuntimeError, ValueError, UnicodeError) as error:
            check_text(str(error))
            outcomes["refused"] += 1
        else:
            ignored = json.loads(key).get("ignored") == [True]
            right = np.zeros(out) if ignored or not result.size else expected(batch, operands, out)
            np.testing.assert_array_equal(result, result if right is None else right)
            outcomes["right"] += 1
        if i == 50:
            before = set(sys.modules)
    imported = sorted(set(sys.modules) - (before or set(sys.modules)))
    assert not [name for name in imported if name.startswith("scipy")], imported
    print(outcomes)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
