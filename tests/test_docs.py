"""What documents and docstrings say of files, functions and results is so."""

import ast
import doctest
import enum
import functools
import inspect
import pathlib
import pkgutil
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpydoc.docscrape import get_doc_object
from numpydoc.hooks.validate_docstrings import parse_config
from numpydoc.validate import Validator, validate

import linops_jax as lo

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE, INTERNALS = ROOT / "linops_jax", ROOT / "docs" / "internals.md"
PAGES = [INTERNALS, *sorted((ROOT / "docs" / "decisions").glob("*.md")), ROOT / "CONTRIBUTING.md"]
FILES = re.compile(rf"`((?:{'|'.join(p.name for p in sorted(PACKAGE.iterdir()) if p.is_dir())})/[\w/]*\w)(?:\.py)?`")


def order_of_the_test():
    """Of who may import what; read, since a test that is imported is collected again."""
    tree = ast.parse((ROOT / "tests" / "faults" / "test_import.py").read_text())
    (value,) = [n.value for n in tree.body if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == "ORDER"]
    return ast.literal_eval(value)


def test_the_layers_of_the_page_are_those_of_the_test_of_imports():
    (diagram,) = re.findall(r"^```text\n(_compat .*?)```$", INTERNALS.read_text(), flags=re.MULTILINE | re.DOTALL)
    names = [line.split()[0] for line in diagram.splitlines()]
    assert [name.rstrip("/") for name in names] == order_of_the_test()
    folders = {name.rstrip("/") for name in names if name.endswith("/")}
    assert folders == {path.parent.name for path in PACKAGE.glob("*/__init__.py")}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_files_of_the_package_that_a_page_names_exist(page):
    for name in FILES.findall(page.read_text()):
        assert (PACKAGE / name).is_dir() or (PACKAGE / f"{name}.py").is_file(), name


def test_the_diagram_shows_the_way_that_a_call_takes(tmp_path):
    script, page = ROOT / "docs" / "call_path.py", tmp_path / "page.md"
    page.write_text(INTERNALS.read_text())
    subprocess.run([sys.executable, script, page], check=True, timeout=120)
    (shown,) = re.findall(r"^```\{call-path\}\n(.+?)^```$", INTERNALS.read_text(), flags=re.MULTILINE | re.DOTALL)
    assert shown in page.read_text(), "run python docs/call_path.py docs/internals.md"
    assert shown.count("Scale.apply") == 3


# ---- docstrings: their form, and their examples -------------------------------------------------------------------------

CHECKS = parse_config(ROOT)["checks"]  # [tool.numpydoc_validation] in pyproject.toml


def public_objects():
    """What the reference lists, and the methods and properties of its classes: each once, by its first name."""
    page = (ROOT / "docs" / "reference.md").read_text()
    names = re.findall(r"^\.\. auto(?:class|function|exception):: ([\w.]+)$", page, flags=re.MULTILINE)
    names = [name.removeprefix("linops_jax.") for name in names]
    names += [f"algebra.{name}" for name in lo.algebra.__all__] + [f"ops.{name}" for name in lo.ops.__all__]
    found = {}
    for name in names:
        value = functools.reduce(getattr, name.split("."), lo)
        found.setdefault(id(value), (name, value))
        for cls in inspect.getmro(value) if inspect.isclass(value) else ():
            for key, member in vars(cls).items():
                if is_shown(key, member):
                    found.setdefault(id(member), (f"{name}.{key}", member))
    return {name: value for name, value in found.values() if home(value).partition(".")[0] == "linops_jax"}


def is_shown(name, member):
    is_public = not name.startswith("_") or name == "__call__"
    return is_public and bool(member.__doc__) and home(member) != ""


def home(value):
    """The module of a function, a class or a property; empty for other values."""
    value = getattr(value, "fget", getattr(value, "func", value))
    return (callable(value) and getattr(inspect.unwrap(value), "__module__", None)) or ""


PUBLIC = public_objects()


class OfOurs(Validator):
    """A field of a class is documented as a parameter of its constructor, or as an attribute."""

    def __init__(self, obj_name):
        super().__init__(get_doc_object(PUBLIC[obj_name], config={"show_class_members": False}))

    @property
    def signature_parameters(self):
        if inspect.isclass(self.obj) and issubclass(self.obj, enum.Enum):
            return ()
        attributes = self._doc_parameters(["Attributes"])
        return tuple(p for p in super().signature_parameters if not p.startswith("_") and p not in attributes)


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_docstring_says_what_is_taken_and_given(name):
    errors = validate(name, OfOurs)["errors"]
    assert [text for code, text in errors if code in CHECKS] == []


def test_public_names_are_checked():
    assert {
        "solve",
        "LinearOperator.inv",
        "ops.Diagonal",
        "testing.Checkup.report",
        "interop.to_scipy",
        "algebra.Sum",
    } < set(PUBLIC)


EXAMPLES = [path for path in sorted(PACKAGE.rglob("*.py")) if ">>> " in path.read_text()]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_examples_in_docstrings(path):
    """In the names that the reference declares, with the settings that JAX has by itself."""
    parser, runner = doctest.DocTestParser(), doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    with jax.numpy_rank_promotion("allow"), jax.enable_x64(False), np.printoptions(precision=4, suppress=True):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and (text := ast.get_docstring(node)):
                names = {"lo": lo, "jax": jax, "jnp": jnp, "np": np}
                runner.run(parser.get_doctest(text, names, getattr(node, "name", ""), str(path), 0))
    assert runner.failures == 0
    assert runner.tries == path.read_text().count(">>> ") > 0


def test_there_are_examples():
    assert len(EXAMPLES) > 5


# ---- the site -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def site(monkeypatch):
    """What lies beside `docs/conf.py`."""
    monkeypatch.syspath_prepend(ROOT / "docs")


@pytest.mark.usefixtures("site")
def test_the_table_of_operators_says_what_the_classes_do():
    import operator_table

    def cells(name):
        return operator_table.row(getattr(lo.ops, name)).strip("| ").split(" | ")

    assert cells("DCT")[2:-1] == ["(4,\N{NO-BREAK SPACE}3) → (4,\N{NO-BREAK SPACE}3)", "ℂ, unitary", "exact", "host"]
    assert cells("Real")[3:-1] == ["ℝ", "exact", "XLA"]
    assert cells("Abs")[1] == r"The modulus x → \|x\| of each element, real or complex. The result is real."
    assert [int(cells(name)[-1]) > 10 for name in ("Real", "Abs")] == [True, True]


@pytest.mark.usefixtures("site")
def test_the_table_has_the_formulas_of_what_becomes_of_x():
    from operator_table import formula

    assert formula("A.\n\n.. math:: y = U x, \\qquad A^H y = V y .\n\nB") == "y = U x"
    assert formula("A.\n\n.. math::\n    a = h x,\n    \\qquad d = \\|g\\| .") == r"a = h x$<br>$d = \Vert g\Vert "
    assert formula("A.\n\n.. math:: p = \\max(t) .") == ""
    assert formula("A.\n\n.. math:: y = \\begin{cases} x \\end{cases}") == ""


def test_every_operator_has_a_place_on_its_page():
    page = (ROOT / "docs" / "operators.md").read_text()
    shown = re.findall(r"^\.\. auto(?:class|function):: (?:linops_jax\.ops\.)?(\w+)$", page, flags=re.MULTILINE)
    assert sorted(shown) == sorted(lo.ops.__all__)


@pytest.mark.usefixtures("site")
def test_names_in_code_are_those_of_the_reference():
    from names import full_name

    assert full_name("lo.solve(A, y)") == "linops_jax.solve"
    assert full_name("@lo.traced") == "linops_jax.traced"
    assert full_name("jnp.linalg.norm") == "jax.numpy.linalg.norm"
    assert full_name("A.H(y)") is full_name("lo") is full_name("jax and lo.solve") is None


@pytest.mark.usefixtures("site")
def test_the_names_of_other_libraries_exist():
    import inventories
    from sphinx.util.inventory import InventoryFile

    for library, (_, page, names) in inventories.LIBRARIES.items():
        found = InventoryFile.loads(inventories.inventory(library, page, names.split()), uri="https://x").data
        assert sorted(found["py:function"]) == sorted(names.split())
        for name, item in found["py:function"].items():
            assert pkgutil.resolve_name(name) is not None
            assert item.uri == f"https://x/{page.format(name)}#{name}"
