"""Arguments under their former names: the same result, and a warning that says both names."""

import inspect
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import linops_jax as lo

A = lo.Matrix(jnp.asarray([[2.0, 1.0], [1.0, 3.0]]))
W = lo.declare(A, symmetric=True)
X = jax.ShapeDtypeStruct((2,), np.float32)
Y = jnp.asarray([1.0, 2.0])
CALLS = {
    "condition_number": (A, {}),
    "diagonal": (A, {}),
    "eigsh": (W, {"k": 1}),
    "norm": (A, {}),
    "svds": (A, {"k": 1}),
    "todense": (A, {}),
    "trace": (A, {}),
    "tosparse": (A, {}),
}


def numbers(result):
    return [np.asarray(leaf.todense() if hasattr(leaf, "todense") else leaf) for leaf in jax.tree.leaves(result)]


@pytest.mark.parametrize("name", CALLS)
def test_the_operator_is_op_and_its_input_x(name):
    function, (op, keywords) = getattr(lo, name), CALLS[name]
    expected = numbers(function(op=op, x=X, **keywords))
    by_position = [op, *keywords.values(), X]
    for found in (function(*by_position), function(op, x=X, **keywords)):
        np.testing.assert_equal(numbers(found), expected)
    for old, new, values in (("A", "op", {"A": op, "x": X}), ("spec", "x", {"op": op, "spec": X})):
        message = rf"^lo\.{name}: {old}= is deprecated since 0\.1 and will be removed in 0\.2: use {new}=\.$"
        with pytest.warns(DeprecationWarning, match=message) as caught:
            found = function(**values, **keywords)
        assert [warning.filename for warning in caught] == [__file__]
        np.testing.assert_equal(numbers(found), expected)


def test_solve_takes_op():
    expected = lo.solve(op=A, y=Y).value
    with pytest.warns(
        DeprecationWarning, match=r"^lo\.solve: A= is deprecated since 0\.1 and will be removed in 0\.2: use op=\.$"
    ):
        found = lo.solve(A=A, y=Y).value
    np.testing.assert_array_equal(found, expected)
    assert list(inspect.signature(lo.solve).parameters)[:2] == ["op", "y"]


@pytest.mark.parametrize("both", [lambda: lo.norm(A, A=A), lambda: lo.norm(op=A, A=A), lambda: lo.norm(A, X, spec=X)])
def test_both_names_are_refused(both):
    with pytest.raises(
        TypeError, match=r"lo\.norm got both (op|x) and (A|spec)=, which is the old name of (op|x)\. Give (op|x) only"
    ):
        both()


def test_warnings_point_at_the_line_of_the_caller():
    with pytest.warns(lo.ConvergenceWarning, match="stopped after 1 steps") as caught:
        lo.solve(A, Y, solver="cgls", max_steps=1)
    assert [warning.filename for warning in caught] == [__file__]


def test_the_new_names_do_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lo.norm(A, X)


@pytest.mark.parametrize(
    "name", [*CALLS, "solve", "dot_test", "check_operator", "operator_checks", "simplify", "tree", "freeze"]
)
def test_the_first_argument_of_every_function_of_an_operator_is_op(name):
    assert next(iter(inspect.signature(getattr(lo, name)).parameters)) == "op"
