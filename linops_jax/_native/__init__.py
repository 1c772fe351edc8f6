"""Native hooks: the values that ``lo.native`` and ``lo.per_platform`` put into a class body."""

from linops_jax._native.declare import native as native
from linops_jax._native.function import CFunction as CFunction
from linops_jax._native.handler import Handler as Handler
from linops_jax._native.include import get_include as get_include
from linops_jax._native.native import Native as Native
from linops_jax._native.platforms import per_platform as per_platform
