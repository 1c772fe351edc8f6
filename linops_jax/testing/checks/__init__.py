"""One function per identity that an operator must satisfy, in the order in which they run.

Each is called with an operator and specs or example arrays of its input, and raises AssertionError saying what was found.
"""

from linops_jax.testing._check import CHECKS as CHECKS
from linops_jax.testing._check import Check as Check
from linops_jax.testing.checks._hooks import check_adjoint_shape as check_adjoint_shape
from linops_jax.testing.checks._hooks import check_by_hand as check_by_hand
from linops_jax.testing.checks._hooks import check_inputs as check_inputs
from linops_jax.testing.checks._hooks import check_promises as check_promises
from linops_jax.testing.checks._hooks import check_repeatable as check_repeatable
from linops_jax.testing.checks._hooks import check_threads as check_threads
from linops_jax.testing.checks._hooks import check_written as check_written
from linops_jax.testing.checks._linear import check_adjoint as check_adjoint
from linops_jax.testing.checks._linear import check_adjoint_of_adjoint as check_adjoint_of_adjoint
from linops_jax.testing.checks._linear import check_dense_adjoint as check_dense_adjoint
from linops_jax.testing.checks._linear import check_gram as check_gram
from linops_jax.testing.checks._linear import check_inverse as check_inverse
from linops_jax.testing.checks._linear import check_inverse_adjoint as check_inverse_adjoint
from linops_jax.testing.checks._linear import check_linear as check_linear
from linops_jax.testing.checks._linear import check_transpose as check_transpose
from linops_jax.testing.checks._nonlinear import check_dense_jacobian_adjoint as check_dense_jacobian_adjoint
from linops_jax.testing.checks._nonlinear import check_jacobian as check_jacobian
from linops_jax.testing.checks._nonlinear import check_jacobian_adjoint as check_jacobian_adjoint
from linops_jax.testing.checks._nonlinear import check_jacobian_linear as check_jacobian_linear
from linops_jax.testing.checks._nonlinear import check_linearize as check_linearize
from linops_jax.testing.checks._nonlinear import check_pullback as check_pullback
from linops_jax.testing.checks._nonlinear_hessian import check_hessian as check_hessian
from linops_jax.testing.checks._nonlinear_hessian import check_hessian_adjoint as check_hessian_adjoint
from linops_jax.testing.checks._nonlinear_hessian import check_hessian_pullback as check_hessian_pullback
from linops_jax.testing.checks._nonlinear_hessian import check_hessian_symmetric as check_hessian_symmetric
from linops_jax.testing.checks._own_combinators import check_inverse_operator as check_inverse_operator
from linops_jax.testing.checks._own_combinators import check_simplified as check_simplified
from linops_jax.testing.checks._parameters import check_parameter_jvp as check_parameter_jvp
from linops_jax.testing.checks._parameters import check_parameter_pullback as check_parameter_pullback
from linops_jax.testing.checks._parameters import check_parameter_vjp as check_parameter_vjp
from linops_jax.testing.checks._properties import check_diagonal as check_diagonal
from linops_jax.testing.checks._properties import check_positive as check_positive
from linops_jax.testing.checks._properties import check_symmetric as check_symmetric
from linops_jax.testing.checks._properties import check_unitary as check_unitary
from linops_jax.testing.checks._simulations import check_simulations as check_simulations
from linops_jax.testing.checks._transforms import check_jit as check_jit
from linops_jax.testing.checks._transforms import check_jvp as check_jvp
from linops_jax.testing.checks._transforms import check_vjp as check_vjp
from linops_jax.testing.checks._transforms import check_vmap as check_vmap
from linops_jax.testing.checks._transforms import check_vmap_of_adjoint as check_vmap_of_adjoint
from linops_jax.testing.checks._transforms import check_vmap_over_fields as check_vmap_over_fields
from linops_jax.testing.checks._transforms_grads import check_grads as check_grads
from linops_jax.testing.checks._transforms_grads import check_jacobians as check_jacobians
from linops_jax.testing.checks._travels import check_flatten as check_flatten
from linops_jax.testing.checks._travels import check_pickle as check_pickle
from linops_jax.testing.checks._travels import check_shard_map as check_shard_map
from linops_jax.testing.checks._work import check_calls as check_calls
