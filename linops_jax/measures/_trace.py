"""The trace of an operator, exact or estimated."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from linops_jax._engine.compiled import compiled
from linops_jax._model import shapes
from linops_jax._model.renamed import renamed_arguments
from linops_jax._operators.linear import LinearOperator
from linops_jax._types import Seed, Specs
from linops_jax._vectors import MatrixForm, Packing
from linops_jax.measures import _arguments
from linops_jax.measures._dense import diagonal, square


@renamed_arguments("lo.trace", "0.1", "0.2", A="op", spec="x")
def trace(
    op: LinearOperator,
    x: Specs | None = None,
    *,
    samples: int | None = None,
    seed: Seed = 0,
    return_error: bool = False,
) -> Any:
    """The trace of a linear operator: exact by default, estimated where ``samples`` are given.

    Parameters
    ----------
    op : LinearOperator
        An operator from a space to itself.
    x : pytree of arrays or jax.ShapeDtypeStruct, optional
        The domain, where ``op`` does not know it.
    samples : int, optional
        How many random vectors the estimate takes: at most as many as the domain has entries. Without it, the trace is
        exact.
    seed : int or jax.random key, optional
        For the random vectors; 0 by default.
    return_error : bool, optional
        Whether to return the standard error of the estimate, too; it is 0 where the trace is exact. False by default.

    Returns
    -------
    trace : 0-d array
        In the dtype of the codomain.
    error : 0-d real array
        Only with ``return_error=True``.

    Raises
    ------
    TypeError, ValueError
        As ``lo.diagonal``; and ValueError for an impossible number of samples, and for an estimate where the domain has
        both real and complex arrays.
    ImportError
        If an estimate is asked for and matfree is not installed.

    Notes
    -----
    The exact trace is the sum of ``lo.diagonal(A)``. The estimate is matfree's XTrace (Epperly, Tropp and Webber,
    2024). It takes 2 ``samples`` products and memory for as many inputs. Its error falls like 1 / samples or faster
    where few eigenvalues dominate, and like 1 / sqrt(samples) otherwise; from half the number of entries on it is
    exact.

    References
    ----------
    * Epperly, E. N., J. A. Tropp and R. J. Webber (2024). XTrace: Making the most of every sample in stochastic trace
      estimation. SIAM J. Matrix Anal. Appl. 45, 1-23.

    Examples
    --------
    >>> A = lo.Diagonal(jnp.array([1.0, 2.0, 3.0]))
    >>> print(lo.trace(A, jnp.zeros(3)))
    6.0
    """
    op = square(op, x, "lo.trace")
    packing = Packing(op.codomain)
    dtype = packing.dtype
    if samples is None:
        exact = jnp.sum(packing.pack(diagonal(op)))
        return (
            (exact, jnp.zeros((), jnp.finfo(dtype).dtype if shapes.is_inexact(dtype) else dtype))
            if return_error
            else exact
        )
    _arguments.require_inexact(op, None, "lo.trace")
    size = Packing(op.domain).size
    if not 1 <= samples <= size:
        message = f"lo.trace: samples={samples} is not possible for a domain of {size} entries; expected 1 to {size}, or None."
        raise ValueError(message)
    if shapes.has_complex(op.domain) and not shapes.all_complex(op.domain):
        message = (
            f"lo.trace: samples={samples} needs a domain that is all real or all complex, found "
            f"{shapes.describe_tree(op.domain)}. Leave samples out for the exact trace."
        )
        raise ValueError(message)
    mean, error = _estimate(op, samples, _arguments.key(seed))
    return (mean, error) if return_error else mean


@compiled
def _estimate(op: LinearOperator, samples: int, key: Any) -> Any:
    stochtrace = _matfree()
    form = MatrixForm(op)

    def product(v: Any) -> jax.Array:
        return form.forward(v).astype(form.dtype)

    sampler = stochtrace.sampler_normal(jnp.zeros(form.shape[1], form.dtype), num=samples)
    estimator = stochtrace.estimator_leave_one_out_mean_and_sem(stochtrace.leave_one_out_xtrace(), sampler)
    with jax.numpy_rank_promotion("allow"):  # whatever the user asks of their own code
        return estimator(product, key)


def _matfree() -> Any:
    try:
        from matfree import stochtrace
    except ModuleNotFoundError as error:
        message = 'lo.trace(A, samples=...) needs matfree, which is not installed: pip install "linops-jax[interop]"'
        raise ImportError(message, name=error.name) from error
    return stochtrace
