# pyright: strict, reportUnnecessaryTypeIgnoreComment=true, reportMissingTypeStubs=false, reportUnknownMemberType=false
"""What type checkers know of expressions of operators. Not run: `.ci/run` checks it, and each ignored error must be one."""

from typing import assert_type

import jax
import jax.numpy as jnp
import numpy as np

import linops_jax as lo

Either = lo.LinearOperator | lo.NonlinearOperator

d = jnp.ones(3)
A = lo.Diagonal(d)
B = lo.Matrix([[1.0, 2.0], [3.0, 4.0]])
F = lo.Affine(A, d)

assert_type(A @ B, lo.LinearOperator)
assert_type(A + B - A, lo.LinearOperator)
assert_type(2 * A, lo.LinearOperator)
assert_type(A * 0.1j / 2, lo.LinearOperator)
assert_type(-A, lo.LinearOperator)
assert_type(A ** np.int64(2), lo.LinearOperator)
assert_type(A.H @ A, lo.LinearOperator)
assert_type((A.T, A.conj(), A.inv), tuple[lo.LinearOperator, lo.LinearOperator, lo.LinearOperator])
assert_type(A.with_domain(d), lo.LinearOperator)

assert_type(A @ F, lo.NonlinearOperator)
assert_type(F @ A, lo.NonlinearOperator)
assert_type(A + F, lo.NonlinearOperator)
assert_type(A - F, lo.NonlinearOperator)
assert_type(2 * F / 3 + A, lo.NonlinearOperator)
assert_type(F.jacobian(d), lo.LinearOperator)
assert_type(F.with_domain(d), lo.NonlinearOperator)

assert_type(lo.vstack([A, B]), lo.LinearOperator)
assert_type(lo.hstack((A, 2 * B, A.H)), lo.LinearOperator)
assert_type(lo.block_diag({"a": A, "b": {"c": B}}), lo.LinearOperator)
assert_type(lo.block([[A, None], [B, A @ A]]), lo.LinearOperator)
assert_type(lo.vstack([F, F]), lo.NonlinearOperator)
assert_type(lo.vstack([A, F]), Either)
assert_type(lo.kron(A, B), lo.LinearOperator)
assert_type(lo.along_axis(A, 0), lo.LinearOperator)
assert_type(lo.freeze(F, {0: d}), lo.NonlinearOperator)
assert_type(lo.freeze(F, {0: d}, linear=True), lo.LinearOperator)
assert_type(lo.simplify(A @ B), lo.LinearOperator)
assert_type(lo.declare(A.H @ A, positive=True), lo.LinearOperator)

assert_type(lo.todense(A, d), jax.Array)
assert_type(lo.norm(op=A, x=d, rtol=0.1), jax.Array)
assert_type(lo.solve(op=A, y=d), lo.Solution)
assert_type(lo.testing.checks.check_adjoint(A, d), str | None)
assert_type(lo.__version__, str)
print(lo.Diagonal(np.ones(3)), lo.Diagonal([1.0, 2.0]), lo.Matrix(np.eye(3)), lo.Affine(A, [1.0, 2.0, 3.0]))
print(A(d), A @ d, A @ [1.0, 2.0, 3.0], lo.solve(A, d).value, sum([A @ B, B]))

lo.norm(A=A)  # type: ignore
A * B  # type: ignore
A * "x"  # type: ignore
A @ 2  # type: ignore
A + d  # type: ignore
A**0.5  # type: ignore
print(F.H)  # type: ignore
print(A.matvec)  # type: ignore
