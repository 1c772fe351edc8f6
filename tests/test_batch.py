"""What each operand of a call has of each batch axis."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linops_jax._engine.batch import Batch, element

# Two axes, the outer one of size 5, the inner one of size 3: an operand with both, one with each, one with none.
BATCH = Batch([(True, True), (True, False), (False, True), (False, False)])
AVALS = [jax.typeof(np.zeros(shape, np.float32)) for shape in ((5, 3, 2), (5, 7), (3,), (4, 4))]


def test_axes_and_how_many_of_them_each_operand_has():
    assert BATCH.axes == 2
    assert BATCH.own == (2, 1, 1, 0)
    assert BATCH.has(0) == [True, True, False, False]
    assert BATCH.has(1) == [True, False, True, False]


@pytest.mark.parametrize("operands", [0, 1, 3])
def test_no_batch(operands):
    batch = Batch.none(operands)
    assert (len(batch), batch.axes, batch.own, batch.text()) == (operands, 0, (0,) * operands, "")
    assert batch.sizes([jax.typeof(np.zeros(2))] * operands) == ()


def test_equal_values_are_one_key_and_are_compared_in_c():
    same = Batch(map(tuple, BATCH))
    assert same == BATCH
    assert hash(same) == hash(BATCH)
    assert Batch.none(2) != Batch.none(3)
    assert Batch.__eq__ is tuple.__eq__
    assert Batch.__hash__ is tuple.__hash__


def test_it_cannot_be_changed():
    with pytest.raises(AttributeError, match="has no attribute"):
        BATCH.names = ()
    with pytest.raises(TypeError, match="does not support item assignment"):
        BATCH[0] = ()


def test_parts_of_it_are_batches():
    assert BATCH.of([2, 0]) == ((False, True), (True, True))
    assert BATCH.behind(2) == ((False, True), (False, False))
    assert type(BATCH.of([2])) is type(BATCH.behind(4)) is Batch
    assert BATCH.behind(4).axes == 0


def test_one_more_axis_is_the_outermost():
    once = Batch.none(2).with_axis([True, False])
    assert once == ((True,), (False,))
    assert once.with_axis([False, True]) == ((False, True), (True, False))


def test_text():
    assert BATCH.text() == "11,10,01,00"
    assert Batch([(True,), (False,)]).text(copied=[False, True]) == "1,c"
    assert Batch([(True, True), (False, False)]).text(copied=[False, True]) == "11,cc"


@pytest.mark.parametrize("batch", [BATCH, Batch.none(3), Batch([(False,)])])
def test_text_and_back(batch):
    assert Batch.parse(batch.text(), len(batch)) == batch


def test_copies_are_batch_axes():
    assert Batch.parse("11,cc,00", 3) == ((True, True), (True, True), (False, False))


@pytest.mark.parametrize(
    ("fields", "looped"),
    [
        ([False, False, False, False], 0),
        ([False, False, False, True], 0),
        ([False, True, False, True], 1),  # the outer axis alone
        ([False, False, True, False], 2),  # the inner axis, and so all outside of it
        ([True, True, True, True], 2),
    ],
)
def test_looped_axes_are_the_first_ones(fields, looped):
    assert BATCH.looped_axes(fields) == looped


def test_sizes():
    assert BATCH.sizes(AVALS) == (5, 3)


def test_types_of_elements_and_of_batches_of_results():
    assert [element(aval, axes).shape for aval, axes in zip(AVALS, BATCH.own, strict=True)] == [(2,), (7,), (), (4, 4)]
    results = BATCH.results(AVALS, [jax.typeof(np.zeros((6,), np.int32)), jax.typeof(1.0)])
    assert [(aval.shape, aval.dtype.name, aval.weak_type) for aval in results] == [
        ((5, 3, 6), "int32", False),
        ((5, 3), jnp.zeros(()).dtype.name, False),
    ]


def test_a_function_of_one_element_is_one_of_the_operands():
    found = Batch([(True, False), (False, True)]).mapped(lambda a, b: 10 * a + b)(jnp.arange(2), jnp.arange(3))
    np.testing.assert_array_equal(found, [[0, 1, 2], [10, 11, 12]])


def test_a_function_may_name_the_axes():
    evaluate = Batch([(True, True)]).mapped(lambda a: jax.lax.psum(a, "outer"), ("outer", None))
    np.testing.assert_array_equal(evaluate(jnp.arange(4).reshape(2, 2)), [[2, 4], [2, 4]])


def test_on_an_explicit_mesh_batch_axes_keep_their_place():
    mesh = jax.make_mesh((1, 1), ("i", "j"), axis_types=(jax.sharding.AxisType.Explicit,) * 2)
    whole = jax.device_put(np.zeros((5, 3, 2)), jax.NamedSharding(mesh, jax.P("i", None, "j")))
    elsewhere = jax.device_put(np.zeros((3, 4)), jax.NamedSharding(mesh, jax.P("j")))
    avals = [jax.typeof(whole), jax.typeof(elsewhere)]
    batch = Batch([(True, True), (False, True)])
    (found,) = batch.results(avals, [jax.typeof(jax.device_put(np.zeros(7), jax.NamedSharding(mesh, jax.P())))])
    assert found.sharding.spec == jax.P("i", "j", None)
    assert element(avals[0], 2).sharding.spec == jax.P("j")
