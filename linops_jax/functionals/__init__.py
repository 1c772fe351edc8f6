"""Ready-made functionals, one family per file, each an example to copy."""

from linops_jax import _public
from linops_jax.functionals._constraints import NonNegative as NonNegative
from linops_jax.functionals._norms import L1 as L1
from linops_jax.functionals._norms import L21 as L21
from linops_jax.functionals._norms import SquaredL2 as SquaredL2

_public.publish(__name__)
