"""Ready-made functionals, one family per file, each an example to copy."""

from linops_jax import _public
from linops_jax.functionals._constraints import Box as Box
from linops_jax.functionals._constraints import L1Ball as L1Ball
from linops_jax.functionals._constraints import NonNegative as NonNegative
from linops_jax.functionals._constraints import Simplex as Simplex
from linops_jax.functionals._misfits import Huber as Huber
from linops_jax.functionals._misfits import KullbackLeibler as KullbackLeibler
from linops_jax.functionals._misfits import SquaredL2 as SquaredL2
from linops_jax.functionals._norms import L1 as L1
from linops_jax.functionals._norms import L2 as L2
from linops_jax.functionals._norms import L21 as L21
from linops_jax.functionals._nuclear import NuclearNorm as NuclearNorm

_public.publish(__name__)
