"""Operators around foreign code, as first-class JAX citizens, with checked adjoints."""

import importlib
import importlib.metadata
import os
from typing import TYPE_CHECKING, Any

from linops_jax import _public
from linops_jax._engine.errors import last_error as last_error
from linops_jax._engine.trampoline import export_checks as export_checks
from linops_jax._model.declarations import constant as constant
from linops_jax._model.declarations import static as static
from linops_jax._model.marks import device as device
from linops_jax._model.marks import in_place as in_place
from linops_jax._model.marks import traced as traced
from linops_jax._model.properties import Properties as Properties
from linops_jax._native import get_include as get_include
from linops_jax._native import native as native
from linops_jax._native import per_platform as per_platform
from linops_jax._operators import constructors, meta
from linops_jax._operators.functional import Functional as Functional
from linops_jax._operators.linear import LinearOperator as LinearOperator
from linops_jax._operators.nonlinear import NonlinearOperator as NonlinearOperator
from linops_jax._simplify import simplify as simplify
from linops_jax._views import tree as tree
from linops_jax.algebra import Affine as Affine
from linops_jax.algebra import Function as Function
from linops_jax.algebra import along_axis as along_axis
from linops_jax.algebra import block as block
from linops_jax.algebra import block_diag as block_diag
from linops_jax.algebra import declare as declare
from linops_jax.algebra import freeze as freeze
from linops_jax.algebra import hstack as hstack
from linops_jax.algebra import kron as kron
from linops_jax.algebra import kron_sum as kron_sum
from linops_jax.algebra import sharded as sharded
from linops_jax.algebra import vstack as vstack
from linops_jax.functional import get_linear_call as get_linear_call
from linops_jax.functional import get_nonlinear_call as get_nonlinear_call
from linops_jax.functional import load_kwargs as load_kwargs
from linops_jax.ops import FFT as FFT
from linops_jax.ops import Diagonal as Diagonal
from linops_jax.ops import Halo as Halo
from linops_jax.ops import Identity as Identity
from linops_jax.ops import Matrix as Matrix
from linops_jax.ops import Zero as Zero

__all__ = [  # the public names: what dir() and `import *` give
    "FFT",
    "L1",
    "L2",
    "L21",
    "Affine",
    "Box",
    "ConvergenceError",
    "ConvergenceWarning",
    "Diagonal",
    "Function",
    "Functional",
    "Halo",
    "Huber",
    "Identity",
    "InexactAdjointWarning",
    "KullbackLeibler",
    "L1Ball",
    "LinearOperator",
    "Matrix",
    "Minimum",
    "MinimumStats",
    "NonNegative",
    "NonlinearOperator",
    "NuclearNorm",
    "Properties",
    "Simplex",
    "Solution",
    "SquaredL2",
    "Stats",
    "Zero",
    "algebra",
    "along_axis",
    "block",
    "block_diag",
    "check_operator",
    "checking",
    "condition_number",
    "constant",
    "declare",
    "device",
    "diagonal",
    "distributed",
    "dot_test",
    "eigsh",
    "export_checks",
    "freeze",
    "functional",
    "get_include",
    "get_linear_call",
    "get_nonlinear_call",
    "hstack",
    "in_place",
    "interop",
    "kron",
    "kron_sum",
    "last_error",
    "load_kwargs",
    "minimize",
    "native",
    "norm",
    "operator_checks",
    "ops",
    "per_platform",
    "sharded",
    "simplify",
    "solve",
    "static",
    "svds",
    "testing",
    "todense",
    "tosparse",
    "trace",
    "traced",
    "tree",
    "vstack",
]

if TYPE_CHECKING:
    __version__: str
    from linops_jax import algebra as algebra
    from linops_jax import distributed as distributed
    from linops_jax import functional as functional
    from linops_jax import interop as interop
    from linops_jax import ops as ops
    from linops_jax import testing as testing
    from linops_jax.functionals import L1 as L1
    from linops_jax.functionals import L2 as L2
    from linops_jax.functionals import L21 as L21
    from linops_jax.functionals import Box as Box
    from linops_jax.functionals import Huber as Huber
    from linops_jax.functionals import KullbackLeibler as KullbackLeibler
    from linops_jax.functionals import L1Ball as L1Ball
    from linops_jax.functionals import NonNegative as NonNegative
    from linops_jax.functionals import NuclearNorm as NuclearNorm
    from linops_jax.functionals import Simplex as Simplex
    from linops_jax.functionals import SquaredL2 as SquaredL2
    from linops_jax.measures import condition_number as condition_number
    from linops_jax.measures import diagonal as diagonal
    from linops_jax.measures import eigsh as eigsh
    from linops_jax.measures import norm as norm
    from linops_jax.measures import svds as svds
    from linops_jax.measures import todense as todense
    from linops_jax.measures import tosparse as tosparse
    from linops_jax.measures import trace as trace
    from linops_jax.minimizers import Minimum as Minimum
    from linops_jax.minimizers import MinimumStats as MinimumStats
    from linops_jax.minimizers import minimize as minimize
    from linops_jax.solvers import ConvergenceError as ConvergenceError
    from linops_jax.solvers import ConvergenceWarning as ConvergenceWarning
    from linops_jax.solvers import InexactAdjointWarning as InexactAdjointWarning
    from linops_jax.solvers import Solution as Solution
    from linops_jax.solvers import Stats as Stats
    from linops_jax.solvers import solve as solve
    from linops_jax.testing import check_operator as check_operator
    from linops_jax.testing import checking as checking
    from linops_jax.testing import dot_test as dot_test
    from linops_jax.testing import operator_checks as operator_checks

# Modules that are imported when one of their names is used: most programs need none of them.
_LAZY = {
    "distributed": (),
    "functionals": (
        "Box",
        "Huber",
        "KullbackLeibler",
        "L1",
        "L1Ball",
        "L2",
        "L21",
        "NonNegative",
        "NuclearNorm",
        "Simplex",
        "SquaredL2",
    ),
    "measures": ("condition_number", "diagonal", "eigsh", "norm", "svds", "todense", "tosparse", "trace"),
    "minimizers": ("Minimum", "MinimumStats", "minimize"),
    "solvers": ("ConvergenceError", "ConvergenceWarning", "InexactAdjointWarning", "Solution", "Stats", "solve"),
    "testing": ("check_operator", "checking", "dot_test", "operator_checks"),
    "interop": (),
}
_HOME = {name: module for module, names in _LAZY.items() for name in names}


def __getattr__(name: str) -> Any:
    """The version, and the modules and names that are imported on first use."""
    if name == "__version__":
        try:
            return importlib.metadata.version("linops-jax")
        except importlib.metadata.PackageNotFoundError:  # a checkout on the path that is not installed
            return "0+unknown"
    if name not in _LAZY and name not in _HOME:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    module = importlib.import_module(f"{__name__}.{_HOME.get(name, name)}")
    if name in _HOME:
        globals()[name] = getattr(module, name)  # where keys of programs look for classes
    return globals().get(name, module)


def __dir__() -> list[str]:
    """The public names, also those that have not been imported."""
    return sorted(__all__)


_public.publish(__name__)

# Operators use these layers above them, which are imported on first use.
constructors.solver_inverse.load(lambda: importlib.import_module("linops_jax.solvers._inverse").SolverInverse)
constructors.lineax_method.load(lambda: importlib.import_module("linops_jax.interop._lineax").method)
meta.introductions["lineax"] = lambda: importlib.import_module("linops_jax.interop._lineax").register()
meta.introduce()

if os.environ.get("LINOPS_JAX_CHECK"):
    importlib.import_module("linops_jax.testing")  # it checks all calls from here on
