"""Einsum against that of NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import S, agree, close, energy, like, normal

import linops_jax as lo
from linops_jax.ops._einsum import Einsum

F, C = np.float32, np.complex64


def case(subscripts, array, shape, of_array=F, dtype=F):
    a = normal(array, of_array, 7)
    wide = np.result_type(of_array, dtype)
    return Einsum(subscripts, a), lambda x: np.einsum(subscripts, a.astype(wide), x.astype(wide)), shape, dtype


def test_einsum_is_that_of_numpy():
    agree(
        case("ij,j->i", (2, 3), (3,)),
        case("ij,...j->...i", (2, 3), (4, 3), C, C),
        case("ij,...j->...i", (2, 3), (4, 5, 3)),
        case("ij,j...->i...", (2, 3), (3, 4), C, F),
        case("ij,a...j->...ia", (2, 3), (4, 5, 3), F, C),
        case("bij,bj->bi", (4, 2, 3), (4, 3), C, C),
        case("ijk,jk->i", (2, 3, 4), (3, 4)),
        case("i,->i", (3,), (), F, C),
        case("i,j->ij", (3,), (2,), C, C),
        case("ijk,j->i", (2, 3, 4), (3,)),  # k is a label of the array alone
        case("i,ij->ji", (2,), (2, 3)),
        case("ij , j -> i", (1, 1), (1,)),
    )


def test_double_precision(x64):
    agree(case("ij,j->i", (2, 3), (3,), np.float64, np.float64), case("ij,j->i", (2, 3), (3,), F, np.complex128))


def test_the_adjoint_knows_its_domain_and_the_array_has_derivatives():
    a, x = like(S((4, 2, 3), C), 1), like(S((4, 3), C), 2)
    f = lambda a, x: jnp.einsum("bij,bj->bi", a, x)  # noqa: E731
    y = f(a, x)
    close(Einsum("bij,bj->bi", a).H(y), jnp.einsum("bij,bi->bj", a.conj(), y))

    def everything(f, back):
        return jax.grad(lambda a, x: energy(f(a, x)), (0, 1))(a, x), jax.grad(lambda a: energy(back(a)))(a)

    found = everything(lambda a, x: Einsum("bij,bj->bi", a)(x), lambda a: Einsum("bij,bj->bi", a).H(y))
    close(found, everything(f, lambda a: jnp.einsum("bij,bi->bj", a.conj(), y)))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Einsum("ij,j", np.ones((2, 3))), r"Einsum\.subscripts is 'ij,j': expected 'labels of the array,"),
        (lambda: Einsum(np.ones(2), "i,i->i"), r"Einsum\.subscripts is '\[1\.1\.\]': expected 'labels of the array,"),
        (lambda: Einsum("...j,j->j", np.ones(3)), r"Einsum\.subscripts is .* expected 'labels of the array,"),
        (lambda: Einsum("ii,i->i", np.ones((2, 2))), r"a label is repeated in 'ii'"),
        (lambda: Einsum("i,jj->ij", np.ones(2)), r"a label is repeated in 'jj'"),
        (
            lambda: Einsum("i,ij->i", np.ones(2)),
            r"'j' of the input must be in the array or in the result; lo\.ops\.Sum",
        ),
        (lambda: Einsum("i,...i->i", np.ones(2)), r"'\.\.\.' of the input must be in the array or in the result"),
        (lambda: Einsum("i,i->ik", np.ones(2)), r"'k' of the result must be in the array or in the input"),
        (lambda: Einsum("i,i->...i", np.ones(2)), r"'\.\.\.' of the result must be in the array or in the input"),
        (lambda: Einsum("ij,j->i", np.ones(2)), r"Einsum\.array has shape \(2,\); expected 2 axes"),
        (
            lambda: Einsum("ij,j->i", np.ones((2, 3)))(np.ones(4)),
            r"Einsum expects size 3 for 'j', found an array of shape \(4,\)",
        ),
        (lambda: Einsum("ij,j->i", np.ones((2, 3)))(np.ones((4, 3))), r"Einsum expects axes 'j', found .* \(4, 3\)"),
        (
            lambda: Einsum("ij,...jk->...ik", np.ones((2, 3)))(np.ones(3)),
            r"Einsum expects axes '\.\.\.jk', found .* \(3,\)",
        ),
        (
            lambda: Einsum("ij,j->i", np.ones((2, 3))).H(np.ones(3)),
            r"Einsum\.H expects size 2 for 'i', found .* \(3,\)",
        ),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_wrong_types():
    with pytest.raises(TypeError, match=r"Einsum\.array expects an array, found \[Identity"):
        Einsum("i,i->i", [lo.Identity()])
    with pytest.raises(TypeError, match=r"Einsum takes one array, found tuple"):
        Einsum("i,i->i", np.ones(2))((np.ones(2), np.ones(2)))
