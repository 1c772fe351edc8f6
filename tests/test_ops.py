"""The ready-made operators against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import between_reals, close, conj, energy, like, normal, stack
from operators import CASES

import linops_jax as lo
from linops_jax import ops

DTYPES = [np.float32, np.float64, np.complex64, np.complex128]
CLASSES = [value for name in ops.__all__ if isinstance(value := getattr(ops, name), type)]
LINEAR = [cls for cls in CLASSES if issubclass(cls, lo.LinearOperator)]


def scaled(factor, tree):
    return jax.tree.map(lambda leaf: factor * leaf, tree)


def element(tree, i):
    return jax.tree.map(lambda leaf: leaf[i], tree)


def real_matrices(*functions_and_specs):
    """Over the reals, complex numbers as pairs; all from one compiled program."""
    pairs = [
        between_reals(function, jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), spec))
        for function, spec in functions_and_specs
    ]
    units = [np.eye(v.size, dtype=v.dtype) for _, v in pairs]
    return jax.jit(lambda units: [jax.vmap(g, 0, 1)(unit) for (g, _), unit in zip(pairs, units, strict=True)])(units)


def test_every_operator_has_examples():
    assert all(list(cls.examples()) for cls in CLASSES)


@pytest.mark.parametrize("cls", LINEAR, ids=lambda cls: cls.__name__)
def test_the_adjoint_is_the_transposed_matrix(cls):
    for op, spec in cls.examples():
        fixed = op.with_domain(spec)
        transpose = jax.linear_transpose(op, spec)
        back = lambda y, f=transpose: conj(f(conj(y))[0])  # noqa: E731
        matrix, adjoint, transposed = real_matrices((op, spec), (fixed.H, fixed.codomain), (back, fixed.codomain))
        close(adjoint, matrix.T)
        close(transposed, matrix.T)


@pytest.mark.parametrize("cls", LINEAR, ids=lambda cls: cls.__name__)
def test_vmap_is_a_loop(cls):
    def each(function, xs):
        return stack([function(element(xs, i)) for i in range(3)])

    for op, spec in cls.examples():
        fixed = op.with_domain(spec)
        xs, ys = like(spec, 1, lead=(3,)), like(fixed.codomain, 2, lead=(3,))

        @jax.jit
        def found(xs, ys, op=op, adjoint=fixed.H):
            twice = stack([xs, scaled(2, xs)], -1)
            return jax.vmap(op)(xs), jax.vmap(jax.vmap(op), -1, 1)(twice), jax.vmap(adjoint)(ys)

        @jax.jit
        def expected(xs, ys, op=op, adjoint=fixed.H):
            images = each(op, xs)
            return images, stack([images, scaled(2, images)], 1), each(adjoint, ys)

        close(found(xs, ys), expected(xs, ys))


@pytest.mark.parametrize("name", ["pytrees", "indices", "dense real"])
def test_identity_and_zero_on_pytrees(name):
    x = like(CASES[name].x, 1)
    zeros = jax.tree.map(jnp.zeros_like, x)
    close(lo.Identity()(x), x)
    close(lo.Identity().H(x), x)
    close(lo.Identity().T(x), x)
    close(lo.Zero()(x), zeros)
    close(jax.vmap(lo.Zero())(stack([x, x])), stack([zeros, zeros]))
    close(lo.Zero().with_domain(x).H(x), zeros)
    close((lo.Identity() - 0.5 * lo.Identity() + lo.Zero())(np.ones(3, np.float32)), jnp.full(3, 0.5))


def test_zero_with_a_shape():
    zero, x = lo.Zero((2, 5)), like(np.zeros(3, complex), 1)
    close(zero(x), jnp.zeros((2, 5), np.complex64))
    close(jax.vjp(zero, x)[1](jnp.ones((2, 5), np.complex64))[0], jnp.zeros(3, np.complex64))
    close(zero.with_domain(x).H(zero(x)), jnp.zeros(3, np.complex64))
    close(lo.Zero(())(x), jnp.zeros((), np.complex64))
    with pytest.raises(TypeError, match=r"Zero\.H\(y\) needs .*with_domain"):
        zero.H(zero(x))


# ---- Diagonal -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.complex128])
@pytest.mark.parametrize(
    ("d", "x"),
    [
        ((3,), (3,)),
        ((), (3,)),
        ((3,), (2, 3)),
        ((2, 1), (2, 3)),
        ((2, 1, 3), (2, 4, 3)),
        ((1,), (3,)),
        ((0,), (0,)),
    ],
    ids=str,
)
def test_diagonal_broadcasts(d, x, dtype, x64):
    d, x = normal(d, dtype, 1), normal(x, dtype, 2)
    close(lo.Diagonal(d)(x), jnp.asarray(d * x))
    y = normal((d * x).shape, dtype, 3)

    def everything(f, adjoint, d, x, y):
        gradient = jax.grad(lambda d, x: energy(f(d, x)), (0, 1))(d, x)
        return jax.vmap(f, (None, 0))(d, x[None]), adjoint(d, x, y), gradient

    def twin(d, x):
        return jnp.multiply(*jnp.broadcast_arrays(d, x))

    found = everything, lambda d, x: lo.Diagonal(d)(x), lambda d, x, y: lo.Diagonal(d).with_domain(x).H(y)
    expected = everything, twin, lambda d, x, y: jax.vjp(lambda x: twin(d.conj(), x), x)[1](y)[0]
    close(*(jax.jit(f, static_argnums=(0, 1))(*functions, d, x, y) for f, *functions in (found, expected)))


def test_diagonal_of_a_complex_on_a_real_array():
    d, x = normal((3,), np.complex64, 1), normal((3,), np.float32, 2)
    close(lo.Diagonal(d)(x), jnp.asarray(d * x))
    y = normal((3,), np.complex64, 3)
    close(lo.Diagonal(d).with_domain(x).H(y), jnp.asarray((d.conj() * y).real))
    close(lo.Diagonal(d).H(y), jnp.asarray(d.conj() * y))
    with pytest.raises(ValueError, match=r"[Ii]ncompatible shapes for broadcasting.*\(3,\).*\(4,\)"):
        lo.Diagonal(d)(np.ones(4))


@pytest.mark.parametrize(("d", "x"), [((3,), ()), ((2, 1), (3,)), ((2, 1, 3), (4, 1)), ((2, 3), (1, 3))], ids=str)
def test_diagonal_does_not_broadcast_its_input(d, x):
    """The adjoint could not know."""
    with pytest.raises(ValueError, match=r"Diagonal\.d has shape .*, which does not broadcast to that of the input"):
        lo.Diagonal(normal(d))(normal(x))


def test_second_derivatives_in_the_diagonal():
    d, x = like(np.zeros(3), 1), like(np.zeros(3), 2)
    close(jax.hessian(lambda d: energy(lo.Diagonal(d)(x)))(d), jax.hessian(lambda d: energy(d * x))(d))
    close(jax.jacfwd(lambda d: lo.Diagonal(d).H(x))(d), jnp.diag(x))


# ---- Matrix ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.complex128])
@pytest.mark.parametrize(
    ("matrix", "axes", "x", "einsum"),
    [
        ((2, 3), -1, (3,), "ij,j->i"),
        ((2, 3), -1, (4, 3), "ij,aj->ai"),
        ((2, 3), 0, (3, 4), "ij,ja->ia"),
        ((2, 3), (1,), (4, 3, 5), "ij,ajb->aib"),
        ((2, 3), -2, (4, 3, 5), "ij,ajb->aib"),
        ((2, 5, 3, 4), (0, 1), (3, 4), "ijkl,kl->ij"),
        ((2, 5, 3, 4), (-1, 0), (4, 6, 3), "ijkl,lak->jai"),
        ((2, 5, 3, 4), (1, -1), (6, 3, 4), "ijkl,akl->aij"),
    ],
)
def test_matrix_along_axes(matrix, axes, x, einsum, dtype, x64):
    m, x = normal(matrix, dtype, 1), normal(x, dtype, 2)
    op = lo.Matrix(m, axes=axes)
    y = np.einsum(einsum, m, x)
    close(op(x), jnp.asarray(y))
    left, right = einsum.split("->")
    back = f"{left.split(',')[0]},{right}->{left.split(',')[1]}"
    z = normal(y.shape, dtype, 3)
    close(op.H(z), jnp.asarray(np.einsum(back, m.conj(), z)))
    close(op.T(z), jnp.asarray(np.einsum(back, m, z)))
    close(jax.linear_transpose(op, jax.eval_shape(lambda: x))(z)[0], jnp.asarray(np.einsum(back, m, z)))
    close(jax.jit(jax.vmap(op, -1, 1))(x[..., None]), jnp.expand_dims(jnp.asarray(y), 1))


def test_derivatives_in_the_matrix():
    m, x = like(np.zeros((2, 3), complex), 1), like(np.zeros((4, 3), complex), 2)
    gradient = lambda f: jax.grad(lambda m: energy(f(m)))(m)  # noqa: E731
    close(gradient(lambda m: lo.Matrix(m)(x)), gradient(lambda m: x @ m.T))
    close(gradient(lambda m: lo.Matrix(m).H(x[:, :2])), gradient(lambda m: x[:, :2] @ m.conj()))
    tangents = lambda f: jax.jvp(f, (m,), (1j * m + 2,))  # noqa: E731
    close(tangents(lambda m: lo.Matrix(m, 0)(x.T)), tangents(lambda m: m @ x.T))
    many = stack([m, 2 * m])
    close(jax.vmap(lambda m: lo.Matrix(m)(x))(many), jnp.stack([x @ m.T, 2 * x @ m.T]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: lo.Matrix(np.ones((2, 3, 4))),
            r"Matrix\.matrix has shape \(2, 3, 4\); along 1 axes \(-1,\) it needs 2",
        ),
        (lambda: lo.Matrix(np.ones((2, 3)), axes=(0, 1)), r"along 2 axes \(0, 1\) it needs 4 axes"),
        (lambda: lo.Matrix(np.ones((2, 3)))(np.ones(4)), r"contracts axes of sizes \(3,\), found \(4,\) in \(4,\)"),
        (
            lambda: lo.Matrix(np.ones((2, 3)), 2)(np.ones((3, 3))),
            r"Matrix\.axes \(2,\) are not distinct axes of .*\(3, 3\)",
        ),
        (lambda: lo.Matrix(np.ones((2, 2, 3, 3)), (0, -2))(np.ones((3, 3))), r"\(0, -2\) are not distinct axes"),
        (lambda: lo.Matrix(np.ones((2, 3))).H(np.ones(3)), r"contracts axes of sizes \(2,\), found \(3,\)"),
        (lambda: lo.FFT(norm="unitary"), r"FFT\.norm is 'unitary'; expected one of 'ortho', 'backward', 'forward'"),
        (lambda: lo.FFT(axes=2)(np.ones((3, 3))), r"FFT\.axes \(2,\) are not distinct axes of .*\(3, 3\)"),
        (lambda: lo.FFT(axes=(0, -2))(np.ones((3, 3))), r"FFT\.axes \(0, -2\) are not distinct axes"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# ---- FFT ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "norm"),
    [
        *((dtype, "ortho") for dtype in DTYPES),
        (np.float32, "forward"),
        (np.complex128, "forward"),
        (np.complex64, "backward"),
    ],
)
@pytest.mark.parametrize("axes", [None, 0, -1, (0, 2), (2, 0), (-2, -1)])
def test_fft(axes, dtype, norm, x64):
    x, y = normal((2, 3, 4), dtype, 1), normal((2, 3, 4), np.result_type(dtype, np.complex64), 2)
    op, along = lo.FFT(axes, norm), (axes,) if isinstance(axes, int) else axes
    inverse_norm = {"ortho": "ortho", "backward": "forward", "forward": "backward"}[norm]
    adjoint = lambda y: jnp.asarray(np.fft.ifftn(y, axes=along, norm=inverse_norm))  # noqa: E731
    part = (lambda z: z) if np.iscomplexobj(x) else jnp.real
    expected = jnp.asarray(np.fft.fftn(x, axes=along, norm=norm))
    np.testing.assert_allclose(np.vdot(y, expected), np.vdot(adjoint(y), x), rtol=1e-4)
    close(op(x), expected)
    close(op.H(y), adjoint(y))
    close(op.with_domain(x).H(y), part(adjoint(y)))
    close(jax.vjp(op, x)[1](y)[0], part(adjoint(y.conj()).conj()))
    close(jax.vmap(op, 1, -1)(jnp.stack([x, 2 * x], 1)), jnp.stack([expected, 2 * expected], -1))


def test_fft_is_orthonormal_by_default():
    x = like(np.zeros((4, 5), complex), 1)
    close((lo.FFT().H @ lo.FFT())(x), x)
    close(lo.FFT()(x), jnp.asarray(np.fft.fftn(x, norm="ortho")))


@pytest.mark.parametrize("axes", [None, 0, (-1,), (1, 0)])
def test_fft_under_transformations(axes):
    op, twin = lo.FFT(axes), lambda x: jnp.fft.fftn(x, axes=(axes,) if isinstance(axes, int) else axes, norm="ortho")
    run = lambda f, x: jax.grad(lambda x: energy(f(x)))(x)  # noqa: E731
    for dtype in (np.float32, np.complex64):
        xs, wide = like(np.zeros((3, 2, 4), dtype), 1), like(np.zeros((2, 3, 2, 4), dtype), 2)

        def everything(f, xs, wide):
            return (
                jax.vmap(lambda x: run(f, x), 0, -1)(xs),
                run(jax.vmap(jax.vmap(f, 1), 2, -1), wide),
                jax.hessian(lambda v: energy(f(v[None] + xs[0])))(jnp.ones(4)),
            )

        found, expected = (jax.jit(everything, static_argnums=0)(f, xs, wide) for f in (op.__call__, twin))
        close(found, expected)
