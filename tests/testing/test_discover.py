"""Which operator classes a target has: modules, packages, files, and everything that is none of these."""

import sys
import textwrap

import jax
import numpy as np
import pytest

import linops_jax as lo
from linops_jax.testing import TargetError, discover, survey

pytestmark = pytest.mark.slow

HEADER = """
import jax, numpy as np, linops_jax as lo

class _Twice(lo.LinearOperator):
    def apply(self, x): return 2 * x
    def adjoint(self, y): return 2 * y
    def infer_shape(self, x): return x

SPEC = jax.ShapeDtypeStruct((3,), np.float32)
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes files into a folder of their own, which is the current one; what they import is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    before = dict(sys.modules)

    def write(files, header=HEADER):
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(header + textwrap.dedent(text))
        return tmp_path

    yield write
    for name in set(sys.modules) - set(before):
        if str(tmp_path) in str(
            getattr(sys.modules[name], "__file__", "") or getattr(sys.modules[name], "__path__", "")
        ):
            del sys.modules[name]


def names(target, **keywords):
    return [found.cls.__name__ for found in discover(target, **keywords)]


# ---- what is found ------------------------------------------------------------------------------------------------------


def test_classes_of_a_file_in_the_order_of_its_lines_without_those_it_imports(write):
    write(
        {
            "ops.py": """
            from linops_jax import FFT, Identity
            from linops_jax.ops import Diagonal as D
            class Second(_Twice): pass
            class First(lo.NonlinearOperator):
                def apply(self, x): return x**2
                def jacobian_apply(self, x, dx): return 2 * x * dx
                def jacobian_adjoint(self, x, dy): return 2 * x * dy
                def infer_shape(self, x): return x
            Alias = Second
            instance = Second()
            """
        }
    )
    assert names("ops.py") == ["_Twice", "Second", "First"]
    assert names("ops") == names("ops.py")
    assert names("ops.py::First") == ["First"]


def test_packages_bring_their_modules_and_what_they_re_export(write):
    write(
        {
            "pack/__init__.py": "from pack.deep.inner import Inner as Public\n",
            "pack/blur.py": "class Blur(_Twice): pass\n",
            "pack/deep/__init__.py": "",
            "pack/deep/inner.py": "from linops_jax import FFT\nclass Inner(_Twice): pass\n",
            "pack/__main__.py": "raise SystemExit(3)\n",
        }
    )
    for target in ("pack", "./pack", "pack/"):
        found = names(target)
        assert sorted(name for name in found if name != "_Twice") == ["Blur", "Inner"]
    assert names("pack::Inner") == ["Inner"]
    assert names("pack.blur") == ["_Twice", "Blur"]
    assert names("pack/deep/inner.py") == ["_Twice", "Inner"]
    assert discover("pack/deep/inner.py")[1].name == "pack.deep.inner.Inner"


def test_a_class_is_found_once(write):
    write({"pack/__init__.py": "from .a import A\nfrom .a import A as B\n"}, header="")
    write({"pack/a.py": "class A(_Twice): pass\n"})
    assert names("pack") == ["A", "_Twice"]


def test_modules_that_need_what_is_not_installed_are_left_out_and_named(write):
    write(
        {
            "pack/__init__.py": "",
            "pack/good.py": "",
            "pack/extra.py": "import no_such_package.part\n",
            "pack/deep/__init__.py": "import no_such_package\n",
        }
    )
    left_out = []
    assert set(names("pack", left_out=left_out)) == {"_Twice"}
    assert sorted(left_out) == [
        "pack.deep: it needs no_such_package, which is not installed",
        "pack.extra: it needs no_such_package, which is not installed",
    ]


def test_namespace_packages(write):
    write({"space/ops.py": ""})
    assert names("space") == ["_Twice"]


@pytest.mark.parametrize("file", ["operator.py", "my-ops.py", "my.ops.py", "jax.py", "__main__.py"])
def test_files_with_the_name_of_something_else(file, write):
    standard = sys.modules["operator"], sys.modules["__main__"]
    write({file: "", "other/" + file: "class Other(_Twice): pass\n"})
    assert names(file) == ["_Twice"]
    assert names(f"other/{file}") == ["_Twice", "Other"]
    assert names(file) == ["_Twice"]
    assert (sys.modules["operator"], sys.modules["__main__"], sys.modules["jax"]) == (*standard, jax)


def test_a_file_imports_its_sibling(write):
    write({"sub/sibling_of_ops.py": "class Sibling(_Twice): pass\n"})
    write({"sub/ops_with_sibling.py": "import sibling_of_ops\nclass Own(sibling_of_ops.Sibling): pass\n"})
    assert names("sub/ops_with_sibling.py") == ["_Twice", "Own"]


def test_classes_of_a_shadowed_file_can_be_pickled(write):
    import pickle

    write({"operator.py": ""})
    (found,) = discover("operator.py")
    assert type(pickle.loads(pickle.dumps(found.cls()))) is found.cls


def test_abstract_classes_are_bases_unless_a_hook_was_forgotten(write):
    write(
        {
            "ops.py": """
            class Base(lo.LinearOperator):
                @classmethod
                def examples(cls): yield cls(), SPEC
            class Derived(Base):
                def apply(self, x): return x
                def adjoint(self, y): return y
                def infer_shape(self, x): return x
            class Forgotten(lo.LinearOperator):
                def apply(self, x): return x
                @classmethod
                def examples(cls): yield cls(), SPEC
            """
        }
    )
    found = {item.cls.__name__: item for item in discover("ops.py")}
    assert set(found) == {"_Twice", "Derived", "Forgotten"}
    assert len(found["Derived"].examples) == 1
    assert "abstract" in str(found["Forgotten"].error)


def test_shipped_operators_all_have_examples():
    found = [item for target in ("linops_jax.ops", "linops_jax.cli.demo.mri") for item in discover(target)]
    assert {lo.FFT, lo.Diagonal, lo.Matrix, lo.Identity, lo.Zero} <= {item.cls for item in found}
    assert [item.name for item in found if item.error or not item.examples] == []


# ---- examples -----------------------------------------------------------------------------------------------------------


def example_error(write, body, cls="Op"):
    write({"ops.py": body})
    return next(found for found in discover("ops.py") if found.cls.__name__ == cls).error


@pytest.mark.parametrize(
    ("body", "kind", "message"),
    [
        ("raise KeyError('kernel.npy')", KeyError, "kernel.npy"),
        (
            "yield cls()\n        yield 3",
            TypeError,
            r"Op\.examples\(\) must yield \(operator, spec\) pairs, it yielded 3",
        ),
        ("yield cls, SPEC", TypeError, r"must yield .* it yielded \(<class"),
        ("yield cls(), SPEC, SPEC", TypeError, r"must yield .* it yielded \(Op\(\), ShapeDtypeStruct"),
        ("return []", TypeError, r"it yielded no Op"),
        ("return None", TypeError, "not iterable"),
        ("yield _Twice(), SPEC", TypeError, r"Op\.examples\(\) must yield .*, it yielded no Op"),
    ],
)
def test_bad_examples(body, kind, message, write):
    error = example_error(write, f"class Op(_Twice):\n    @classmethod\n    def examples(cls):\n        {body}\n")
    assert type(error) is kind
    with pytest.raises(kind, match=message):
        raise error


def test_what_examples_raise_says_where(write):
    error = example_error(
        write, "class Op(_Twice):\n    @classmethod\n    def examples(cls):\n        raise KeyError('x')\n"
    )
    line = (HEADER + "class Op(_Twice):\n    @classmethod\n    def examples(cls):\n").count("\n") + 1
    assert [note.rpartition("/")[2] for note in error.__notes__] == [f"ops.py:{line}"]


def test_inherited_examples_must_be_of_the_class(write):
    body = """
    class Base(_Twice):
        @classmethod
        def examples(cls): yield Base(), SPEC
    class Op(Base):
        def adjoint(self, y): return 3 * y
    """
    error = example_error(write, body)
    with pytest.raises(TypeError, match=r"it yielded no Op"):
        raise error
    assert error.__notes__ == ["Op inherits examples(): define its own"]


def test_examples_are_operators_with_a_domain_pairs_and_composites(write):
    write(
        {
            "ops.py": """
            class Op(_Twice):
                @classmethod
                def examples(cls):
                    yield cls().with_domain(SPEC)
                    yield cls(), SPEC
                    yield cls() @ cls() + 0.5 * lo.Identity(), SPEC
                    yield cls(), np.ones(3, np.float32)
            """
        }
    )
    plain, found = discover("ops.py")
    assert plain.examples is None
    assert found.error is None
    assert [x is None for _, x in found.examples] == [True, False, False, False]
    np.testing.assert_array_equal(found.examples[2][0](np.ones(3, np.float32)), 4.5)


# ---- what there is to check -----------------------------------------------------------------------------------------


SURVEYED = {
    "ops.py": """
    class One(_Twice):
        @classmethod
        def examples(cls): yield cls(), SPEC

    class Two(_Twice):
        @classmethod
        def examples(cls):
            yield cls(), SPEC
            yield cls().with_domain(SPEC)

    class Bad(_Twice):
        @classmethod
        def examples(cls): yield cls()

    class Raises(_Twice):
        @classmethod
        def examples(cls): raise OSError("kernel.npy")
    """
}


def test_a_survey_has_each_example_once_or_says_why_there_is_nothing_to_run(write):
    write(SURVEYED)
    examples, left_out = survey(["ops.py", "ops.py::Two", "ops"])
    assert [example.name for example in examples] == ["ops.One", "ops.Two-0", "ops.Two-1", "ops.Bad", "ops.Raises"]
    assert [example.checkup is None for example in examples] == [False, False, False, True, True]
    with pytest.raises(TypeError, match=r"ops\.Bad: examples\(\).* needs to know the input"):
        raise examples[3].error
    with pytest.raises(OSError, match=r"kernel\.npy"):
        raise examples[4].error
    assert left_out == ["ops._Twice: it has no examples()"]


def test_a_strict_survey_leaves_nothing_out(write):
    write(SURVEYED)
    (example, *_), left_out = survey(["ops.py"], strict=True)
    with pytest.raises(AssertionError, match=r"it has no examples\(\): add a classmethod that yields"):
        raise example.error
    assert left_out == []


def test_dtypes_of_a_survey_are_for_operators_without_a_domain(write, x64):
    write(SURVEYED)
    examples, _ = survey(["ops.py::Two"], dtypes=["float32", "float64"])
    assert [example.name for example in examples] == ["ops.Two-0[float32]", "ops.Two-0[float64]", "ops.Two-1"]
    assert [str(example.checkup.subject.spec.dtype) for example in examples] == ["float32", "float64", "float32"]


# ---- what cannot be a target --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("no_such_module", r"^no_such_module: there is no module no_such_module$"),
        ("no_such_module.part", r"^no_such_module.part: there is no module no_such_module$"),
        ("good.part", r"^good.part: there is no module good.part$"),
        ("no/such/folder", r"there is no module no/such/folder$"),
        ("missing.py", r"^missing.py: there is no file missing.py$"),
        ("empty.py", r"^empty.py: found no operator classes \(subclasses of LinearOperator or NonlinearOperator\)$"),
        ("forgot.py", r"found no operator classes .*; Forgot lacks adjoint, infer_shape$"),
        ("good.py::Bad", r"^good.py::Bad: good.py has no operator class Bad; it has _Twice$"),
        ("good.py::FFT", r"good.py has no operator class FFT"),
        ("raises.py", r"^raises.py: importing raises failed: ValueError: two lines$"),
        ("syntax.py", r"^syntax.py: importing syntax failed: SyntaxError: .*line 1"),
        ("leaves.py", r"^leaves.py: importing leaves failed: SystemExit: 3$"),
        ("needs.py", r"importing needs failed: ModuleNotFoundError: No module named 'no_such_package'$"),
        ("broken", r"^broken: importing broken.part failed: ZeroDivisionError"),
        ("broken.part", r"^broken.part: importing broken.part failed: ZeroDivisionError"),
        ("./plain", r"the folder plain is no package, it has no __init__.py$"),
        ("./email", r"the name email leads to .*email/__init__.py; rename .*/email$"),
        ("", r"^: the folder .* is no package"),
        ("::Good", r"^::Good: the folder .* is no package"),
        ("a..b", "there is no module a|importing a..b failed"),
    ],
)
def test_bad_targets_in_one_line(target, message, write):
    import email  # noqa: F401

    write({"good.py": "from linops_jax import FFT\n"})
    write(
        {
            "empty.py": "x = 1\n",
            "forgot.py": "import linops_jax as lo\nclass Forgot(lo.LinearOperator):\n    def apply(self, x): return x\n",
            "raises.py": "raise ValueError('two\\nlines')\n",
            "syntax.py": "def f(:\n",
            "leaves.py": "import sys\nsys.exit(3)\n",
            "needs.py": "import no_such_package\n",
            "broken/__init__.py": "",
            "broken/part.py": "1 / 0\n",
            "plain/notes.txt": "",
            "email/__init__.py": "",
        },
        header="",
    )
    with pytest.raises(TargetError, match=message) as caught:
        discover(target)
    assert "\n" not in str(caught.value)


def test_an_interrupt_is_not_an_error_of_the_target(write):
    write({"stops.py": "raise KeyboardInterrupt('at import')\n"}, header="")
    with pytest.raises(KeyboardInterrupt, match="at import"):
        discover("stops.py")
