"""The class statement: what it accepts, what it refuses, what it leaves behind."""

import jax
import numpy as np
import pytest
from jax.interpreters import ad

import linops_jax as lo


def same(self, x):
    return x


def linear(name="Blur", bases=(lo.LinearOperator,), keywords=None, **namespace):
    """A class statement as data."""
    hooks = {"apply": same, "adjoint": same, "infer_shape": same, "__module__": __name__, "__qualname__": name}
    return type(lo.LinearOperator)(name, bases, {**hooks, **namespace}, **(keywords or {}))


class Holder:
    @staticmethod
    def static_apply(x):
        return x


@pytest.mark.parametrize(
    ("namespace", "message"),
    [
        ({"apply": lambda self: 0}, r"Blur\.apply must accept \(self, x\).*too many positional arguments"),
        (
            {"apply": lambda self, x, scale: 0},
            r"Blur\.apply must accept \(self, x\).*missing a required argument: 'scale'",
        ),
        (
            {"apply": lambda self, x, out: 0},
            r"Blur\.apply takes out as a positional argument: write `def apply\(self, x, \*, out\)`",
        ),
        ({"apply": lambda self, x, out=None: 0}, r"Blur\.apply takes out as a positional argument"),
        ({"apply": property(same)}, r"Blur\.apply must be a plain method `def apply\(self, x\)`, not property"),
        ({"apply": staticmethod(Holder.static_apply)}, r"Blur\.apply must be a plain method .* not staticmethod"),
        ({"apply": classmethod(same)}, r"Blur\.apply must be a plain method .* not classmethod"),
        ({"apply": np.cumsum}, r"Blur\.apply must be a plain method"),
        ({"apply": None}, r"Blur\.apply = None is not possible: only adjoint"),
        ({"infer_shape": lambda self: 0}, r"Blur\.infer_shape must accept \(self, x\)"),
        ({"parameter_vjp": lambda self, x: 0}, r"Blur\.parameter_vjp must accept \(self, x, dy\)"),
        ({"__annotations__": {"domain": jax.Array}}, r"Blur\.domain: operators use this name themselves"),
        ({"keywords": {"batch": True}}, r"class Blur: unknown keyword batch\. Operators know adjoint_rtol, batched"),
    ],
)
def test_class_statement_refuses_and_leaves_nothing_behind(namespace, message):
    before = len(ad.primitive_jvps), len(ad.primitive_transposes)
    with pytest.raises(TypeError, match=message):
        linear(**namespace)
    assert (len(ad.primitive_jvps), len(ad.primitive_transposes)) == before


def test_a_traced_hook_cannot_fill():
    with pytest.raises(TypeError, match=r"Blur\.apply is traced: JAX arrays cannot be filled in place"):
        linear(apply=lo.traced(lambda self, x, *, out: None))


def test_traced_marks_functions_only():
    with pytest.raises(TypeError, match=r"lo\.traced marks a plain method, not property"):
        lo.traced(property(same))


def test_missing_hooks_make_the_class_abstract():
    class Half(lo.LinearOperator):
        def apply(self, x):
            return x

    with pytest.raises(TypeError, match=r"abstract class Half .*adjoint.*infer_shape"):
        Half()

    class Forward(lo.NonlinearOperator):
        def apply(self, x):
            return x

        infer_shape = apply

    with pytest.raises(TypeError, match=r"abstract class Forward .*jacobian_adjoint.*jacobian_apply"):
        Forward()


def test_hooks_are_left_as_they_were_written():
    cls = linear()
    assert cls.apply is same
    assert cls().apply(3) == 3


def test_hooks_are_inherited_overridden_and_reach_super():
    class Base(lo.LinearOperator):
        def apply(self, x):
            return 2 * x

        adjoint = apply
        infer_shape = same

    class Triple(Base):
        def apply(self, x):
            return 1.5 * super().apply(x)

        adjoint = apply

    x = np.ones(3, np.float32)
    np.testing.assert_array_equal(Base()(x), 2 * x)
    np.testing.assert_array_equal(Triple()(x), 3 * x)
    np.testing.assert_array_equal(jax.grad(lambda x: Triple()(x).sum())(x), 3 * x)


def test_a_cell_may_be_run_again():
    def cell(factor):
        class Scale(lo.LinearOperator):
            def apply(self, x):
                return factor * x

            adjoint = apply
            infer_shape = same

        return Scale()

    x = np.ones(3, np.float32)
    first, second = cell(2), cell(3)
    compiled = jax.jit(first)
    np.testing.assert_array_equal(compiled(x), 2 * x)
    np.testing.assert_array_equal(jax.jit(second)(x), 3 * x)
    np.testing.assert_array_equal(compiled(x), 2 * x)


def test_class_keywords_are_inherited():
    class Parent(linear(), batched=True, adjoint_rtol=1e-3):
        pass

    class Child(Parent, real_linear=True):
        pass

    assert (Child._traits.batched, Child._traits.adjoint_rtol, Child._traits.real_linear) == (True, 1e-3, True)


def test_with_a_traced_apply_everything_else_is_derived():
    class Square(lo.NonlinearOperator):
        scale: jax.Array

        @lo.traced
        def apply(self, x):
            return self.scale * x**2

    class Shear(lo.LinearOperator):
        s: jax.Array

        @lo.traced
        def apply(self, x):
            return x + self.s * x[::-1]

    x = np.arange(1.0, 4.0, dtype=np.float32)
    lo.check_operator(Square(np.float32(3.0)), x)
    lo.check_operator(Shear(np.float32(0.5)), x)
    np.testing.assert_allclose(jax.hessian(lambda x: Square(np.float32(3.0))(x).sum())(x), 6 * np.eye(3), rtol=1e-6)
    gradient = jax.grad(lambda s: (Square(s)(x) ** 2).sum())(np.float32(3.0))
    np.testing.assert_allclose(gradient, 2 * 3 * (x**4).sum(), rtol=1e-6)
    with pytest.raises(TypeError, match=r"Shear\.H\(y\) needs to know the shape.*infer_adjoint_shape.*with_domain"):
        Shear(np.float32(0.5)).H(x)


@pytest.mark.parametrize("name", ["H", "T", "conj"])
def test_a_nonlinear_operator_points_to_its_jacobian(name):
    class Square(lo.NonlinearOperator):
        @lo.traced
        def apply(self, x):
            return x**2

    with pytest.raises(
        AttributeError, match=rf"Square is nonlinear and has no {name}\..*Square\.jacobian\(x\)\.{name}"
    ):
        getattr(Square(), name)
    with pytest.raises(AttributeError, match="has no attribute 'missing'"):
        getattr(Square(), "missing")  # noqa: B009
    assert not hasattr(Square(), name)
