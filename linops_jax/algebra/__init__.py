"""Combinators: one file each. Importing this package gives the operators of Python their meaning."""

from linops_jax.algebra import _composition, _conjugate, _domain, _scale, _sum
from linops_jax.algebra._identity import Identity as Identity
from linops_jax.algebra._identity import Zero as Zero

__all__ = ["Identity", "Zero", "_composition", "_conjugate", "_domain", "_scale", "_sum"]
