"""Hooks that find their input and their result in the same memory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import close, energy, normal
from jax import export
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import linops_jax as lo

pytestmark = pytest.mark.newest


class Log(list):
    __hash__ = object.__hash__


class Twist(lo.LinearOperator):
    """Running sums of w x; notes whether input and result were the same memory."""

    shared: list = lo.static()
    w: jax.Array

    @lo.in_place
    def apply(self, x, *, out):
        self.shared.append(np.shares_memory(x, out))
        np.multiply(x, self.w, out=out)
        np.cumsum(out, axis=-1, out=out)

    @lo.in_place
    def adjoint(self, y, *, out):
        self.shared.append(np.shares_memory(y, out))
        out[..., ::-1] = np.cumsum(y[..., ::-1], axis=-1)
        out *= np.conj(self.w)

    def infer_shape(self, x):
        return x

    def infer_adjoint_shape(self, y):
        return y


class Batched(Twist, batched=True):
    pass


W, X = jnp.asarray(normal((5,), np.float32)), jnp.asarray(normal((5,), np.float32, 1))


def twin(w, x):
    return jnp.cumsum(jnp.multiply(*jnp.broadcast_arrays(w, x)), -1)


def make(cls=Twist):
    log = Log()
    return cls(log, W), log


def test_eager_calls_leave_their_input_alone():
    op, log = make()
    before = np.array(X)
    close(op(X), twin(W, X))
    close(op.H(X), jax.vjp(lambda x: twin(W, x), X)[1](X)[0])
    np.testing.assert_array_equal(X, before)
    assert log == [True, True]


def test_a_donated_argument_becomes_the_result():
    op, log = make()
    x = X + 0
    pointer, expected = x.unsafe_buffer_pointer(), twin(W, x)
    y = jax.jit(op, donate_argnums=0)(x)
    assert y.unsafe_buffer_pointer() == pointer
    assert x.is_deleted()
    assert log == [True]
    close(y, expected)


def test_loops_need_no_second_array():
    x = jnp.ones(100_000)

    def temporary_bytes(op):
        run = jax.jit(lambda op, x: jax.lax.fori_loop(0, 10, lambda i, x: op(x), x), donate_argnums=1)
        return run.lower(op, x).compile().memory_analysis().temp_size_in_bytes

    class Apart(Twist):
        def apply(self, x, *, out):
            np.multiply(x, self.w, out=out)

    assert temporary_bytes(Twist(Log(), jnp.ones(100_000))) < x.nbytes / 10
    assert temporary_bytes(Apart(Log(), jnp.ones(100_000))) >= x.nbytes


def test_an_input_that_is_still_needed_is_copied():
    op, log = make()
    close(jax.jit(lambda x: op(x) + x)(X), twin(W, X) + X)
    close(jax.jit(lambda x: (op(x), op.H(x)))(X)[0], twin(W, X))
    assert all(log)


@pytest.mark.parametrize("cls", [Twist, Batched])
def test_batches_and_derivatives(cls):
    op, log = make(cls)
    xs = jnp.asarray(normal((3, 5), np.float32))
    close(jax.jit(jax.vmap(op), donate_argnums=0)(xs + 0), twin(W, xs))
    close(jax.jit(jax.grad(lambda xs: energy(jax.vmap(op)(xs))))(xs), jax.grad(lambda xs: energy(twin(W, xs)))(xs))
    assert all(log)
    log.clear()
    ws = jnp.asarray(normal((3, 5), np.float32, 1))
    close(jax.vmap(lambda w: cls(log, w)(X))(ws), twin(ws, X))  # one input, three results
    assert not any(log)
    lo.check_operator(op, X)


def test_an_input_for_all_of_a_batch_is_not_overwritten_by_its_first_element():
    """Even where input and result look alike: 3 weights for one input of shape (3, 5)."""

    class Weighted(lo.LinearOperator):
        w: jax.Array

        @lo.in_place
        def apply(self, x, *, out):
            out[...] = self.w @ x

        adjoint = None

        def infer_shape(self, x):
            return jax.ShapeDtypeStruct(x.shape[1:], x.dtype)

    ws, x = jnp.asarray(normal((3, 3), np.float32)), jnp.asarray(normal((3, 5), np.float32, 1))
    close(jax.jit(jax.vmap(lambda w: Weighted(w)(x)))(ws), ws @ x)


class Square(lo.NonlinearOperator):
    """x², with a derivative that reads x when the result is written already."""

    def apply(self, x):
        return x**2

    @lo.in_place
    def jacobian_apply(self, x, dx, *, out):
        np.multiply(dx, 2, out=out)
        out *= x

    @lo.in_place
    def jacobian_adjoint(self, x, dy, *, out):
        self.jacobian_apply(x, dy, out=out)

    def infer_shape(self, x):
        return x


def test_one_array_as_two_arguments():
    """Only the last one may be overwritten."""
    for function in (lambda x: jax.jvp(Square(), (x,), (x,))[1], lambda x: jax.vjp(Square(), x)[1](x)[0]):
        close(jax.jit(function)(X), 2 * X**2)
        close(jax.jit(function, donate_argnums=0)(X + 0), 2 * X**2)


class Pair(lo.NonlinearOperator):
    """(u, v) -> (u^2, sin v), or v^2 of another dtype."""

    shared: list = lo.static()
    wide: bool = lo.static(default=False)

    @lo.in_place
    def apply(self, x, *, out):
        self.shared.append([np.shares_memory(a, b) for a, b in zip(x, out, strict=True)])
        np.square(x[0], out=out[0])
        np.sin(x[1], out=out[1])

    @lo.in_place
    def jacobian_apply(self, x, dx, *, out):
        self.shared.append([np.shares_memory(a, b) for a, b in zip(dx, out, strict=True)])
        np.multiply(dx[0], 2 * x[0], out=out[0])
        np.multiply(dx[1], np.cos(x[1]), out=out[1])

    @lo.in_place
    def jacobian_adjoint(self, x, dy, *, out):
        self.jacobian_apply(x, dy, out=out)

    def infer_shape(self, x):
        u, v = x
        return u, jax.ShapeDtypeStruct(v.shape, np.complex64 if self.wide else v.dtype)


def test_containers_and_nonlinear_operators():
    log = Log()
    op, x = Pair(log), (X, W)
    for found, expected in zip(jax.jit(op)(x), (X**2, jnp.sin(W)), strict=True):
        close(found, expected)
    gradient = jax.jit(jax.grad(lambda x: energy(op(x))))(x)
    for found, expected in zip(gradient, jax.grad(lambda x: energy((x[0] ** 2, jnp.sin(x[1]))))(x), strict=True):
        close(found, expected)
    assert all(all(each) for each in log)
    lo.check_operator(op, x)
    log.clear()
    close(Pair(log, wide=True)(x)[1], jnp.sin(W).astype(np.complex64))
    assert log == [[False, False]]


def test_sharded_batches_and_export():
    op, _ = make()
    mesh = jax.make_mesh((4,), ("i",), axis_types=(AxisType.Auto,))
    x = jnp.asarray(normal((8, 5), np.float32))
    xs = jax.device_put(x, NamedSharding(mesh, P("i")))
    close(jax.jit(jax.vmap(op))(xs), twin(W, x))
    close(jax.jit(jax.shard_map(jax.vmap(op), mesh=mesh, in_specs=P("i"), out_specs=P("i")))(xs), twin(W, x))
    plain = export.export(jax.jit(InPlace()), disabled_checks=lo.export_checks())(X)
    close(export.deserialize(plain.serialize()).call(X), 2 * X)


class InPlace(lo.LinearOperator, symmetric=True):
    @lo.in_place
    def apply(self, x, *, out):
        np.multiply(x, 2, out=out)

    def infer_shape(self, x):
        return x


def test_what_cannot_work_in_place():
    with pytest.raises(TypeError, match=r"lo\.in_place marks a hook that fills out, .*, not .*returning"):

        @lo.in_place
        def returning(self, x):
            return x

    with pytest.raises(TypeError, match=r"not traced code\. Of traced code XLA decides itself"):
        lo.in_place(lo.traced(lambda self, x: x))
    with pytest.raises(TypeError, match="not int"):
        lo.in_place(3)


def test_a_hook_that_reads_what_it_has_overwritten_is_found():
    class Shift(lo.LinearOperator):
        @lo.in_place
        def apply(self, x, *, out):
            out[0] = 0
            for i in range(1, x.size):
                out[i] = x[i - 1]

        def adjoint(self, y):
            return np.append(y[1:], y.dtype.type(0))

        def infer_shape(self, x):
            return x

    with pytest.raises(AssertionError, match=r"Shift\.apply by hand and through JAX: they differ"):
        lo.check_operator(Shift(), X)
