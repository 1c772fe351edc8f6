"""Combinators: one file each. Importing this package gives the operators of Python their meaning."""

from linops_jax.algebra import _composition, _conjugate, _domain, _scale, _sum

__all__ = ["_composition", "_conjugate", "_domain", "_scale", "_sum"]
