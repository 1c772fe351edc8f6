"""lo.minimize: convex objectives, written as sums of functionals of operators."""

from linops_jax import _public
from linops_jax.minimizers._front import minimize as minimize
from linops_jax.minimizers._minimum import Minimum as Minimum
from linops_jax.minimizers._minimum import MinimumStats as MinimumStats

_public.publish(__name__)
