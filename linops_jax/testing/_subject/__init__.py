"""An operator and its input, as the checks see them. The one folder of ``testing`` that looks behind the public names."""

from linops_jax._model.shapes import cast_obstacle as cast_obstacle
from linops_jax._model.shapes import describe as describe
from linops_jax._model.shapes import describe_tree as describe_tree
from linops_jax._model.shapes import shape_difference as shape_difference
from linops_jax._operators.operator import Operator as Operator
from linops_jax.testing._subject.evaluations import change as change
from linops_jax.testing._subject.hands import Hand as Hand
from linops_jax.testing._subject.subject import Subject as Subject
from linops_jax.testing._subject.vectors import WITH_ZEROS as WITH_ZEROS
from linops_jax.testing._subject.watching import is_unwatched as is_unwatched
from linops_jax.testing._subject.watching import unwatched as unwatched
