"""Operators around foreign code, as first-class JAX citizens, with proven adjoints."""

from linops_jax import algebra as _algebra  # noqa: F401 gives operators their + and @
from linops_jax import testing as testing
from linops_jax._errors import last_error as last_error
from linops_jax._fields import static as static
from linops_jax._hooks import traced as traced
from linops_jax._linear import LinearOperator as LinearOperator
from linops_jax._nonlinear import NonlinearOperator as NonlinearOperator
from linops_jax._trampoline import export_checks as export_checks
from linops_jax.functional import get_linear_call as get_linear_call
from linops_jax.functional import get_nonlinear_call as get_nonlinear_call
from linops_jax.functional import load_kwargs as load_kwargs
from linops_jax.ops import FFT as FFT
from linops_jax.ops import Diagonal as Diagonal
from linops_jax.ops import Identity as Identity
from linops_jax.ops import Matrix as Matrix
from linops_jax.ops import Zero as Zero
from linops_jax.testing import check_operator as check_operator
from linops_jax.testing import checking as checking
from linops_jax.testing import dot_test as dot_test
from linops_jax.testing import operator_checks as operator_checks
