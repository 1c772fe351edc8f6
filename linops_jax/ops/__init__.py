"""Ready-made operators, one family per file."""

from linops_jax import _public
from linops_jax.algebra import Identity as Identity
from linops_jax.algebra import Zero as Zero
from linops_jax.ops._diagonal import Diagonal as Diagonal
from linops_jax.ops._fft import FFT as FFT
from linops_jax.ops._halo import Halo as Halo
from linops_jax.ops._matrix import Matrix as Matrix

__all__ = [
    "FFT",
    "Diagonal",
    "Halo",
    "Identity",
    "Matrix",
    "Zero",
]

_public.publish(__name__)
