"""The algebra of operators: one file for each combinator. Importing this package defines Python's operators.

The classes are those of composites. Use them to take an expression apart.
"""

from linops_jax import _public
from linops_jax._operators.jacobian import Jacobian as Jacobian
from linops_jax._operators.jacobian import JacobianByJAX as JacobianByJAX
from linops_jax._operators.printing import Notation as Notation
from linops_jax._operators.printing import Precedence as Precedence
from linops_jax.algebra._adjoint import Adjoint as Adjoint
from linops_jax.algebra._affine import Affine as Affine
from linops_jax.algebra._along_axis import AlongAxis as AlongAxis
from linops_jax.algebra._along_axis import NonlinearAlongAxis as NonlinearAlongAxis
from linops_jax.algebra._along_axis import along_axis as along_axis
from linops_jax.algebra._block import Block as Block
from linops_jax.algebra._block import NonlinearBlock as NonlinearBlock
from linops_jax.algebra._block import block as block
from linops_jax.algebra._block_diag import BlockDiagonal as BlockDiagonal
from linops_jax.algebra._block_diag import NonlinearBlockDiagonal as NonlinearBlockDiagonal
from linops_jax.algebra._block_diag import block_diag as block_diag
from linops_jax.algebra._combinator import Combinator as Combinator
from linops_jax.algebra._combinator import NonlinearCombinator as NonlinearCombinator
from linops_jax.algebra._composition import Composition as Composition
from linops_jax.algebra._composition import NonlinearComposition as NonlinearComposition
from linops_jax.algebra._conjugate import Conjugate as Conjugate
from linops_jax.algebra._declared import Declared as Declared
from linops_jax.algebra._declared import declare as declare
from linops_jax.algebra._domain import NonlinearWithDomain as NonlinearWithDomain
from linops_jax.algebra._domain import WithDomain as WithDomain
from linops_jax.algebra._freeze import Frozen as Frozen
from linops_jax.algebra._freeze import LinearFrozen as LinearFrozen
from linops_jax.algebra._freeze import freeze as freeze
from linops_jax.algebra._function import Function as Function
from linops_jax.algebra._identity import Identity as Identity
from linops_jax.algebra._identity import Zero as Zero
from linops_jax.algebra._inverse import Inverse as Inverse
from linops_jax.algebra._kron import Kronecker as Kronecker
from linops_jax.algebra._kron import kron as kron
from linops_jax.algebra._kron import kron_sum as kron_sum
from linops_jax.algebra._power import NonlinearPower as NonlinearPower
from linops_jax.algebra._power import Power as Power
from linops_jax.algebra._scale import NonlinearScaled as NonlinearScaled
from linops_jax.algebra._scale import Scaled as Scaled
from linops_jax.algebra._sharded import NonlinearSharded as NonlinearSharded
from linops_jax.algebra._sharded import Sharded as Sharded
from linops_jax.algebra._sharded import sharded as sharded
from linops_jax.algebra._stack import HStack as HStack
from linops_jax.algebra._stack import NonlinearHStack as NonlinearHStack
from linops_jax.algebra._stack import NonlinearVStack as NonlinearVStack
from linops_jax.algebra._stack import VStack as VStack
from linops_jax.algebra._stack import hstack as hstack
from linops_jax.algebra._stack import vstack as vstack
from linops_jax.algebra._stacked import NonlinearStacked as NonlinearStacked
from linops_jax.algebra._stacked import Stacked as Stacked
from linops_jax.algebra._sum import NonlinearSum as NonlinearSum
from linops_jax.algebra._sum import Sum as Sum

__all__ = [
    "Adjoint",
    "Affine",
    "AlongAxis",
    "Block",
    "BlockDiagonal",
    "Combinator",
    "Composition",
    "Conjugate",
    "Declared",
    "Frozen",
    "Function",
    "HStack",
    "Identity",
    "Inverse",
    "Jacobian",
    "JacobianByJAX",
    "Kronecker",
    "LinearFrozen",
    "NonlinearAlongAxis",
    "NonlinearBlock",
    "NonlinearBlockDiagonal",
    "NonlinearCombinator",
    "NonlinearComposition",
    "NonlinearHStack",
    "NonlinearPower",
    "NonlinearScaled",
    "NonlinearSharded",
    "NonlinearStacked",
    "NonlinearSum",
    "NonlinearVStack",
    "NonlinearWithDomain",
    "Notation",
    "Power",
    "Precedence",
    "Scaled",
    "Sharded",
    "Stacked",
    "Sum",
    "VStack",
    "WithDomain",
    "Zero",
    "along_axis",
    "block",
    "block_diag",
    "declare",
    "freeze",
    "hstack",
    "kron",
    "kron_sum",
    "sharded",
    "vstack",
]

_public.publish(__name__)
