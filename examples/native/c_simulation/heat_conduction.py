"""The heating of a rod, in C, with one simulation for the value and all derivatives at a point. Build first: make"""

import ctypes
import pathlib

import jax
import numpy as np

import linops_jax as lo

LIBRARY = ctypes.CDLL(str(pathlib.Path(__file__).with_name("libheat_conduction.so")))
SIMULATIONS = ctypes.c_int.in_dll(LIBRARY, "simulations")


class Settings(ctypes.Structure):
    _fields_ = [("time_step", ctypes.c_double), ("spacing", ctypes.c_int64)]


def hook(name):
    """The C function of that name, which finds the static fields in call->user_data."""
    return lo.native(
        LIBRARY[name], user_data=lambda op: Settings(op.time_step, op.spacing), dtypes=["float64"], parallel=True
    )


class HeatConduction(lo.NonlinearOperator):
    """From the logarithm of the conductivity to what thermometers in the rod show, an array of time by thermometer."""

    steps: int = lo.static()
    time_step: float = lo.static()
    spacing: int = lo.static()

    apply = hook("heat_apply")
    linearize = hook("heat_linearize")
    jacobian_apply = hook("heat_jacobian_apply")
    jacobian_adjoint = hook("heat_jacobian_adjoint")

    def infer_shape(self, x):
        return jax.ShapeDtypeStruct((self.steps, x.size // self.spacing), x.dtype)

    def infer_state_shape(self, x):
        factors = jax.ShapeDtypeStruct((3, x.size), x.dtype)
        flow = jax.ShapeDtypeStruct((self.steps, x.size), x.dtype)
        return factors, flow

    @classmethod
    def examples(cls):
        yield cls(steps=5, time_step=0.1, spacing=3), jax.ShapeDtypeStruct((7,), np.float64)


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    for op, x in HeatConduction.examples():
        print(lo.check_operator(op, x))
        SIMULATIONS.value = 0
        jax.value_and_grad(lambda x, op=op: op(x).sum())(np.zeros(x.shape))
        assert SIMULATIONS.value == 1
