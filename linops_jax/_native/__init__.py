"""What ``lo.native`` and ``lo.per_platform`` leave on a class: where native code is, and how it wants to be called."""

from linops_jax._native._declare import Native as Native
from linops_jax._native._declare import PerPlatform as PerPlatform
from linops_jax._native._declare import native as native
from linops_jax._native._declare import per_platform as per_platform
from linops_jax._native._function import CFunction as CFunction
from linops_jax._native._handler import Handler as Handler
from linops_jax._native._include import get_include as get_include
