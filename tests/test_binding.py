"""One hook with everything static about its calls."""

import jax
import numpy as np
import pytest

import linops_jax as lo
from linops_jax._engine.binding import bind_hook
from linops_jax._model.rules import ADJOINT_PARAMETER_JVP

LEAF = jax.tree.structure(0)
INTEGERS = [jax.ShapeDtypeStruct((3,), np.int32)]


class Linear(lo.LinearOperator):
    w: jax.Array

    @lo.traced
    def apply(self, x):
        return self.w * x


class Nonlinear(lo.NonlinearOperator):
    w: jax.Array

    @lo.traced
    def apply(self, x):
        return self.w * x**2

    @lo.traced
    def hessian_apply(self, x, dx1, dx2):
        return 2 * self.w * dx1 * dx2


@pytest.mark.parametrize("cls", [Linear, Nonlinear])
def test_integer_results_are_ignored_in_derivatives_alone(cls):
    derivatives = {
        name
        for name, hook in cls._hooks.items()
        if bind_hook(hook, (LEAF,), LEAF, INTEGERS, for_derivative=False).ignored == (True,)
    }
    names = {"parameter_jvp", "parameter_vjp", ADJOINT_PARAMETER_JVP}
    names |= {"jacobian_apply", "jacobian_adjoint", "hessian_apply", "hessian_adjoint"}
    assert derivatives == names & set(cls._hooks)
    assert "apply" in set(cls._hooks) - derivatives


def test_equal_values_are_one_binding():
    hook = Linear._hooks["apply"]
    first = bind_hook(hook, (LEAF, LEAF), LEAF, INTEGERS, for_derivative=False)
    assert bind_hook(hook, (LEAF, LEAF), LEAF, INTEGERS, for_derivative=False) is first
    assert bind_hook(hook, (LEAF, LEAF), LEAF, INTEGERS, for_derivative=True) is not first
