"""How operators look: short mathematics with shapes, trees, and HTML for notebooks."""

import html.parser
import typing

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import S

import linops_jax as lo

pytestmark = pytest.mark.newest

A, SPEC = lo.Matrix(np.ones((4, 3), np.float32)), S((3,), np.float32)


class Blur(lo.LinearOperator, symmetric=True, adjoint_rtol=1e-3):
    parts: dict
    name: str = lo.static(default="<b>&")

    def apply(self, x):
        return x

    def adjoint(self, y):
        return y

    def infer_shape(self, x):
        return x


class Square(lo.NonlinearOperator):
    def apply(self, x):
        return x**2

    def jacobian_apply(self, x, dx):
        return 2 * x * dx

    def jacobian_adjoint(self, x, dy):
        return 2 * x * dy

    def infer_shape(self, x):
        return x


class Named(lo.LinearOperator):
    @lo.traced
    def apply(self, x):
        return x

    def __repr__(self):
        return "N"


NAMED = Named()


class Wrong(Named):
    """Refuses every input, but only once its domain is known."""

    domain = SPEC

    def infer_shape(self, x):
        message = "never"
        raise ValueError(message)

    def __repr__(self):
        return "W"


class Pair(typing.NamedTuple):
    x: object
    y: object


@jax.tree_util.register_pytree_node_class
class ArraysOnly:
    def __init__(self, array):
        self.array = array + 0

    def tree_flatten(self):
        return (self.array,), None

    @classmethod
    def tree_unflatten(cls, aux, children):
        return cls(*children)


BLUR = Blur({"a": lo.FFT(), "b": np.ones(3, np.float32), "c": np.float32(2)})


@pytest.mark.parametrize(
    ("op", "text"),
    [
        (A, "Matrix"),
        (lo.Identity(), "I"),
        (lo.Zero((2,)) @ A, "0 @ Matrix"),
        (A.H @ A + 0.1 * lo.Identity(), "Matrix.H @ Matrix + 0.1 I"),
        ((A.H @ A + 0.1 * lo.Identity()).with_domain(SPEC), "Matrix.H @ Matrix + 0.1 I : f32[3] -> f32[3]"),
        (A.with_domain(SPEC).H, "Matrix.H : f32[4] -> f32[3]"),
        (jnp.float32(0.1) * A, "0.1 Matrix"),
        (1j * A - (2 + 3j) * A, "1j Matrix - (2+3j) Matrix"),
        (A - np.complex64(2) * A, "Matrix - 2 Matrix"),
        (2 * (A + A), "2 (Matrix + Matrix)"),
        (A @ (2 * lo.Identity()), "Matrix @ (2 I)"),
        (-(A.T) + A.conj(), "-Matrix.T + Matrix.conj()"),
        (A - (A @ lo.Identity()).with_domain(SPEC), "Matrix - Matrix @ I : f32[3] -> f32[4]"),
        (Square().jacobian(np.ones(3)).H, "Square.jacobian(x).H : f32[3] -> f32[3]"),
        (2 * Named().with_domain({"a": SPEC, "b": (S((), np.int32),)}), "2 N : {'a': f32[3], 'b': (i32[],)} -> "),
        (2 * Wrong(), "2 W : f32[3] -> ?"),
        (lo.Affine(A, np.ones(4, np.float32)), "Affine(Matrix, b)"),
        (
            lo.block_diag(Pair(NAMED, A)).with_domain(Pair(SPEC, SPEC)),
            "block_diag(Pair(x=N, y=Matrix)) : Pair(x=f32[3], y=f32[3]) -> Pair(x=f32[3], y=f32[4])",
        ),
    ],
    ids=str,
)
def test_str(op, text):
    assert str(op).startswith(text) if text.endswith(" ") else str(op) == text


def test_scalars_without_a_value_print_as_a():
    printed = []

    def show(a):
        printed.extend([str(a * A), repr(a * A)])
        return a

    jax.jit(show)(2.0)
    jax.vmap(show)(jnp.ones(2))
    batch = jax.vmap(lambda a: a * A)(jnp.ones(2))
    assert {*printed, str(batch), str(jax.eval_shape(lambda: batch))} == {
        "a Matrix",
        "a * Matrix(matrix=f32[4,3], axes=(-1,))",
    }
    assert repr(batch).startswith("a * Matrix")


def test_repr_has_fields_and_shapes():
    op = (0.1 * A).with_domain(SPEC)
    assert repr(op) == "0.1 * Matrix(matrix=f32[4,3], axes=(-1,)) : f32[3] -> f32[4]"
    assert f"{op}" == str(op) == "0.1 Matrix : f32[3] -> f32[4]"
    assert repr(Blur(op, "n")) == "Blur(parts=0.1 * Matrix(matrix=f32[4,3], axes=(-1,)), name='n')"
    big = np.ones(2000, np.float32)
    assert repr(Blur(Pair(big, [NAMED]), "n")) == "Blur(parts=Pair(x=f32[2000], y=[N]), name='n')"
    assert repr(Blur({"a": ArraysOnly(jnp.asarray(big))}, "n")) == "Blur(parts={'a': ArraysOnly(...)}, name='n')"


def test_a_tree_has_one_line_for_each_part():
    op = ((A.H @ A + 0.1 * lo.Identity()) @ BLUR).with_domain(SPEC)
    assert str(lo.tree(op)).split("\n") == [
        "Composition : f32[3] -> f32[3]  |  adjoint_rtol=0.001",
        "├── factors[0] = Sum : f32[3] -> f32[3]  |  symmetric, positive",
        "│   ├── terms[0] = Composition : f32[3] -> f32[3]  |  symmetric, positive",
        "│   │   ├── factors[0] = Adjoint : f32[4] -> f32[3]",
        "│   │   │   └── op = Matrix(matrix=f32[4,3], axes=(-1,)) : f32[3] -> f32[4]  |  traced: apply, adjoint",
        "│   │   └── factors[1] = Matrix(matrix=f32[4,3], axes=(-1,)) : f32[3] -> f32[4]  |  traced: apply, adjoint",
        "│   └── terms[1] = Scaled(scalar=0.1) : f32[3] -> f32[3]  |  symmetric, positive, diagonal",
        "│       └── op = Identity : f32[3] -> f32[3]  |  symmetric, positive, unitary, diagonal",
        "└── factors[1] = Blur(name='<b>&', parts['b']=f32[3], parts['c']=2) : f32[3] -> f32[3]  |  symmetric, "
        "adjoint_rtol=0.001  |  host: apply, adjoint",
        "    └── parts['a'] = FFT(axes=None, norm='ortho')  |  unitary  |  traced: apply, adjoint",
    ]
    assert repr(lo.tree(op)) == str(lo.tree(op))


@pytest.mark.parametrize(
    ("op", "lines"),
    [
        (A, ["Matrix(matrix=f32[4,3], axes=(-1,))  |  traced: apply, adjoint"]),
        (2 * Named(), ["Scaled(scalar=2)", "└── op = N  |  traced: apply  |  derived: adjoint"]),
        (Wrong(), ["W : f32[3] -> ?  |  traced: apply  |  derived: adjoint"]),
        (
            Square().jacobian(np.ones(3)).H,
            [
                "Adjoint : f32[3] -> f32[3]",
                "└── op = Jacobian(x=f32[3]) : f32[3] -> f32[3]",
                "    └── op = Square : f32[3] -> f32[3]  |  host: apply, jacobian_apply, jacobian_adjoint",
            ],
        ),
        (
            lo.block_diag({"p": A, "q": lo.vstack([NAMED, -NAMED])}).with_domain({"p": SPEC, "q": SPEC}),
            [
                "BlockDiagonal : {'p': f32[3], 'q': f32[3]} -> {'p': f32[4], 'q': [f32[3], f32[3]]}",
                "├── ops['p'] = Matrix(matrix=f32[4,3], axes=(-1,)) : f32[3] -> f32[4]  |  traced: apply, adjoint",
                "└── ops['q'] = VStack : f32[3] -> [f32[3], f32[3]]",
                "    ├── ops[0] = N : f32[3] -> f32[3]  |  traced: apply  |  derived: adjoint",
                "    └── ops[1] = Scaled(scalar=-1) : f32[3] -> f32[3]",
                "        └── op = N : f32[3] -> f32[3]  |  traced: apply  |  derived: adjoint",
            ],
        ),
        (
            lo.hstack([NAMED, A]),
            [
                "HStack",
                "├── ops[0] = N  |  traced: apply  |  derived: adjoint",
                "└── ops[1] = Matrix(matrix=f32[4,3], axes=(-1,))  |  traced: apply, adjoint",
            ],
        ),
        (
            lo.Function(np.sum, SPEC, adjoint=lambda y: np.full(3, y)),
            [
                "Function : f32[3] -> f32[]",
                "└── op = HostFunctions(function=sum, adjoint_function=<lambda>) : f32[3] -> f32[]  |  host: apply, adjoint",
            ],
        ),
    ],
    ids=str,
)
def test_trees(op, lines):
    assert str(lo.tree(op)).split("\n") == lines


def test_a_tree_of_what_is_not_an_operator():
    with pytest.raises(TypeError, match=r"lo\.tree: expected an operator, found ndarray\. Pass a LinearOperator"):
        lo.tree(np.ones((3, 3)))


class Reader(html.parser.HTMLParser):
    """Text and tags, and whether every tag is closed in its turn."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.text = [], set(), ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        self.tags.add(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.mark.parametrize("show", [lambda op: op, lo.tree], ids=["operator", "tree"])
def test_html(show):
    op = (A.H @ A @ BLUR).with_domain(SPEC)
    page = Reader(show(op)._repr_html_())
    assert page.open == []
    assert page.tags == {"div", "details", "summary", "span", "b"}
    assert "Blur(name='<b>&', parts['b']=f32[3], parts['c']=2) : f32[3] -> f32[3]  |  symmetric" in page.text
    assert (str(op) in page.text) == (show is not lo.tree)


def test_large_arrays_are_never_read():
    op = (2 * lo.Diagonal(jnp.ones((1000, 1000))) @ Blur({"a": jnp.ones(10_000), "b": lo.Identity()})).with_domain(
        S((1000, 1000), np.float32)
    )
    for text in (str(op), repr(op), str(lo.tree(op)), op._repr_html_()):
        assert len(text) < 2500
    deleted = lo.Diagonal(jnp.ones(5))
    deleted.d.delete()
    assert str(2 * deleted) == "2 Diagonal"
    assert "d=f32[5]" in lo.tree(deleted)._repr_html_() + repr(deleted)
