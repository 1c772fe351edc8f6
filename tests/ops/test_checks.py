"""Every check of this library on some of the operators that it ships, one for each way of writing them."""

import pytest

import linops_jax as lo
from linops_jax import ops

pytestmark = pytest.mark.slow

# By SciPy, by NumPy and by JAX; with fields and without; between real and complex spaces, and with an adjoint of its own.
CLASSES = [
    ops.Broadcast,
    ops.Convolution,
    ops.FFT,
    ops.LowRank,
    ops.Matrix,
    ops.Real,
    ops.Restriction,
    ops.Shift,
    ops.SparseMatrix,
    ops.XRay,
]


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_they_pass_every_check(cls):
    """On the first of their examples. ``linops-jax check linops_jax.ops`` takes all operators and examples."""
    lo.check_operator(*next(iter(cls.examples())))
