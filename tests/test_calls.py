"""Hooks with fields and pytrees get the same structures as from JAX, whatever these are made of."""

import collections
import gc
import typing
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import close, like

import linops_jax as lo
from linops_jax._engine.written import write_call

pytestmark = pytest.mark.route

F32 = np.float32


class Pair(typing.NamedTuple):
    a: object
    b: object


@jax.tree_util.register_pytree_node_class
class Box:
    def __init__(self, content, label):
        self.content, self.label = content, label

    def tree_flatten(self):
        return (self.content,), self.label

    @classmethod
    def tree_unflatten(cls, label, children):
        return cls(*children, label)

    def __eq__(self, other):
        return type(other) is Box and self.label == other.label

    __hash__ = None


class Part(lo.LinearOperator):
    """As a field of others."""

    d: jax.Array
    name: str = lo.static(default="part")

    @lo.traced
    def apply(self, x):
        return self.d * x


V = np.arange(3, dtype=F32)
TREES = {
    "array": V,
    "nothing around an array": (None, V),
    "tuple of one": (V,),
    "empty containers": ((), [], {}, V),
    "nested": {"b": [V, (V, {"x": V})], "a": V},
    "odd keys": {"class": V, "a b'\"\\\n": V, "": V},
    "numbers as keys": {2: V, 1: V},
    "named tuple": Pair(V, [Pair(V, V)]),
    "ordered": collections.OrderedDict(b=V, a=V),
    "own container": (Box([V, V], "left"), Box({"x": V}, "right")),
}


def structure(tree):
    """Types and keys all the way down, for comparison."""
    return jax.tree.structure(tree), type(tree), [type(x) for x in jax.tree.leaves(tree)]


class Recorder(lo.LinearOperator):
    """Twice the input; remembers what its hook got."""

    part: object
    seen: object = lo.static()
    mode: tuple = lo.static(default=(1, "two", None))
    adjoint = None

    def apply(self, x):
        self.seen.append((self, x))
        return jax.tree.map(lambda leaf: 2 * leaf, x)

    def infer_shape(self, x):
        return x


class Filler(Recorder):
    def apply(self, x, *, out):
        self.seen.append((self, x, out))
        jax.tree.map(lambda leaf, o: np.multiply(leaf, 2, out=o), x, out)


class Log:
    def __init__(self):
        self.entries = []

    def append(self, entry):
        """Arrays are valid during the call only."""
        self.entries.append([jax.tree.map(np.array, tree) for tree in entry])


@pytest.mark.parametrize("cls", [Recorder, Filler])
@pytest.mark.parametrize("name", TREES)
def test_hooks_get_what_users_gave(cls, name):
    log = Log()
    part = {"op": Part(jnp.asarray(V)), "tree": jax.tree.map(jnp.asarray, TREES[name])}
    op, x = cls(part, log), like(TREES[name], 1)
    y = jax.jit(lambda op, x: op(x))(op, x)
    close(y, jax.tree.map(lambda leaf: 2 * leaf, x))
    (entry,) = log.entries
    expected = [op, x, x][: len(entry)]
    for found, tree in zip(entry, expected, strict=True):
        assert structure(found) == structure(jax.tree.map(np.asarray, tree))
    close(entry[1], jax.tree.map(np.asarray, x))
    self, *_ = entry
    assert (type(self), self.mode, self.seen, self.part["op"].name) == (cls, (1, "two", None), log, "part")
    np.testing.assert_array_equal(self.part["op"].d, V)


def test_the_line_of_an_error_is_the_users():
    class Failing(lo.LinearOperator):
        d: jax.Array
        adjoint = None

        def apply(self, x):
            message = "as it must"
            raise KeyError(message)  # this line

        def infer_shape(self, x):
            return x

    op = Failing(jnp.ones(3))
    with pytest.raises(
        (RuntimeError, ValueError), match=r"test_calls\.py:\d+, in apply: raise KeyError\(message\)  # this line"
    ):
        jax.block_until_ready(jax.jit(lambda x: op(x))(jnp.ones(3)))


def test_what_is_written_goes_at_once():
    """Not only with the next garbage collection: it holds the live objects among the static fields."""
    log = Log()
    op = Filler({"op": Part(jnp.asarray(V))}, log)
    call = write_call(Filler._hooks["apply"], tuple(map(jax.tree.structure, (op, V))), jax.tree.structure(V))
    out = np.empty_like(V)
    call(V, V, out)
    np.testing.assert_array_equal(out, 2 * V)
    alive = weakref.ref(call)
    gc.collect()
    gc.disable()
    try:
        del call
        assert alive() is None
    finally:
        gc.enable()
