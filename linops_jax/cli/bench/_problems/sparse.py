"""A sparse matrix."""

from typing import Any

import numpy as np

import linops_jax as lo

from .problem import Problem, noise


def sparse(pixels: int) -> Problem:
    rows, columns, per_row = 200 * pixels, 100 * pixels, 10

    def matrix() -> Any:
        from scipy.sparse import csr_array

        rng = np.random.default_rng(0)
        indices = rng.integers(columns, size=(rows, per_row)).ravel()
        starts = np.arange(0, rows * per_row + 1, per_row)
        made = csr_array((rng.standard_normal(rows * per_row), indices, starts), shape=(rows, columns))
        made.sum_duplicates()
        return made

    def theirs() -> Any:
        import pylops

        return pylops.MatrixMult(matrix())

    def function() -> Any:
        from jax.experimental.sparse import BCSR

        return BCSR.from_scipy_sparse(matrix()), lambda made, x: made @ x

    return Problem(
        ours={"SciPy's product": lambda: lo.interop.from_scipy(matrix())},
        y=lambda: noise((rows,)),
        shape=(columns,),
        pylops=theirs,
        function=function,
        why_not={"SCICO": "has no sparse matrices"},
    )
