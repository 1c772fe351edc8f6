"""lo.solve: least squares by the solvers of lineax, nonlinear ones by those of optimistix."""

from linops_jax import _public
from linops_jax.solvers._front import solve as solve
from linops_jax.solvers._inverse import SolverInverse as SolverInverse
from linops_jax.solvers._solution import ConvergenceError as ConvergenceError
from linops_jax.solvers._solution import ConvergenceWarning as ConvergenceWarning
from linops_jax.solvers._solution import InexactAdjointWarning as InexactAdjointWarning
from linops_jax.solvers._solution import Solution as Solution
from linops_jax.solvers._solution import Stats as Stats

_public.publish(__name__)
