"""Fields: array or static, checked at construction, sealed, pytrees, pickles."""

import copy
import dataclasses
import enum
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import linops_jax as lo
from linops_jax._fields import Statics


class Two(lo.LinearOperator):
    d: jax.Array
    axis: int = lo.static(default=0)

    def apply(self, x):
        return self.d * x

    def adjoint(self, y):
        return np.conj(self.d) * y

    def infer_shape(self, x):
        return x

    infer_adjoint_shape = infer_shape


class Nested(lo.LinearOperator):
    parts: dict
    shift: jax.Array | None = None

    def apply(self, x):
        return self.parts["a"].apply(x) + self.parts["b"][0] * x

    def adjoint(self, y):
        return self.parts["a"].adjoint(y) + np.conj(self.parts["b"][0]) * y

    def infer_shape(self, x):
        return x


class OwnInit(lo.LinearOperator):
    d: jax.Array
    size: int = lo.static()
    mode: str = lo.static(default="edge")

    def __init__(self, size):
        self.size = size
        self.d = np.ones(size, np.float32)

    apply, adjoint, infer_shape = Two.apply, Two.adjoint, Two.infer_shape


def with_init(body, **annotations):
    """A class whose constructor is ``body``."""
    namespace = {"__init__": body, "__annotations__": annotations, "__module__": __name__, "__qualname__": "Pad"}
    hooks = {name: getattr(Two, name) for name in ("apply", "adjoint", "infer_shape")}
    return type(Two)("Pad", (lo.LinearOperator,), {**namespace, **hooks})


D = np.arange(3.0, dtype=np.float32)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Two(2.0), r"Two\.d holds 2\.0 \(float\), which is not an array.*`d: float = lo\.static\(\)`"),
        (lambda: Two([D, 1]), r"Two\.d\[1\] holds 1 \(int\), which is not an array"),
        (lambda: Two("edge"), r"Two\.d holds 'edge' \(str\)"),
        (lambda: Two(np.array(["a"])), r"Two\.d holds .* which is not an array"),
        (lambda: Two(D, axis=D), r"Two\.axis is static but holds an array or an operator.*without lo\.static\(\)"),
        (lambda: Two(D, axis=(1, jnp.ones(2))), r"Two\.axis is static but holds an array"),
        (lambda: Two(D, axis=lo.Identity()), r"Two\.axis is static but holds an array or an operator"),
        (lambda: Two(D, axis=[1]), r"Two\.axis is static and must be hashable, but holds list \[1\]"),
        (lambda: with_init(lambda self: None, d=jax.Array)(), r"Pad\.d was not set by __init__"),
        (
            lambda: with_init(lambda self: setattr(self, "n", 3))(),
            r"Pad\.n was set but is not declared.*lo\.static\(\)",
        ),
    ],
)
def test_construction_refuses(make, message):
    with pytest.raises(TypeError, match=message):
        make()


def test_operators_are_immutable_and_replaceable():
    op = Two(D)
    with pytest.raises(dataclasses.FrozenInstanceError, match=r"Two is immutable: use dataclasses\.replace\(op, axis="):
        op.axis = 1
    with pytest.raises(dataclasses.FrozenInstanceError, match="Two is immutable"):
        del op.axis
    assert dataclasses.replace(op, axis=1).axis == 1
    with pytest.raises(TypeError, match=r"Two\.d holds 1\.0"):
        dataclasses.replace(op, d=1.0)


def test_own_constructor_with_default_and_its_inheritance():
    class Derived(OwnInit):
        pass

    for cls in (OwnInit, Derived):
        op = cls(3)
        assert (op.size, op.mode) == (3, "edge")
        np.testing.assert_array_equal(op(D), D)


def test_leaves_are_array_fields_in_order_of_declaration():
    op = Nested({"b": [jnp.array(2.0)], "a": Two(D)})
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(op)]
    assert paths == [".parts['a'].d", ".parts['b'][0]"]
    np.testing.assert_allclose(op(D), D * D + 2 * D)
    rebuilt = jax.tree.map(lambda leaf: 2 * leaf, op)
    np.testing.assert_allclose(rebuilt(D), 2 * (D * D + 2 * D))


def test_none_is_allowed_in_an_array_field():
    assert Nested({"a": Two(D), "b": [D]}, None).shift is None


class Colour(enum.Enum):
    RED = 1


@pytest.mark.parametrize(
    ("a", "b"),
    [(1, True), (1, 1.0), (0.0, -0.0), ((1, 2), (1, 2.0)), (1j, complex(-0.0, 1.0)), ("1", 1), (None, False)],
)
def test_static_values_differ_by_type_and_sign(a, b):
    assert Statics((a,)) != Statics((b,))
    assert jax.tree.structure(Two(D, axis=a)) != jax.tree.structure(Two(D, axis=b))


@pytest.mark.parametrize("value", [1, True, float("nan"), -0.0, ("a", (1.5, None)), Colour.RED, np.dtype("f4"), b"x"])
def test_equal_static_values_share_a_structure(value):
    a, b = Two(D, axis=value), Two(2 * D, axis=copy.deepcopy(value))
    assert jax.tree.structure(a) == jax.tree.structure(b)
    assert hash(jax.tree.structure(a)) == hash(jax.tree.structure(b))


def test_live_objects_are_compared_by_identity():
    class Plan:
        pass

    plan = Plan()
    assert jax.tree.structure(Two(D, axis=plan)) == jax.tree.structure(Two(D, axis=plan))
    assert jax.tree.structure(Two(D, axis=plan)) != jax.tree.structure(Two(D, axis=Plan()))


@pytest.mark.parametrize("op", [Two(jnp.asarray(D), axis=2), Nested({"a": Two(D), "b": [D]}), OwnInit(3), 2 * Two(D).H])
def test_operators_pickle_and_copy(op):
    for twin in (pickle.loads(pickle.dumps(op)), copy.copy(op), copy.deepcopy(op)):
        assert repr(twin) == repr(op)
        np.testing.assert_array_equal(_apply(twin), _apply(op))
        with pytest.raises(dataclasses.FrozenInstanceError, match="immutable"):
            twin.anything = 1


def _apply(op):
    return op.with_domain(jax.ShapeDtypeStruct((3,), np.float32))(D)


def test_repr_is_readable_and_nests():
    assert repr(Two(D, axis=1)) == "Two(d=f32[3], axis=1)"
    assert (
        repr(Nested({"a": Two(D), "b": [D]})) == "Nested(parts={'a': Two(d=f32[3], axis=0), 'b': [f32[3]]}, shift=None)"
    )
    assert repr(0.5 * Two(D) @ lo.Identity() - lo.Identity()) == "0.5 * Two(d=f32[3], axis=0) @ Identity() - Identity()"
    assert (
        repr((Two(D) + lo.Identity()).H @ Two(D).T)
        == "(Two(d=f32[3], axis=0) + Identity()).H @ Two(d=f32[3], axis=0).T"
    )


def test_operators_compare_and_hash_by_identity():
    a, b = Two(D), Two(D)
    assert a == a
    assert a != b
    assert len({a, b}) == 2
