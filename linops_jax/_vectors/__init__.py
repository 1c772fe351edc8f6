"""Pytrees of arrays as vectors: arithmetic, conversion to and from one array, and operators as matrices."""

from linops_jax._vectors.arithmetic import Axes as Axes
from linops_jax._vectors.arithmetic import add as add
from linops_jax._vectors.arithmetic import dot as dot
from linops_jax._vectors.arithmetic import exponent as exponent
from linops_jax._vectors.arithmetic import holds as holds
from linops_jax._vectors.arithmetic import inner as inner
from linops_jax._vectors.arithmetic import is_finite as is_finite
from linops_jax._vectors.arithmetic import norm as norm
from linops_jax._vectors.arithmetic import restored as restored
from linops_jax._vectors.arithmetic import shift as shift
from linops_jax._vectors.arithmetic import times as times
from linops_jax._vectors.coupled import Sides as Sides
from linops_jax._vectors.coupled import coupled_axes as coupled_axes
from linops_jax._vectors.coupled import fitted as fitted
from linops_jax._vectors.coupled import refuse_over_a_batch as refuse_over_a_batch
from linops_jax._vectors.coupled import refuse_shared as refuse_shared
from linops_jax._vectors.coupled import sides as sides
from linops_jax._vectors.coupled import spread_domain as spread_domain
from linops_jax._vectors.coupled import varied as varied
from linops_jax._vectors.matrix_form import MatrixForm as MatrixForm
from linops_jax._vectors.matrix_form import in_complex_numbers as in_complex_numbers
from linops_jax._vectors.matrix_form import in_own_space as in_own_space
from linops_jax._vectors.packing import Packing as Packing
from linops_jax._vectors.packing import as_complex as as_complex
from linops_jax._vectors.packing import as_reals as as_reals
