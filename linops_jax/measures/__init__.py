"""Numbers of an operator: its matrix, diagonal, trace, norm, singular values and eigenvalues."""

from linops_jax import _public
from linops_jax.measures._dense import diagonal as diagonal
from linops_jax.measures._dense import todense as todense
from linops_jax.measures._dense import tosparse as tosparse
from linops_jax.measures._dense import trace as trace
from linops_jax.measures._norm import norm as norm
from linops_jax.measures._spectrum import condition_number as condition_number
from linops_jax.measures._spectrum import eigsh as eigsh
from linops_jax.measures._spectrum import svds as svds

_public.publish(__name__)
