"""Combinators: one file each. Importing this package gives the operators of Python their meaning."""

from linops_jax.algebra import _composition, _conjugate, _domain, _inverse, _power, _scale, _sum
from linops_jax.algebra._affine import Affine as Affine
from linops_jax.algebra._along_axis import along_axis as along_axis
from linops_jax.algebra._block import block as block
from linops_jax.algebra._declared import declare as declare
from linops_jax.algebra._freeze import freeze as freeze
from linops_jax.algebra._function import Function as Function
from linops_jax.algebra._identity import Identity as Identity
from linops_jax.algebra._identity import Zero as Zero
from linops_jax.algebra._kron import kron as kron
from linops_jax.algebra._kron import kron_sum as kron_sum
from linops_jax.algebra._stack import block_diag as block_diag
from linops_jax.algebra._stack import hstack as hstack
from linops_jax.algebra._stack import vstack as vstack

__all__ = ["_composition", "_conjugate", "_domain", "_inverse", "_power", "_scale", "_sum"]
