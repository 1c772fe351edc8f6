"""Functions for the functional interface, each with a twin in JAX, and natively batched versions of them."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from helpers import normal

import linops_jax as lo


@dataclasses.dataclass(frozen=True)
class Case:
    """One function in three forms: looped over by vmap, natively batched, and the twin."""

    make: Callable[..., Any]  # of wrap(function) and abstract(function), see PLAIN and natively()
    twin: Callable[..., list[Any]]
    shapes: Sequence[tuple[int, ...]]
    fixed: tuple[int, ...] = ()
    linear: bool = False
    keywords: dict[str, Any] = dataclasses.field(default_factory=dict)

    def arguments(self, dtype=np.float32, seed=0):
        return [jnp.asarray(normal(shape, dtype, seed + i)) for i, shape in enumerate(self.shapes)]

    @property
    def free(self):
        return tuple(i for i in range(len(self.shapes)) if i not in self.fixed)


def spec(array):
    return array.shape, array.dtype


# ---- f(x, y) = [W x + c y, y_0 x]: linear in both together, with another number of outputs in reverse --------------------

W = normal((2, 3), np.complex128, 99)


def weights(dtype):
    return W.astype(dtype) if np.issubdtype(dtype, np.complexfloating) else W.real.astype(dtype)


def pair(out, args, kwargs_dump):
    (x, y), c = args, lo.load_kwargs(kwargs_dump)["c"]
    out[0][...] = weights(x.dtype) @ x + c * y
    out[1][...] = x[::-1]
    out[2][...] = y.sum()


def pair_T(out, args, kwargs_dump):
    (u, v, w), c = args, lo.load_kwargs(kwargs_dump)["c"]
    out[0][...] = weights(u.dtype).T @ u + v[::-1]
    out[1][...] = c * u + w


def pair_abstract(x, y, *, c):
    return (y.shape, x.dtype), spec(x), ((), y.dtype)


def pair_abstract_T(u, v, w, *, c):
    return spec(v), spec(u)


def pair_twin(x, y, *, c):
    return [weights(x.dtype) @ x + c * y, x[::-1], y.sum()]


# ---- f(d, x) = [d x, sum(d^2) x]: linear in x, d fixed ---------------------------------------------------------------


def scaled(out, args, kwargs_dump):
    d, x = args
    out[0][...] = d * x
    out[1][...] = np.sum(d**2) * x


def scaled_T(out, args, kwargs_dump):
    d, u, v = args
    out[0][...] = d * u + np.sum(d**2) * v


def scaled_abstract(d, x):
    return spec(x), spec(x)


def scaled_abstract_T(d, u, v):
    return (spec(u),)


def scaled_twin(d, x):
    return [d * x, jnp.sum(d**2) * x]


# ---- f(a, x, y, z) = [a x y_0 z, sum(x) sum(z) y]: linear in each of x, y, z, a fixed -----------------------------------


def trilinear(out, args, kwargs_dump):
    a, x, y, z = args
    out[0][...] = a * x * y[0] * z
    out[1][...] = x.sum() * z.sum() * y


def trilinear_x(out, args, kwargs_dump):
    a, y, z, u, v = args
    out[0][...] = a * u * y[0] * z + (v * y).sum() * z.sum()


def trilinear_y(out, args, kwargs_dump):
    a, x, z, u, v = args
    out[0][...] = x.sum() * z.sum() * v
    out[0][0] += (a * u * x * z).sum()


def trilinear_z(out, args, kwargs_dump):
    a, x, y, u, v = args
    out[0][...] = a * u * x * y[0] + (v * y).sum() * x.sum()


def trilinear_abstract(a, x, y, z):
    return spec(x), spec(y)


def trilinear_twin(a, x, y, z):
    return [a * x * y[0] * z, x.sum() * z.sum() * y]


# ---- f(x, p, y) = [p x y^2, sum(x^3)]: nonlinear, p fixed in the middle ------------------------------------------------


def cubic(out, args, kwargs_dump):
    x, p, y = args
    out[0][...] = p * x * y**2
    out[1][...] = (x**3).sum()


def cubic_jvp(out, args, kwargs_dump):
    x, p, y, dx, dy = args
    out[0][...] = p * (y**2 * dx + 2 * x * y * dy)
    out[1][...] = (3 * x**2 * dx).sum()


def cubic_vjp(out, args, kwargs_dump):
    x, p, y, u, v = args
    out[0][...] = p * y**2 * u + 3 * x**2 * v
    out[1][...] = 2 * p * x * y * u


def cubic_hessian(out, args, kwargs_dump):
    x, p, y, dx1, dy1, dx2, dy2 = args
    out[0][...] = 2 * p * (y * (dx1 * dy2 + dx2 * dy1) + x * dy1 * dy2)
    out[1][...] = (6 * x * dx1 * dx2).sum()


def cubic_hessian_T(out, args, kwargs_dump):
    x, p, y, dx, dy, u, v = args
    out[0][...] = 2 * p * y * dy * u + 6 * x * dx * v
    out[1][...] = 2 * p * (y * dx + x * dy) * u


def cubic_abstract(x, p, y, *tangents):
    return spec(x), ((), x.dtype)


def cubic_abstract_reverse(x, p, y, *others):
    return spec(x), spec(y)


def cubic_twin(x, p, y):
    return [p * x * y**2, (x**3).sum()]


# ---- the same with a state: the slopes, and a number that nobody differentiates -------------------------------------------


def cubic_linearize(out, args, kwargs_dump):
    x, p, y = args
    product, total, in_x, in_y, of_total, steps = out
    in_x[...], in_y[...], of_total[...], steps[...] = p * y**2, 2 * p * x * y, 3 * x**2, 7
    product[...], total[...] = in_x * x, (x**3).sum()


def cubic_state(x, p, y):
    return spec(x), spec(y), spec(x), ((), np.int32)


def cubic_jvp_with_state(out, args, kwargs_dump):
    _, _, _, in_x, in_y, of_total, steps, dx, dy = args
    assert steps == 7
    out[0][...] = in_x * dx + in_y * dy
    out[1][...] = (of_total * dx).sum()


def cubic_vjp_with_state(out, args, kwargs_dump):
    _, _, _, in_x, in_y, of_total, steps, u, v = args
    assert steps == 7
    out[0][...] = in_x * u + of_total * v
    out[1][...] = in_y * u


def cubic_hessian_with_state(out, args, kwargs_dump):
    cubic_hessian(out, [*args[:3], *args[7:]], kwargs_dump)


def cubic_hessian_T_with_state(out, args, kwargs_dump):
    cubic_hessian_T(out, [*args[:3], *args[7:]], kwargs_dump)


# ---- natively batched ------------------------------------------------------------------------------------------------


def plain(function):
    return function


class Place:
    """Where a natively batched function puts the axis of one more vmap in an array of ``rank`` axes."""

    front = staticmethod(lambda rank: 0)
    back = staticmethod(lambda rank: rank)
    second = staticmethod(lambda rank: min(1, rank))


def natively(place):
    """(wrap, describe): what turns a function and its abstract into ones that take ``batch_axes`` literally."""

    def positions(rank, axes):
        """Of the batch axes in the output, innermost first."""
        labels = list(range(rank))
        for axis in range(axes):
            labels.insert(place(rank + axis), -1 - axis)
        return [labels.index(-1 - axis) for axis in range(axes)]

    def wrap(function):
        if function is None:
            return None

        def batched(out, args, kwargs_dump):
            kwargs = lo.load_kwargs(kwargs_dump)
            batch_axes = kwargs.pop("batch_axes")
            if batch_axes is None:
                function(out, args, kwargs)
                return
            assert len(batch_axes) == len(args)
            assert all(array.flags.c_contiguous for array in (*out, *args))
            axes = max(map(len, batch_axes))
            args = [np.moveaxis(x, own, range(len(own))) for x, own in zip(args, batch_axes, strict=True)]
            outs = [np.moveaxis(y, positions(y.ndim - axes, axes), range(axes)) for y in out]
            for index in np.ndindex(outs[0].shape[:axes]):
                inner = [x[index] if own else x for x, own in zip(args, batch_axes, strict=True)]
                function([y[(*index, ...)] for y in outs], inner, kwargs)

        return batched

    def describe(abstract):
        if abstract is None:
            return None

        def batched(*specs, batch_axes, **kwargs):
            if batch_axes is None:
                return abstract(*specs, **kwargs)
            axes = max(map(len, batch_axes))
            assert all(len(own) in (0, axes) for own in batch_axes)
            sizes = next([x.shape[i] for i in own] for x, own in zip(specs, batch_axes, strict=True) if own)
            inner = [
                jax.ShapeDtypeStruct([n for i, n in enumerate(x.shape) if i not in own], x.dtype)
                for x, own in zip(specs, batch_axes, strict=True)
            ]
            answer = []
            for shape, dtype in abstract(*inner, **kwargs):
                shape, at = list(shape), 0
                for size in sizes:
                    at = place(len(shape))
                    shape.insert(at, size)
                answer.append((tuple(shape), dtype, at))
            return tuple(answer)

        return batched

    return wrap, describe


PLAIN = plain, plain
NATIVE = {name: natively(getattr(Place, name)) for name in ("front", "back", "second")}


def make_pair(form=PLAIN):
    wrap, describe = form
    functions = wrap(pair), wrap(pair_T), describe(pair_abstract), describe(pair_abstract_T)
    return lo.get_linear_call(*functions, func_can_batch=form is not PLAIN)


def make_scaled(form=PLAIN):
    wrap, describe = form
    functions = wrap(scaled), wrap(scaled_T), describe(scaled_abstract), describe(scaled_abstract_T)
    return lo.get_linear_call(*functions, first_n_args_fixed=1, func_can_batch=form is not PLAIN)


def make_trilinear(form=PLAIN):
    wrap, describe = form
    return lo.get_linear_call(
        wrap(trilinear),
        (None, *map(wrap, (trilinear_x, trilinear_y, trilinear_z))),
        describe(trilinear_abstract),
        (None, *map(describe, TRILINEAR_ABSTRACT_T)),
        first_n_args_fixed=1,
        func_can_batch=form is not PLAIN,
    )


def trilinear_abstract_x(a, y, z, u, v):
    return (spec(u),)


def trilinear_abstract_y(a, x, z, u, v):
    return (spec(v),)


def trilinear_abstract_z(a, x, y, u, v):
    return (spec(u),)


TRILINEAR_ABSTRACT_T = trilinear_abstract_x, trilinear_abstract_y, trilinear_abstract_z


def make_cubic(form=PLAIN, hessian=True):
    wrap, describe = form
    return lo.get_nonlinear_call(
        wrap(cubic),
        (wrap(cubic_jvp), wrap(cubic_vjp)),
        describe(cubic_abstract),
        describe(cubic_abstract_reverse),
        fixed_args=(1,),
        func_can_batch=form is not PLAIN,
        hessian=(wrap(cubic_hessian), wrap(cubic_hessian_T)) if hessian else None,
    )


def make_cubic_with_state(form=PLAIN):
    wrap, describe = form
    return lo.get_nonlinear_call(
        wrap(cubic),
        (wrap(cubic_jvp_with_state), wrap(cubic_vjp_with_state)),
        describe(cubic_abstract),
        describe(cubic_abstract_reverse),
        fixed_args=(1,),
        func_can_batch=form is not PLAIN,
        hessian=(wrap(cubic_hessian_with_state), wrap(cubic_hessian_T_with_state)),
        linearize=(wrap(cubic_linearize), describe(cubic_state)),
    )


CASES = {
    "pair": Case(make_pair, pair_twin, [(3,), (2,)], linear=True, keywords={"c": 2.0}),
    "fixed": Case(make_scaled, scaled_twin, [(3,), (3,)], fixed=(0,), linear=True),
    "trilinear": Case(make_trilinear, trilinear_twin, [(3,), (3,), (2,), (3,)], fixed=(0,)),
    "nonlinear": Case(make_cubic, cubic_twin, [(3,), (3,), (3,)], fixed=(1,)),
    "with state": Case(make_cubic_with_state, cubic_twin, [(3,), (3,), (3,)], fixed=(1,)),
}
