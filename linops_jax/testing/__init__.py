"""Checks that prove an operator, for interactive work and for test suites."""

from linops_jax.testing._dot_test import DotTest as DotTest
from linops_jax.testing._dot_test import dot_test as dot_test
from linops_jax.testing._harness import CheckError as CheckError
from linops_jax.testing._harness import check_operator as check_operator
from linops_jax.testing._harness import operator_checks as operator_checks
