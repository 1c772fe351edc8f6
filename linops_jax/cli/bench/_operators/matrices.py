"""Sparse matrices, as they are or of geometry, on pictures of n x n pixels."""

from collections.abc import Callable
from typing import Any

import numpy as np

import linops_jax as lo

from .contestants import Entry, Pair, of_pylops, picture

ANGLES = 16


def interpolation(n: int) -> Entry:
    """At random points, one for each 16 pixels."""
    positions = np.random.default_rng(2).uniform(0, n - 1.01, (n * n // 16, 2)).astype(np.float32)
    return Entry(
        picture(n),
        lambda: lo.ops.Interpolation(positions, (n, n)),
        {"PyLops": of_pylops(lambda pylops: pylops.signalprocessing.Bilinear(positions.T, (n, n), dtype="float32"))},
        rtol=1e-3,  # of positions in single precision
    )


def sparse_matrix(n: int) -> Entry:
    """One row for each 4 pixels, with the 4 pixels of a square at a random place."""
    import scipy.sparse

    rng = np.random.default_rng(3)
    rows = n * n // 4
    corners = rng.integers(0, n * n - n - 1, rows)
    indices = (corners[:, None] + np.array([0, 1, n, n + 1])).astype(np.int32)
    entries = rng.random(indices.shape, np.float32)
    starts = np.arange(0, indices.size + 1, 4, dtype=np.int32)
    matrix = scipy.sparse.csr_array((entries.ravel(), indices.ravel(), starts), shape=(rows, n * n))
    return Entry(
        picture(n).ravel(),
        lambda: lo.ops.SparseMatrix(matrix),
        {
            "PyLops": of_pylops(lambda pylops: pylops.MatrixMult(matrix, dtype="float32")),
            "SciPy": lambda: Pair(lambda x: matrix @ x, lambda y: matrix.T @ y),
        },
    )


def x_ray(n: int) -> Entry:
    """A smooth picture: ASTRA's models of a pixel are others."""
    axis = np.linspace(-1, 1, n)
    picture = np.exp(-8 * (axis[:, None] ** 2 + axis**2)) * (1 + 0.5 * np.sin(9 * axis + 5 * axis[:, None]))
    angles = np.linspace(0, np.pi, ANGLES, endpoint=False)
    detectors = n + n // 2

    def astra(model: str) -> Callable[[], Pair]:
        def build() -> Pair:
            import astra  # pyright: ignore[reportMissingImports]

            beams = astra.create_proj_geom("parallel", 1.0, detectors, angles)
            projector = astra.create_projector(model, beams, astra.create_vol_geom(n, n))

            def by(create: Callable[..., Any]) -> Callable[[Any], Any]:
                def run(array: Any) -> Any:
                    key, result = create(array, projector)
                    astra.data2d.delete(key)
                    return result

                return run

            return Pair(by(astra.create_sino), by(astra.create_backprojection))

        return build

    return Entry(
        picture.astype(np.float32),
        lambda: lo.ops.XRay(angles.astype(np.float32), (n, n), detectors),
        {f"ASTRA, {model}": astra(model) for model in ("linear", "strip")},
        rtol=0.05,
    )
