"""Einsum: an array contracted with the input, in Einstein's notation."""

from __future__ import annotations

import re
from typing import Any

import jax
import jax.numpy as jnp

import linops_jax as lo
from linops_jax.ops import _arguments

FORM = re.compile(r"([A-Za-z]*),([A-Za-z]*(?:\.\.\.[A-Za-z]*)?)->([A-Za-z]*(?:\.\.\.[A-Za-z]*)?)")


class Einsum(lo.LinearOperator):
    r"""A product of an array and the input, summed over some axes, in Einstein's notation.

    Parameters
    ----------
    subscripts : str
        As in ``np.einsum``: the labels of the axes of the array, of the input and of the result, as in ``"ij,...j->...i"``.
        ``...`` stands for batch axes of the input, which the result has, too.
    array : array or nested lists of numbers
        The array. It can be differentiated.

    Raises
    ------
    TypeError
        If the array holds operators.
    ValueError
        If the subscripts do not have this form; if a label is repeated in one of its three parts; if a label of the input is in
        neither of the others, or one of the result is new; or if the array has another number of axes. When the operator is
        applied, if the shape of the input does not fit.

    Notes
    -----
    The adjoint exchanges the labels of the input and the result, and has the conjugate of the array. For ``"ij,j->i"``:

    .. math:: y_i = \sum_j a_{ij} x_j, \qquad (A^H y)_j = \sum_i \overline{a_{ij}}\, y_i .

    ``lo.ops.Sum`` sums over an axis of the input alone, and ``lo.ops.Broadcast`` makes new axes.

    References
    ----------
    * The documentation of ``numpy.einsum``.

    Examples
    --------
    >>> A = lo.ops.Einsum("ij,...j->...i", [[1.0, 2.0], [3.0, 4.0]])
    >>> A(jnp.ones((3, 2))).tolist()
    [[3.0, 7.0], [3.0, 7.0], [3.0, 7.0]]
    >>> A.H(jnp.ones(2)).tolist()
    [4.0, 6.0]
    """

    subscripts: str = lo.static()
    array: jax.Array

    def __init__(self, subscripts: str, array: Any):
        self.subscripts = str(subscripts).replace(" ", "")
        self.array = _arguments.as_field(array, "Einsum.array")
        _arguments.require_ndim(self.array, len(self._labels()[0]), "Einsum.array")

    @lo.traced
    def apply(self, x: Any) -> Any:
        return jnp.einsum(self.subscripts, self.array, x)

    @lo.traced
    def adjoint(self, y: Any) -> Any:
        a, x, result = self._labels()
        return jnp.einsum(f"{a},{result}->{x}", jnp.conj(self.array), y)

    def infer_shape(self, x: Any) -> Any:
        _, labels, result = self._labels()
        return self._exchanged(x, labels, result, "Einsum")

    def infer_adjoint_shape(self, y: Any) -> Any:
        _, labels, result = self._labels()
        return self._exchanged(y, result, labels, "Einsum.H")

    def _labels(self) -> tuple[str, str, str]:
        """The labels of the array, of the input and of the result."""
        match = FORM.fullmatch(self.subscripts)
        form = "expected 'labels of the array,labels of the input->labels of the result', as in 'ij,...j->...i'"
        self._require(match is not None, form)
        a, x, result = match.groups() if match else ("", "", "")
        for part in (a, x, result):
            letters = part.replace("...", "")
            self._require(len(set(letters)) == len(letters), f"a label is repeated in {part!r}")
        alone, new = _shown(set(x) - set(a + result)), _shown(set(result) - set(a + x))
        self._require(not alone, f"{alone} of the input must be in the array or in the result; lo.ops.Sum sums over it")
        self._require(not new, f"{new} of the result must be in the array or in the input")
        return a, x, result

    def _exchanged(self, x: Any, labels: str, new: str, where: str) -> Any:
        """Specs of an array with the labels ``new``, made of one with ``labels``."""
        _arguments.require_array(x, where)
        before, dots, after = labels.partition("...")
        named, ndim = len(before + after), len(x.shape)
        fits = ndim >= named if dots else ndim == named
        self._require(fits, f"{where} expects axes {labels!r}, found an array of shape {x.shape}")
        last = ndim - len(after)
        found = dict(zip(before + after, (*x.shape[: len(before)], *x.shape[last:]), strict=True))
        sizes = dict(zip(self._labels()[0], self.array.shape, strict=True))
        wrong = [label for label, size in found.items() if sizes.get(label, size) != size]
        expected = ", ".join(f"{sizes[label]} for {label!r}" for label in wrong)
        self._require(not wrong, f"{where} expects size {expected}, found an array of shape {x.shape} for {labels!r}")
        sizes |= found
        start, dots, end = new.partition("...")
        batch = x.shape[len(before) : last] if dots else ()
        shape = (*(sizes[label] for label in start), *batch, *(sizes[label] for label in end))
        return jax.ShapeDtypeStruct(shape, jnp.result_type(self.array.dtype, x.dtype))

    def _require(self, is_right: bool, otherwise: str) -> None:
        if not is_right:
            message = f"Einsum.subscripts is {self.subscripts!r}: {otherwise}."
            raise ValueError(message)

    @classmethod
    def examples(cls) -> Any:
        yield cls("ij,...j->...i", jnp.arange(6.0).reshape(2, 3)), jax.ShapeDtypeStruct((4, 3), jnp.float32)
        yield cls("kij,jk->ki", 1j * jnp.arange(6.0).reshape(1, 2, 3)), jax.ShapeDtypeStruct((3, 1), jnp.complex64)


def _shown(labels: set[str]) -> str:
    return ", ".join(repr("..." if label == "." else label) for label in sorted(labels))
