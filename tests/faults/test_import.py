"""What importing does and does not do, and who may import what."""

import ast
import dataclasses
import functools
import importlib
import importlib.metadata
import importlib.util
import inspect
import pathlib
import pickle
import re
import typing

import pytest

import linops_jax as lo
from linops_jax import _compat
from linops_jax._engine import names
from linops_jax._operators import constructors

pytestmark = pytest.mark.versions

PACKAGE = pathlib.Path(_compat.__file__).parent


def test_jax_imported_after_us(run_child):
    run_child(
        """
        import linops_jax as lo
        import numpy as np
        result = lo.FFT()(np.ones(4, np.complex64))
        import jax, jax.numpy as jnp
        np.testing.assert_allclose(result, [2, 0, 0, 0], atol=1e-6)
        assert jax.jit(lo.Diagonal(jnp.ones(3)))(jnp.ones(3)).sum() == 3
        """
    )


def test_import_starts_no_backend(run_child):
    run_child(
        """
        import linops_jax as lo
        import jax
        class Twice(lo.LinearOperator):
            adjoint = None
            def apply(self, x): return 2 * x
            def infer_shape(self, x): return x
        lo.export_checks()
        jax.config.update("jax_num_cpu_devices", 3)  # refused once a backend has started
        assert len(jax.devices()) == 3
        assert Twice()(jax.numpy.ones(3)).sum() == 6
        """
    )


def test_distributed_initialize_after_import(run_child):
    run_child(
        """
        import socket
        import linops_jax as lo
        import jax, jax.numpy as jnp

        class Twice(lo.LinearOperator):
            adjoint = None
            def apply(self, x): return 2 * x
            def infer_shape(self, x): return x

        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        jax.distributed.initialize(coordinator_address=f"127.0.0.1:{port}", num_processes=1, process_id=0)
        assert jax.process_count() == 1
        assert jax.jit(lambda x: Twice()(x))(jnp.ones(3)).sum() == 6
        assert Twice()(jnp.ones(3)).sum() == 6
        jax.distributed.shutdown()
        """
    )


def test_import_after_a_backend_has_started(run_child):
    run_child(
        """
        import jax, jax.numpy as jnp
        jnp.ones(3).block_until_ready()
        import linops_jax as lo
        class Twice(lo.LinearOperator):
            adjoint = None
            def apply(self, x): return 2 * x
            def infer_shape(self, x): return x
        assert jax.jit(Twice())(jnp.ones(3)).sum() == 6
        """
    )


def test_import_changes_no_setting_and_starts_no_thread(run_child):
    run_child(
        """
        import signal, sys, threading, warnings
        import jax
        def state():
            return (dict(jax.config.values), threading.active_count(), signal.getsignal(signal.SIGINT), sys.excepthook,
                    sys.unraisablehook, sys.getrecursionlimit(), len(warnings.filters))
        before = state()
        import linops_jax
        assert state() == before
        """
    )


@pytest.mark.parametrize("version", ["0.9.2", "0.8.0", "0.4.38", "0.9.2.dev20250101"])
def test_an_unsupported_jaxlib_is_refused_in_one_sentence(version):
    with pytest.raises(
        ImportError, match=rf'^linops_jax needs jaxlib >= 0\.10, found jaxlib {version}: run pip .*"\.$'
    ):
        _compat.require_supported_jaxlib(version)


@pytest.mark.parametrize("version", ["0.10.0", "0.10.2", "0.12.0.1", "1.0.0", "0.11.0rc1", "0.13.0.dev20260101+abc"])
def test_supported_versions_of_jaxlib(version):
    _compat.require_supported_jaxlib(version)


def test_a_refused_import_leaves_jax_alone(run_child):
    child = run_child(
        """
        import jaxlib
        jaxlib.__version__ = "0.9.2"
        import jax, jax.numpy as jnp
        try:
            import linops_jax
        except ImportError as error:
            print(error)
        assert jnp.ones(3).sum() == 3
        assert jax.devices()[0].platform == "cpu"
        """
    )
    assert child.stdout.startswith("linops_jax needs jaxlib >= 0.10, found jaxlib 0.9.2: run pip install -U")


def test_import_of_the_package_needs_no_optional_dependency(run_child):
    run_child(
        """
        import sys

        class Refuse:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] in {"scipy", "lineax", "ducc0", "matplotlib", "PIL", "pytest", "pylops", "nifty"}:
                    sys.modules.setdefault("refused", name)
                return None

        sys.meta_path.insert(0, Refuse())
        import jax
        sys.modules.pop("refused", None)
        import linops_jax
        assert "refused" not in sys.modules, sys.modules["refused"]
        for name in ("testing", "solvers", "measures", "interop"):
            assert f"linops_jax.{name}" not in sys.modules, name
        assert linops_jax.testing.dot_test is linops_jax.dot_test
        assert "solve" in dir(linops_jax)
        try:
            linops_jax.slove
        except AttributeError as error:
            assert "has no attribute 'slove'" in str(error)
        else:
            raise SystemExit("no error")
        """
    )


# ---- who may import what --------------------------------------------------------------------------------------------

ORDER = [
    "_compat", "_types", "_public", "_model", "_native", "_trampoline_ext", "_engine", "_vectors", "_operators", "functional",
    "algebra", "ops", "functionals", "_views", "_simplify", "measures", "solvers", "minimizers", "testing", "distributed",
    "__init__", "interop", "cli", "__main__",
]  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Module:
    """One file of the library, and the places in it where it names other modules."""

    path: pathlib.Path  # under the package
    source: str

    @property
    def name(self):
        """``linops_jax`` of the library's own file, and such as ``linops_jax.ops.__init__`` of a package's."""
        return "linops_jax" if self.is_root else ".".join(("linops_jax", *self.path.with_suffix("").parts))

    @property
    def is_root(self):
        return self.path == pathlib.Path("__init__.py")

    @functools.cached_property
    def imported(self):
        """Lines and absolute dotted names, at any depth of the file, and in a string for ``import_module``."""
        package = ".".join(("linops_jax", *self.path.parent.parts))
        return [(node.lineno, name) for node in self._nodes for name in names_imported(node, package)]

    @functools.cached_property
    def attributes(self):
        """Lines and texts like ``jax.ffi.ffi_call``."""
        return [(node.lineno, ast.unparse(node)) for node in self._nodes if isinstance(node, ast.Attribute)]

    @functools.cached_property
    def _nodes(self):
        return list(ast.walk(ast.parse(self.source)))


def names_imported(node, package):
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        base = "." * node.level + (node.module or "")
        return [f"{importlib.util.resolve_name(base, package)}.{alias.name}" for alias in node.names]
    if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in ("import_module", "__import__"):
        return [arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
    return []


MODULES = [Module(path.relative_to(PACKAGE), path.read_text()) for path in sorted(PACKAGE.rglob("*.py"))]


def violations(rule, modules):
    """Lines of ``file:line: what is wrong``, of a rule that gives (line, what) for a module."""
    return "\n".join(
        f"linops_jax/{module.path.as_posix()}:{line}: {what}"
        for module in modules
        for line, what in sorted(rule(module))
    )


def rank(dotted):
    part = dotted.split(".")[1] if "." in dotted else "__init__"
    return ORDER.index(part) if part in ORDER else ORDER.index("__init__")


def imports_from_below(module):
    package = module.name.split(".")[1] if module.name.count(".") > 1 else None
    for line, imported in module.imported:
        if imported.partition(".")[0] != "linops_jax":
            continue
        if module.is_root and imported.startswith("linops_jax.interop"):
            continue  # where to find what is loaded when somebody asks for it
        if package and (imported == "linops_jax" or imported.startswith(f"linops_jax.{package}")):
            continue  # the public names, or its own package
        if rank(imported) >= rank(module.name):
            yield line, f"imports {imported}, which comes after it in the order"


def test_modules_import_only_from_modules_above_them():
    assert not (found := violations(imports_from_below, MODULES)), found


def circle(graph):
    """One circle in ``{module: modules it imports}``, from a module back to itself, or an empty list."""
    done = set()

    def walk(module, way):
        if module in way:
            return [*way[way.index(module) :], module]
        if module in done:
            return []
        found = next(filter(None, (walk(other, [*way, module]) for other in graph.get(module, ()))), [])
        done.add(module)
        return found

    return next(filter(None, (walk(module, []) for module in graph)), [])


@pytest.mark.parametrize(
    ("graph", "found"),
    [
        ({}, []),
        ({"a": ["b", "c"], "b": ["c"], "c": []}, []),
        ({"a": ["b"], "b": ["elsewhere"]}, []),
        ({"a": ["a"]}, ["a", "a"]),
        ({"a": ["b"], "b": ["c", "d"], "c": [], "d": ["b"]}, ["b", "d", "b"]),
        ({"a": ["b"], "b": [], "c": ["b", "d"], "d": ["e"], "e": ["c"]}, ["c", "d", "e", "c"]),
    ],
)
def test_a_circle_is_found(graph, found):
    assert circle(graph) == found


def module_graph(modules):
    """The modules that each of these modules imports, of themselves.

    ``from linops_jax._model import shapes`` imports the module ``shapes``; where a package's own file has the name, it imports
    that. What imports nothing but names of the whole package comes after it.
    """
    names = {module.name.removesuffix(".__init__") for module in modules}

    def imported_by(module):
        for _, name in module.imported:
            known = next((part for part in (name, name.rpartition(".")[0]) if part in names), None)
            if known not in (None, "linops_jax"):
                yield known

    return {module.name.removesuffix(".__init__"): sorted(set(imported_by(module))) for module in modules}


def test_no_circle_of_imports():
    graph = module_graph(MODULES)
    assert sum(map(len, graph.values())) > len(graph) > 50
    assert circle(graph) == []


@pytest.mark.parametrize(
    ("statement", "name"),
    [
        ("import linops_jax.ops", "linops_jax.ops"),
        ("from . import _stack", "linops_jax.algebra._stack"),
        ("def f(): from linops_jax.solvers import solve", "linops_jax.solvers.solve"),
        ("def f(): return importlib.import_module('linops_jax.solvers').solve", "linops_jax.solvers"),
        ("load = lambda: import_module('linops_jax.solvers')", "linops_jax.solvers"),
    ],
)
def test_every_way_to_import_is_read(statement, name):
    assert Module(pathlib.Path("algebra/_some.py"), f"pass\n{statement}").imported == [(2, name)]


# What touches JAX's interpreters: the table of rules, what programs say of hooks and of shards, symbolic zeros, jaxprs as
# functions.
INTERPRETERS = {f"_engine/{name}.py" for name in ("primitives", "lowering", "sharding", "tangents", "traced_hooks")}
INTERPRETERS.add("_compat.py")


VOLATILE = ("jax.interpreters", "jax.extend")


def is_in(name, *packages):
    return any(name == package or name.startswith(package + ".") for package in packages)


def uses_volatile_parts(module):
    path = module.path.as_posix()
    for line, name in {*module.imported, *module.attributes}:
        if is_in(name, "jax._src", "jaxlib.xla_extension"):
            yield line, f"uses {name}, which is private"
        if is_in(name, *VOLATILE) and path not in INTERPRETERS:
            yield line, f"uses {name}, which only {', '.join(sorted(INTERPRETERS))} do"
        if is_in(name, "jax.ffi") and path != "_engine/trampoline.py" and not path.startswith("cli/bench/"):
            yield (
                line,
                f"uses {name}, which only _engine/trampoline.py does",
            )  # a hand-written handler is a peer in cli/bench
        if is_in(name, "linops_jax._trampoline_ext") and path != "_engine/trampoline.py":
            yield line, f"uses {name}, which only _engine/trampoline.py does"


def test_the_volatile_parts_enter_through_one_file_each():
    assert not (found := violations(uses_volatile_parts, MODULES)), found
    users = {m.path.as_posix() for m in MODULES for _, name in (*m.imported, *m.attributes) if is_in(name, *VOLATILE)}
    assert users == INTERPRETERS


# The checks look behind the public names in one place, the context that watches all calls in another, converters in a third.
# All may ask how a pytree lies in a vector, and converters for an operator as a matrix.
BEHIND = ("testing/_subject/", "testing/_checking.py", "interop/_eager.py")
SHARED = {"testing": "linops_jax._vectors.packing", "interop": "linops_jax._vectors"}


def uses_private_names(module):
    package = module.path.parts[0]
    if package not in ("ops", "functionals", "interop", "testing", "cli") or module.path.as_posix().startswith(BEHIND):
        return
    for line, name in module.imported:
        is_told = module.path.name == "__init__.py" and name == "linops_jax._public"  # where users find its names
        if is_told or is_in(name, SHARED.get(package, "no module")) or is_in(name, "linops_jax._types"):  # annotations
            continue
        if is_in(name, "linops_jax") and not name.startswith(f"linops_jax.{package}") and "._" in name:
            yield line, f"imports {name}, which is not public"
    for line, text in module.attributes:
        if text.startswith("lo.") and "._" in text:
            yield line, f"uses {text}, which is not public"


def test_ready_made_parts_use_public_names_only():
    assert not (found := violations(uses_private_names, MODULES)), found


@pytest.mark.parametrize(
    ("rule", "path", "statement", "what"),
    [
        (imports_from_below, "_model/_some.py", "from linops_jax import solvers", "imports linops_jax.solvers, which"),
        (imports_from_below, "ops/_some.py", "def f(): import linops_jax.cli", "imports linops_jax.cli, which"),
        (imports_from_below, "__init__.py", "import linops_jax.cli", "imports linops_jax.cli, which"),
        (uses_volatile_parts, "ops/_some.py", "f = jax._src.core", "uses jax._src.core, which is private"),
        (
            uses_volatile_parts,
            "ops/_some.py",
            "from jax.extend import core",
            "uses jax.extend.core, which only _compat",
        ),
        (uses_volatile_parts, "ops/_some.py", "f = jax.ffi.ffi_call", "uses jax.ffi.ffi_call, which only _engine"),
        (
            uses_volatile_parts,
            "_native/_some.py",
            "from .. import _trampoline_ext",
            "uses linops_jax._trampoline_ext, ",
        ),
        (uses_private_names, "ops/_some.py", "from linops_jax._model import f", "imports linops_jax._model.f, which"),
        (uses_private_names, "testing/_some.py", "lo.algebra._stack", "uses lo.algebra._stack, which is not public"),
    ],
)
def test_what_breaks_a_rule_is_told_with_its_line(rule, path, statement, what):
    """All of it at once."""
    module = Module(pathlib.Path(path), f"import jax\n{statement}\n\n{statement}")
    lines = violations(rule, [module, module]).splitlines()
    starts = [line.partition(what)[0] for line in lines if what in line]
    assert starts == [f"linops_jax/{path}:{line}: " for line in (2, 4)] * 2


def test_every_module_has_a_place_in_the_order():
    tops = {module.path.with_suffix("").parts[0] for module in MODULES}
    assert tops <= set(ORDER)


def test_a_constructor_is_found_once():
    asked = []

    def find():
        asked.append(1)
        return lambda a, b: a + b

    handle: constructors.Constructor = constructors.Constructor("sum")
    with pytest.raises(ImportError, match=r"sum is not defined: import linops_jax itself, not only a module in it\."):
        handle(1, 2)
    handle.load(find)
    assert (handle(1, 2), handle(3, 4), asked) == (3, 7, [1])


# ---- what is public -------------------------------------------------------------------------------------------------


def test_the_public_names_are_those_of_the_reference():
    """And submodules, which hold more."""
    docs = pathlib.Path(__file__).parents[2] / "docs"
    page = "".join((docs / name).read_text() for name in ("reference.md", "operators.md"))
    documented = set(re.findall(r"^\.\. auto(?:class|function|exception):: (\w+)$", page, flags=re.MULTILINE))
    assert set(lo.__all__) == documented | {"algebra", "distributed", "functional", "interop", "ops", "testing"}
    assert len(set(lo.__all__)) == len(lo.__all__)


def test_the_classes_of_the_algebra_are_composites_and_notation():
    operators = [value for value in vars(lo.algebra).values() if hasattr(value, "_composite")]
    notation = {"Notation", "Precedence"}
    assert {cls.__name__ for cls in operators} == {name for name in lo.algebra.__all__ if name[0].isupper()} - notation


def test_every_combinator_is_public():
    """But for what only others are made of."""
    for path in (PACKAGE / "algebra").glob("_[a-z]*.py"):
        module = importlib.import_module(f"linops_jax.algebra.{path.stem}")
        written = {node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.ClassDef)}
        classes = {name for name in written if hasattr(getattr(module, name), "_composite")}
        hidden = {"LinearComposite", "NonlinearComposite", "Insert", "JAXFunction", "HostFunctions"}
        assert classes - hidden <= set(lo.algebra.__all__), path.name


PUBLIC_MODULES = [
    "linops_jax",
    *(f"linops_jax.{name}" for name in ("algebra", "functional", "interop", "ops", "testing")),
]


@pytest.mark.parametrize("module", PUBLIC_MODULES)
def test_a_public_name_says_where_users_find_it(module):
    for name in importlib.import_module(module).__all__:
        value = getattr(importlib.import_module(module), name)
        if inspect.ismodule(value) or name == "checks":
            continue
        assert value.__module__ in PUBLIC_MODULES, name
        assert getattr(importlib.import_module(value.__module__), name) is value
        assert pickle.loads(pickle.dumps(value)) is value
        assert len(value.__module__) <= len(module), name  # in the outermost one
        if inspect.isclass(value):
            typing.get_type_hints(value)
        else:
            assert inspect.getsource(value)


def test_former_paths_of_classes_are_found_by_pickles_and_keys():
    old, new = b"clinops_jax.ops._fft\nFFT\n.", b"clinops_jax\nFFT\n."
    assert pickle.loads(old) is pickle.loads(new) is lo.FFT
    assert names.require_class("linops_jax.ops._fft:FFT") is names.require_class("linops_jax:FFT") is lo.FFT
    assert names.class_name(lo.FFT) == "linops_jax:FFT"


def test_dir_and_star_give_the_public_names_and_nothing_else(run_child):
    run_child(
        """
        import linops_jax as lo
        assert dir(lo) == sorted(lo.__all__)
        names = {}
        exec("from linops_jax import *", names)
        assert set(names) - {"__builtins__"} == set(lo.__all__)
        assert dir(lo) == sorted(lo.__all__)
        """
    )


def test_the_version_is_that_of_the_distribution():
    assert lo.__version__ == importlib.metadata.version("linops-jax")
