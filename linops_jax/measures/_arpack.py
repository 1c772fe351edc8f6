"""ARPACK, by SciPy, on the vectors of a form."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from linops_jax._engine.compiled import compiled
from linops_jax._vectors import MatrixForm


def svds(form: MatrixForm, k: int, which: str, tol: float, seed: int) -> tuple[Any, Any, Any]:
    """The k largest or smallest singular values, in descending order, between their vectors."""
    import scipy.sparse.linalg

    compute: Any = scipy.sparse.linalg.svds  # its annotations are narrower than what it takes
    start = _start(min(form.shape), form, seed)
    u, s, vh = compute(_as_scipy(form), k, which=which, tol=tol, v0=start)
    order = np.argsort(-s)
    return u[:, order], s[order], vh[order]


def eigsh(form: MatrixForm, k: int, which: str, tol: float, seed: int) -> tuple[Any, Any]:
    """k eigenvalues, and their vectors."""
    import scipy.sparse.linalg

    compute: Any = scipy.sparse.linalg.eigsh
    return compute(_as_scipy(form), k, which=which, tol=tol, v0=_start(form.shape[1], form, seed))


def _start(size: int, form: MatrixForm, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(size).astype(form.dtype)


def _as_scipy(form: MatrixForm) -> Any:
    import scipy.sparse.linalg

    make: Any = scipy.sparse.linalg.LinearOperator

    def function(name: str) -> Any:
        return lambda v: np.asarray(_product(form, name, np.asarray(v).ravel().astype(form.dtype)))

    return make(form.shape, function("forward"), function("reverse"), dtype=np.dtype(form.dtype))


@compiled
def _product(form: MatrixForm, name: str, v: jax.Array) -> jax.Array:
    return getattr(form, name)(v).astype(form.dtype)
