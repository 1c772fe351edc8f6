"""Fields: array or static, checked at construction, sealed, pytrees, pickles."""

import collections
import copy
import dataclasses
import datetime
import decimal
import enum
import gc
import pickle
import weakref
from typing import ClassVar, Generic, TypeVar

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

import linops_jax as lo
from linops_jax._engine.binding import Binding
from linops_jax._model import interned
from linops_jax._model.fields import Statics

pytestmark = pytest.mark.newest

Kind = TypeVar("Kind")
PARIS = datetime.timezone(datetime.timedelta(hours=1))


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
        (lambda: Two(D, axis=Config((lo.Identity(),))), r"Two\.axis is static but holds an array or an operator"),
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


Point = collections.namedtuple("Point", "x")
Place = collections.namedtuple("Place", "x")


@dataclasses.dataclass(frozen=True)
class Config:
    value: object
    note: str = dataclasses.field(default="", compare=False)


@dataclasses.dataclass(frozen=True)
class Slotted(Config):
    __slots__ = ()


class Lower(str):
    """Has a value of its own: the case does not matter."""

    def __eq__(self, other):
        return str(self).lower() == str(other).lower()

    def __hash__(self):
        return hash(self.lower())


@dataclasses.dataclass(frozen=True)
class OwnEquality:
    value: str

    def __eq__(self, other):
        return type(other) is OwnEquality and self.value.lower() == other.value.lower()

    def __hash__(self):
        return hash(self.value.lower())


REALS = [float, np.float64, np.float32, np.float16, np.longdouble, ml_dtypes.bfloat16, ml_dtypes.float8_e5m2]
NUMBERS = [*REALS, complex, np.complex64, np.complex128]
INSIDE = {
    "itself": lambda value: value,
    "tuple": lambda value: ("a", (value,)),
    "named tuple": Point,
    "frozenset": lambda value: frozenset({value, "a"}),
    "dataclass": Config,
    "nested": lambda value: Config((Point(Config(value)),)),
    "dict key of a structure": lambda value: jax.tree.structure({value: 0}),
}


def differ(a, b):
    return jax.tree.structure(Two(D, axis=a)) != jax.tree.structure(Two(D, axis=b)) and Statics((a,)) != Statics((b,))


@pytest.mark.parametrize("inside", INSIDE.values(), ids=INSIDE)
@pytest.mark.parametrize(
    ("a", "b"),
    [(1, True), (1, 1.0), (0.0, -0.0), ((1, 2), (1, 2.0)), (1j, complex(-0.0, 1.0)), ("1", 1), (None, False)],
)
def test_static_values_differ_by_type_and_sign(a, b, inside):
    assert differ(inside(a), inside(b))


@pytest.mark.parametrize("inside", INSIDE.values(), ids=INSIDE)
@pytest.mark.parametrize("kind", NUMBERS, ids=lambda kind: kind.__name__)
def test_numbers_of_every_kind_have_a_sign_and_one_nan(kind, inside):
    assert differ(inside(kind(0.0)), inside(kind(-0.0)))
    if inside is not INSIDE["dict key of a structure"]:  # to JAX, every NaN is a key of its own
        assert Two(D, axis=inside(kind("nan")))._statics is Two(D, axis=inside(kind("nan")))._statics
        assert differ(inside(kind("nan")), inside(NUMBERS[NUMBERS.index(kind) - 1]("nan")))


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (np.float32(1), np.float64(1)),
        (np.int32(1), np.int64(1)),
        (np.True_, True),
        (np.complex64(complex(0.0, -0.0)), np.complex64(0)),
        (np.datetime64("2026-01-01", "D"), np.datetime64("2026-01-01", "s")),
        (np.datetime64("NaT", "D"), np.datetime64("NaT", "s")),
        (decimal.Decimal("0"), decimal.Decimal("-0")),
        (Point(1), Place(1)),
        (Point(1), (1,)),
        (Config(1), Slotted(1)),
        (frozenset({0.0}), frozenset({-0.0})),
        (range(0, 1), range(0, 1, 2)),
        (datetime.datetime(2026, 1, 1, 11, tzinfo=datetime.UTC), datetime.datetime(2026, 1, 1, 12, tzinfo=PARIS)),
        (datetime.time(12, fold=0), datetime.time(12, fold=1)),
        (np.dtype("f4"), np.dtype("f8")),
        (Lower("a"), "a"),
        (OwnEquality("a"), OwnEquality("b")),
    ],
    ids=repr,
)
def test_static_values_that_are_not_the_same(a, b):
    assert differ(a, b)


@pytest.mark.parametrize(
    "value",
    [
        1, True, float("nan"), -0.0, ("a", (1.5, None)), Colour.RED, np.dtype("f4"), b"x", frozenset({1, -0.0}),
        Point(Config(np.float32("nan"))), Slotted(complex(0.0, float("nan"))), np.datetime64("NaT", "D"), OwnEquality("A"),
        np.float32, decimal.Decimal("nan"), jax.tree.structure({"a": (0, None)}),
    ],
    ids=repr,
)  # fmt: skip
def test_equal_static_values_share_a_structure(value):
    a, b = Two(D, axis=value), Two(2 * D, axis=copy.deepcopy(value))
    assert jax.tree.structure(a) == jax.tree.structure(b)
    assert hash(jax.tree.structure(a)) == hash(jax.tree.structure(b))


def test_classes_that_say_what_equal_means():
    for a, b in [(Lower("a"), Lower("A")), (OwnEquality("a"), OwnEquality("A")), (Config(1, "a"), Config(1, "b"))]:
        assert not differ(a, b)


def test_one_program_for_each_static_value():
    class Sign(lo.LinearOperator):
        value: object = lo.static()
        adjoint = None

        def apply(self, x):
            return np.copysign(x, float(self.value))

        def infer_shape(self, x):
            return x

    @jax.jit
    def run(op):
        return op(D + 1)

    for value in (np.float32(0), np.float16(-0.0), np.float32(-0.0), np.float16(0)):
        np.testing.assert_array_equal(run(Sign(value)), np.copysign(D + 1, float(value)))
    before = run._cache_size()
    for _ in range(5):
        run(Sign(np.float32("nan")))
    assert run._cache_size() == before + 1


# ---- one object for each value ----------------------------------------------------------------------------------------


def test_static_values_are_compared_by_identity_and_without_python():
    a, b = Two(D, axis=(1, Config(-0.0))), Two(D, axis=(1, Config(-0.0)))
    assert a._statics is b._statics
    for kind in (Statics, Binding):
        assert kind.__eq__ is object.__eq__
        assert kind.__hash__ is object.__hash__


def test_copies_have_the_one_object():
    op = Two(D, axis=(1, Config(np.float32(-0.0))))
    for twin in (copy.copy(op), copy.deepcopy(op), pickle.loads(pickle.dumps(op)), dataclasses.replace(op, d=2 * D)):
        assert twin._statics is op._statics
    for make in (copy.copy, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))):
        assert make(op._statics) is op._statics


def test_equality_of_users_runs_when_an_operator_is_made_and_never_again():
    class Careful:
        asked = 0

        def __eq__(self, other):
            Careful.asked += 1
            return isinstance(other, Careful)

        def __hash__(self):
            Careful.asked += 1
            return 7

    a, b = Two(jnp.asarray(D), axis=Careful()), Two(jnp.asarray(D), axis=Careful())
    asked = Careful.asked
    assert asked > 0
    for run in (lambda op: op(D), jax.jit(lambda op: op(D)), lambda op: jax.grad(lambda x: jnp.sum(op(x)))(D)):
        for op in (a, b):
            np.testing.assert_array_equal(run(op), run(op))
    assert jax.tree.structure(a) == jax.tree.structure(b)
    assert Careful.asked == asked


def test_equality_of_users_may_raise_and_may_make_operators():
    class Raises:
        def __eq__(self, other):
            message = "no order"
            raise OverflowError(message)

        def __hash__(self):
            return 1

    class Makes:
        def __eq__(self, other):
            np.testing.assert_array_equal(Two(D, axis=3)(D), D * D)
            return isinstance(other, Makes)

        def __hash__(self):
            np.testing.assert_array_equal(Two(D, axis=4)(D), D * D)
            return 2

    kept = Two(D, axis=Raises())
    for _ in range(3):
        with pytest.raises(OverflowError, match="no order"):
            Two(D, axis=Raises())
    assert Two(D, axis=4).axis == 4
    kept = Two(D, axis=Makes())
    assert Two(D, axis=Makes())._statics is kept._statics


def test_nothing_is_left_of_values_that_are_gone():
    class Plan:
        pass

    gc.collect()
    before = len(interned._table)
    plan = Plan()
    plan.op = Two(D, axis=plan)  # a cycle
    alive = [weakref.ref(plan), weakref.ref(Two(D, axis=("gone", 0.5))._statics)]
    del plan
    gc.collect()
    assert [reference() for reference in alive] == [None, None]
    assert len(interned._table) == before


def test_values_of_one_hash_do_not_pile_up():
    class Same:
        def __hash__(self):
            return 3

        def __eq__(self, other):
            return self is other

    kept = [Two(D, axis=Same()) for _ in range(3)]
    for _ in range(100):
        Two(D, axis=Same())
    assert len(kept[0]._statics._peers) < 10


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


# ---- where fields may be declared ---------------------------------------------------------------------------------------


class Scaled:
    """A plain class, which knows nothing of operators."""

    d: jax.Array
    power: int = lo.static(default=2)
    shift: jax.Array | None = None
    unit: ClassVar[str] = "m"

    def apply(self, x):
        return self.d**self.power * x

    def adjoint(self, y):
        return np.conj(self.d) ** self.power * y

    def infer_shape(self, x):
        return x


class FromMixin(Scaled, lo.LinearOperator):
    offset: int = lo.static(default=0)


class FromMixinAndParent(FromMixin):
    extra: int = lo.static(default=1)


class FromMixinWithInit(Scaled, lo.LinearOperator):
    def __init__(self, d):
        self.d = d


def test_fields_of_a_mixin_are_fields():
    op = FromMixin(D, 3, offset=1)
    assert [field.name for field in dataclasses.fields(op)] == ["d", "power", "shift", "offset"]
    assert repr(op) == "FromMixin(d=f32[3], power=3, shift=None, offset=1)"
    np.testing.assert_allclose(op(D), D**4)
    np.testing.assert_allclose(jax.vmap(lambda d: FromMixin(d)(D))(jnp.stack([D, 2 * D])), [D**3, 4 * D**3])
    assert jax.tree.structure(FromMixin(D, 2)) != jax.tree.structure(FromMixin(D, 3))
    with pytest.raises(TypeError, match=r"FromMixin\.d holds 1\.0 \(float\), which is not an array"):
        FromMixin(1.0)
    assert [field.name for field in dataclasses.fields(FromMixinAndParent)][-2:] == ["offset", "extra"]
    np.testing.assert_allclose(FromMixinAndParent(D)(D), D**3)
    assert (FromMixinWithInit(D).power, FromMixinWithInit(D).shift) == (2, None)
    with pytest.raises(TypeError, match=r"FromMixinWithInit\.d holds 'a'"):
        FromMixinWithInit("a")
    assert not dataclasses.is_dataclass(Scaled)
    assert isinstance(Scaled.power, dataclasses.Field)  # as it was
    for twin in (pickle.loads(pickle.dumps(op)), copy.deepcopy(op)):
        assert repr(twin) == repr(op)


def test_a_class_may_override_what_a_mixin_declares():
    class Cubed(Scaled, lo.LinearOperator):
        power = 3

    class Fixed(Scaled, lo.LinearOperator):
        @property
        def d(self):
            return np.float32(2)

    class Again(Scaled, lo.LinearOperator):
        power: int = lo.static(default=4)
        extra: int = lo.static(default=0)

    np.testing.assert_allclose(Cubed(D)(D), D**4)
    np.testing.assert_allclose(Fixed(shift=None)(D), 4 * D)
    assert [field.name for field in dataclasses.fields(Again)] == ["d", "power", "shift", "extra"]
    assert Again(D).power == 4


def test_mixins_of_mixins_and_dataclasses():
    class More(Scaled):
        first: int = lo.static(default=7)

    @dataclasses.dataclass
    class Decorated:
        size: int = lo.static(default=5, kw_only=True)

    class All(More, Decorated, Generic[Kind], lo.LinearOperator):
        pass

    op = All(d=D)
    assert (op.first, op.size, op.power) == (7, 5, 2)


def test_slots_do_not_hide_fields():
    class Slotted(lo.LinearOperator):
        __slots__ = ("d", "extra")
        d: jax.Array
        extra: jax.Array
        apply, adjoint, infer_shape = Two.apply, Two.adjoint, Two.infer_shape

    class Redeclared(Slotted):
        extra: jax.Array

    class SlottedMixin:
        __slots__ = ("d",)
        d: jax.Array

    class Uses(SlottedMixin, lo.LinearOperator):
        apply, adjoint, infer_shape = Two.apply, Two.adjoint, Two.infer_shape

    for op in (Slotted(D, extra=D), Redeclared(D, extra=D), Uses(D)):
        np.testing.assert_array_equal(op(D), D * D)
        np.testing.assert_array_equal(jax.tree.map(lambda leaf: 2 * leaf, op)(D), 2 * D * D)
        np.testing.assert_array_equal(copy.deepcopy(op)(D), D * D)
        with pytest.raises(dataclasses.FrozenInstanceError, match="immutable"):
            op.d = D
    with pytest.raises(TypeError, match=r"missing 1 required positional argument: 'd'"):
        Uses()


def test_a_default_factory_with_an_own_constructor():
    made = []

    class Counted(lo.LinearOperator):
        axes: tuple = lo.static(default_factory=lambda: made.append(1) or (len(made),))
        scale: jax.Array = dataclasses.field(default_factory=lambda: np.ones(3, np.float32))

        def __init__(self, axes=None):
            if axes is not None:
                self.axes = axes

        apply, adjoint, infer_shape = Two.apply, Two.adjoint, Two.infer_shape

    assert [Counted().axes, Counted((5,)).axes, Counted().axes] == [(1,), (5,), (2,)]
    np.testing.assert_array_equal(Counted().scale, np.ones(3))
