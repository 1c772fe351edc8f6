"""Checks of an operator, for interactive work and for test suites."""

from linops_jax.testing import checks as checks
from linops_jax.testing._checking import checking as checking
from linops_jax.testing._discover import TargetError as TargetError
from linops_jax.testing._discover import discover as discover
from linops_jax.testing._dot_test import DotTest as DotTest
from linops_jax.testing._dot_test import dot_test as dot_test
from linops_jax.testing._harness import Checkup as Checkup
from linops_jax.testing._harness import check_operator as check_operator
from linops_jax.testing._harness import explain as explain
from linops_jax.testing._harness import operator_checks as operator_checks
from linops_jax.testing._harness import with_dtype as with_dtype
from linops_jax.testing._parametrize import parametrize_operators as parametrize_operators
from linops_jax.testing._report import CheckError as CheckError
from linops_jax.testing._report import Outcome as Outcome
from linops_jax.testing._report import Report as Report
from linops_jax.testing._survey import survey as survey
