"""Our operators in NIFTy: its own checks, and posteriors of linear models against dense matrices."""

import jax
import jax.numpy as jnp
import nifty.cl as ift
import nifty.re as jft
import numpy as np
import pytest
import scipy.optimize
from helpers import S, close, normal
from operators import CASES
from operators import Dense as HostDense

import linops_jax as lo
from linops_jax.interop import to_nifty, to_nifty_re

pytestmark = pytest.mark.filterwarnings("ignore:bool is used as a file descriptor")  # NIFTy's, on Python 3.13

LINEAR = [name for name, case in CASES.items() if case.linear and case.reverse]
MATRIX, DATA, NOISE = normal((6, 4), seed=1), normal((6,), seed=2), 0.3


@pytest.fixture(autouse=True)
def seeded():
    """NIFTy draws from one generator of its own; and it computes in double precision."""
    with jax.enable_x64(True), ift.random.Context(42):
        yield


def field(domain, tree):
    return ift.makeField(domain, jax.tree.map(np.asarray, tree))


# ---- nifty.cl: linear -----------------------------------------------------------------------------------------------


def named(tree):
    """What a MultiField makes of a pytree."""
    return {str(i): leaf for i, leaf in enumerate(tree)} if isinstance(tree, tuple) else tree


@pytest.mark.parametrize("name", LINEAR)
def test_linear_operators(name):
    case = CASES[name]
    op = to_nifty(case.op, case.x)
    result = jax.eval_shape(case.op, case.x)
    dtypes = [np.result_type(*jax.tree.leaves(side)) for side in (case.x, result)]
    only_r_linear = case.op.properties.real_linear or dtypes[0] != dtypes[1]
    ift.extra.check_linear_operator(op, *dtypes, atol=1e-12, rtol=1e-12, only_r_linear=only_r_linear)
    found = op(field(op.domain, named(case.x))).asnumpy()
    close(jax.tree.map(jnp.asarray, found), named(case.reference(jax.tree.map(jnp.asarray, case.x))))


def test_unions_of_our_operators_and_theirs():
    op = to_nifty(lo.Matrix(MATRIX), S((4,), float))
    x = normal((4,), seed=3)
    combined = (2 * op + op) @ ift.ScalingOperator(op.domain, 0.5)
    np.testing.assert_allclose(combined(field(op.domain, x)).asnumpy(), 1.5 * MATRIX @ x)
    normal_operator = op.adjoint @ op
    np.testing.assert_allclose(normal_operator(field(op.domain, x)).asnumpy(), MATRIX.T @ MATRIX @ x)
    assert repr(op).startswith("Matrix(")


def test_domains_of_ones_own():
    space = ift.RGSpace((3, 4), distances=0.5)
    op = to_nifty(lo.FFT(), S((3, 4), complex), domain=space, target=space.get_default_codomain())
    harmonic = op.domain[0].get_default_codomain()
    assert (op.domain, op.target) == (ift.makeDomain(space), ift.makeDomain(harmonic))
    ift.extra.check_linear_operator(op, complex, complex, atol=1e-12, rtol=1e-12)
    op = to_nifty(lo.Identity(), {"a": np.zeros(4), "b": np.zeros(())}, domain={"a": ift.RGSpace(4), "b": ()})
    ift.extra.check_linear_operator(op)


def test_wiener_filter():
    response = to_nifty(lo.Matrix(MATRIX), S((4,), float))
    data = field(response.target, DATA)
    energy = ift.GaussianEnergy(data, ift.ScalingOperator(response.target, NOISE**-2, float)) @ response
    control = ift.AbsDeltaEnergyController(1e-12, iteration_limit=50)
    hamiltonian = ift.StandardHamiltonian(energy, ic_samp=control)
    start = ift.EnergyAdapter(ift.full(response.domain, 0.0), hamiltonian, want_metric=True)
    found = ift.NewtonCG(ift.AbsDeltaEnergyController(1e-12, iteration_limit=20))(start)[0].position
    np.testing.assert_allclose(found.asnumpy(), posterior()[0], rtol=1e-6, atol=1e-8)


def posterior():
    """Mean and covariance, for a white prior."""
    covariance = np.linalg.inv(np.eye(4) + MATRIX.T @ MATRIX / NOISE**2)
    return covariance @ MATRIX.T @ DATA / NOISE**2, covariance


# ---- nifty.cl: nonlinear --------------------------------------------------------------------------------------------

NONLINEAR = {
    "pair": (CASES["paper"].op, (np.zeros(3), np.zeros(3))),
    "sine": (CASES["traced sine, host jacobian"].op, np.zeros(3)),
    "of complex arrays": (CASES["modulus"].op, np.zeros(3, complex)),
    "affine": (lo.Affine(lo.Matrix(MATRIX), DATA), np.zeros(4)),
}


@pytest.mark.parametrize("name", NONLINEAR)
def test_nonlinear_operators(name):
    op, spec = NONLINEAR[name]
    wrapped = to_nifty(op, spec)
    x = ift.from_random(wrapped.domain, dtype=jax.tree.leaves(spec)[0].dtype)
    ift.extra.check_operator(wrapped, x, tol=1e-10, ntries=3)
    assert repr(wrapped) == repr(wrapped.op)


def test_jacobians():
    op = to_nifty(CASES["paper"].op, (np.zeros(3), np.zeros(3)))
    x1, x2, y = (normal((3,), seed=i) for i in range(3))
    linearized = op(ift.Linearization.make_var(field(op.domain, {"0": x1, "1": x2})))
    np.testing.assert_allclose(linearized.val.asnumpy(), x1 * x2**2)
    found = linearized.jac.adjoint(field(op.target, y)).asnumpy()
    close(found, {"0": x2**2 * y, "1": 2 * x1 * x2 * y})


def test_nothing_is_compiled_for_another_position():
    class Counted(lo.NonlinearOperator):
        @lo.traced
        def apply(self, x):
            traces.append(x)
            return jnp.sin(x)

    traces = []
    op = to_nifty(Counted(), np.zeros(3))
    counts = []
    for i in range(3):
        linearized = op(ift.Linearization.make_var(field(op.domain, normal((3,), seed=i))))
        linearized.jac.adjoint(linearized.jac(field(op.domain, np.ones(3))))
        counts.append(len(traces))
    assert counts[1] == counts[2]


# ---- nifty.cl: bad input --------------------------------------------------------------------------------------------


def test_bad_input():
    with pytest.raises(
        TypeError, match=r"to_nifty expects an operator of linops_jax, found an array of shape \(6, 4\)"
    ):
        to_nifty(MATRIX)
    with pytest.raises(TypeError, match=r"to_nifty: .*FFT.* does not know its domain\. Pass it, to_nifty\(op, "):
        to_nifty(lo.FFT())
    with pytest.raises(TypeError, match=r"to_nifty: the domain of .* has int32 arrays"):
        to_nifty(lo.Identity(), S((3,), np.int32))
    with pytest.raises(ValueError, match=r"the domain given has the shapes \{'': \(5,\)\}, but the operator's are .*4"):
        to_nifty(lo.Matrix(MATRIX), S((4,), float), domain=ift.RGSpace(5))
    with pytest.raises(
        ValueError, match=r"the target given has the shapes \{'a': \(6,\)\}, but the operator's are \{''"
    ):
        to_nifty(lo.Matrix(MATRIX), S((4,), float), target={"a": ift.RGSpace(6)})


def test_complex_fields_on_a_real_domain():
    op = to_nifty(lo.Identity(), {"a": np.zeros(3)})
    with pytest.raises(TypeError, match=r"to_nifty: found a complex field at 'a', expected float64\. Give the spec a"):
        op(ift.from_random(op.domain, dtype=complex))


@pytest.mark.parametrize("op", [lo.Identity(), CASES["traced sine, host jacobian"].op], ids=["linear", "nonlinear"])
def test_64_bits_that_are_switched_off(op):
    with jax.enable_x64(False):
        with pytest.warns(UserWarning, match="to_nifty: the domain is float64, but JAX computes in float32") as found:
            wrapped = to_nifty(op, np.zeros(3))
        assert found[0].filename == __file__
    assert wrapped(ift.full(wrapped.domain, 1.0)).dtype == np.float32


# ---- nifty.re -------------------------------------------------------------------------------------------------------

MODELS = {
    "to_nifty_re": lambda op: to_nifty_re(op),
    "callable": lambda op: op,
    "jft.Model": lambda op: jft.Model(op, domain=op.domain, white_init=True),
}


def likelihood(how, op, data=DATA):
    gaussian = jft.Gaussian(jnp.asarray(data), lambda x: x / NOISE**2, lambda x: x / NOISE)
    return gaussian.amend(MODELS[how](op), domain=op.domain)


@pytest.mark.parametrize("samples", [0, 2])
@pytest.mark.parametrize("how", MODELS)
def test_posterior_of_a_linear_model(how, samples):
    """The most probable point (no samples), and a variational posterior, which has the same mean."""
    found = jft.optimize_kl(
        likelihood(how, HostDense(jnp.asarray(MATRIX)).with_domain(S((4,), float))),
        jnp.zeros(4),
        key=jax.random.PRNGKey(3),
        n_total_iterations=1,
        n_samples=samples,
        draw_linear_kwargs={"cg_name": None, "cg_kwargs": {"absdelta": 1e-13, "maxiter": 50}},
        kl_kwargs={"minimize_kwargs": {"name": None, "absdelta": 1e-13, "maxiter": 20}},
        sample_mode="linear_resample",
    )[0]
    np.testing.assert_allclose(found.pos, posterior()[0], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("samples", [0, 2])
def test_posterior_of_a_nonlinear_model(samples):
    """A host operator with its Jacobian and nothing else: enough for geometric variational inference too."""
    op = CASES["traced sine, host jacobian"].op
    data = normal((3,), seed=4)

    def energy(x):
        return 0.5 * np.sum((op.a * np.sin(op.b * x) - data) ** 2) / NOISE**2 + 0.5 * np.sum(x**2)

    expected = scipy.optimize.minimize(energy, np.zeros(3), tol=1e-12).x
    found = jft.optimize_kl(
        likelihood("to_nifty_re", op.with_domain(S((3,), float)), data),
        jnp.zeros(3),
        key=jax.random.PRNGKey(1),
        n_total_iterations=1,
        n_samples=samples,
        draw_linear_kwargs={"cg_name": None, "cg_kwargs": {"absdelta": 1e-10, "maxiter": 20}},
        nonlinearly_update_kwargs={"minimize_kwargs": {"name": None, "xtol": 1e-6, "maxiter": 10}},
        kl_kwargs={"minimize_kwargs": {"name": None, "absdelta": 1e-12, "maxiter": 30}},
        sample_mode="nonlinear_resample",
    )[0]
    tolerance = 1.0 if samples else 1e-5  # with samples it is the mean, within the prior's width
    np.testing.assert_allclose(found.pos, expected, atol=tolerance)


@pytest.mark.parametrize("how", MODELS)
def test_metric_of_complex_data(how):
    a = normal((6, 4), np.complex128)
    lh = likelihood(how, HostDense(jnp.asarray(a)).with_domain(S((4,), complex)), normal((6,), np.complex128))
    x, t = normal((4,), np.complex128, 1), normal((4,), np.complex128, 2)
    close(jax.jit(lh.metric)(x, t), jnp.asarray(a.conj().T @ (a @ t) / NOISE**2))


@pytest.mark.parametrize("keys", [(0, 1), ("a", "b")])
def test_models_of_pytrees(keys):
    class Product(lo.NonlinearOperator):
        @lo.traced
        def apply(self, x):
            return {"y": x[keys[0]] * x[keys[1]] ** 2}

    spec = (S((3,), float),) * 2 if keys == (0, 1) else dict.fromkeys(keys, S((3,), float))
    model = to_nifty_re(Product(), spec)
    assert (model.domain, model.target) == (spec, {"y": S((3,), float)})
    x = model.init(jax.random.PRNGKey(0))
    assert jax.tree.map(jnp.shape, x) == jax.tree.map(jnp.shape, spec)
    close(jax.jit(lambda model, x: model(x))(model, x), {"y": x[keys[0]] * x[keys[1]] ** 2})
    close(model(jft.Vector(x)).tree, model(x))
    assert repr(model).startswith("OperatorModel(")
    lh = jft.Gaussian(jft.Vector({"y": jnp.ones(3)}), lambda x: x, lambda x: x).amend(model)
    position = jft.Vector(x)
    close(jax.grad(lh)(position).tree, jax.grad(lambda x: 0.5 * jnp.sum((model(x)["y"] - 1) ** 2))(x))


def test_new_values_do_not_compile_again():
    @jax.jit
    def apply(model, x):
        traces.append(x)
        return model(x)

    traces = []
    for scale in (1.0, 2.0):
        op = HostDense(jnp.asarray(scale * MATRIX)).with_domain(S((4,), float))
        close(apply(to_nifty_re(op), jnp.ones(4)), jnp.asarray(scale * MATRIX @ np.ones(4)))
    assert len(traces) == 1


def test_hashable_and_stable():
    op = lo.Matrix(MATRIX)
    structure = jax.tree.structure(jax.tree_util.Partial(op))
    assert structure == jax.tree.structure(jax.tree_util.Partial(op))
    assert hash(structure) == hash(jax.tree.structure(jax.tree_util.Partial(op)))
    assert (hash(op), op) == (hash(op), op)


def test_bad_models():
    with pytest.raises(TypeError, match=r"to_nifty_re expects an operator of linops_jax, found function"):
        to_nifty_re(lambda x: x)
    with pytest.raises(TypeError, match=r"to_nifty_re: .* does not know its domain\. Pass it, to_nifty_re\(op, "):
        to_nifty_re(lo.FFT())
