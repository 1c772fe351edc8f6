"""What importing does and does not do, and who may import what."""

import ast
import importlib
import importlib.metadata
import importlib.util
import pathlib
import re
import time

import pytest

import linops_jax as lo
from linops_jax import _compat
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


def test_time_of_import(run_child):
    """Shown, not judged: the machine may be busy."""

    def seconds(statement):
        times = []
        for _ in range(3):
            start = time.perf_counter()
            run_child(statement)
            times.append(time.perf_counter() - start)
        return min(times)

    alone, with_us = seconds("import jax"), seconds("import jax, linops_jax")
    print(f"import jax: {alone:.2f} s; with linops_jax: {1000 * (with_us - alone):+.0f} ms")


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
    "_compat", "_types", "_model", "_native", "_trampoline_ext", "_engine", "_vectors", "_operators", "functional", "algebra",
    "ops", "_views", "_simplify", "measures", "solvers", "testing", "__init__", "interop", "cli", "__main__",
]  # fmt: skip
MODULES = sorted(path for path in PACKAGE.rglob("*.py"))


def names_imported(path):
    package = ".".join(("linops_jax", *path.parent.relative_to(PACKAGE).parts))
    return names_in(path.read_text(), package)


def names_in(source, package):
    """Absolute dotted names, at any depth of the file, and in a string for ``import_module``."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = (
                importlib.util.resolve_name("." * node.level + (node.module or ""), package)
                if node.level
                else node.module
            )
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in (
            "import_module",
            "__import__",
        ):
            yield from (arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str))


def attributes_used(path):
    return {ast.unparse(node) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}


def rank(dotted):
    part = dotted.split(".")[1] if "." in dotted else "__init__"
    return ORDER.index(part) if part in ORDER else ORDER.index("__init__")


def own_name(path):
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(("linops_jax", *parts)) if parts != ("__init__",) else "linops_jax"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_from_modules_above_it(path):
    name = own_name(path)
    package = name.split(".")[1] if name.count(".") > 1 else None
    for imported in names_imported(path):
        if imported.partition(".")[0] != "linops_jax":
            continue
        if name == "linops_jax" and imported.startswith("linops_jax.interop"):
            continue  # where to find what is loaded when somebody asks for it
        if package and (imported == "linops_jax" or imported.startswith(f"linops_jax.{package}")):
            continue  # the public names, or its own package
        assert rank(imported) < rank(name), f"{name} imports {imported}"


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


def module_graph(paths, package=PACKAGE):
    """The modules that each of the files imports, of those that these files are.

    ``from linops_jax._model import shapes`` imports the module ``shapes``; where a package's own file has the name, it imports
    that. What imports nothing but names of the whole package comes after it.
    """
    modules = {own_name(path).removesuffix(".__init__") for path in paths}

    def imported_by(path):
        for name in names_imported(path):
            known = next((part for part in (name, name.rpartition(".")[0]) if part in modules), None)
            if known not in (None, "linops_jax"):
                yield known

    return {own_name(path).removesuffix(".__init__"): sorted(set(imported_by(path))) for path in paths}


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
    assert list(names_in(statement, "linops_jax.algebra")) == [name]


# What touches JAX's interpreters: the table of rules, what programs say of hooks and of shards, symbolic zeros, jaxprs as
# functions.
INTERPRETERS = {f"_engine/{name}.py" for name in ("primitives", "lowering", "sharding", "tangents", "traced_hooks")}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_the_volatile_parts_enter_through_one_file_each(path):
    name = path.relative_to(PACKAGE).as_posix()
    used = set(names_imported(path)) | attributes_used(path)

    def uses(prefix):
        return sorted(n for n in used if n == prefix or n.startswith(prefix + "."))

    assert not uses("jax._src")
    assert not uses("jaxlib.xla_extension")
    assert bool(uses("jax.interpreters") or uses("jax.extend")) == (name in INTERPRETERS)
    if name != "_engine/trampoline.py":
        assert name.startswith("cli/bench/") or not uses("jax.ffi")  # a hand-written handler is a peer there
        assert not uses("linops_jax._trampoline_ext")


# The checks look behind the public names in one place, the context that watches all calls in another, converters in a third.
BEHIND = ("testing/_subject/", "testing/_checking.py", "interop/_eager.py")
PUBLIC_USERS = [
    path
    for path in MODULES
    if path.relative_to(PACKAGE).parts[0] in ("ops", "interop", "testing", "cli")
    and not path.relative_to(PACKAGE).as_posix().startswith(BEHIND)
]


@pytest.mark.parametrize("path", PUBLIC_USERS, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_ready_made_parts_use_public_names_only(path):
    package = own_name(path).split(".")[1]
    for imported in names_imported(path):
        own = (f"linops_jax.{package}", "linops_jax._types")  # annotations, which change nothing
        if imported.partition(".")[0] == "linops_jax" and not imported.startswith(own):
            assert not any(part.startswith("_") for part in imported.split(".")), imported
    for text in attributes_used(path):
        if text.startswith("lo."):
            assert "._" not in text, text


def test_every_module_has_a_place_in_the_order():
    tops = {path.relative_to(PACKAGE).with_suffix("").parts[0] for path in MODULES}
    assert tops <= set(ORDER)


def test_a_constructor_is_found_once():
    asked = []

    def find():
        asked.append(1)
        return lambda a, b: a + b

    handle: constructors.Constructor = constructors.Constructor("sum")
    with pytest.raises(ImportError, match=r"nothing has defined sum: import linops_jax, not a part of it\."):
        handle(1, 2)
    handle.load(find)
    assert (handle(1, 2), handle(3, 4), asked) == (3, 7, [1])


# ---- what is public -------------------------------------------------------------------------------------------------


def test_the_public_names_are_those_of_the_reference():
    """And submodules, which hold more."""
    page = (pathlib.Path(__file__).parents[2] / "docs" / "reference.md").read_text()
    documented = set(re.findall(r"^\.\. auto(?:class|function|exception):: (\w+)$", page, flags=re.MULTILINE))
    assert set(lo.__all__) == documented | {"algebra", "functional", "interop", "ops", "testing"}
    assert len(set(lo.__all__)) == len(lo.__all__)


def test_the_classes_of_composites_are_those_of_the_reference():
    page = (pathlib.Path(__file__).parents[2] / "docs" / "reference.md").read_text()
    documented = set(re.findall(r"^\| `(\w+)`(?:, `(\w+)`)? \|", page, flags=re.MULTILINE))
    listed = {name for names in documented for name in names if name} | set(lo.__all__)
    assert set(lo.algebra.__all__) <= listed
    composites = [value for value in vars(lo.algebra).values() if getattr(value, "_composite", False)]
    assert {cls.__name__ for cls in composites} == {name for name in lo.algebra.__all__ if name[0].isupper()}


def test_every_combinator_is_public():
    """But for what only others are made of."""
    for path in (PACKAGE / "algebra").glob("_*.py"):
        module = importlib.import_module(f"linops_jax.algebra.{path.stem}")
        own = [value for value in vars(module).values() if getattr(value, "__module__", "") == module.__name__]
        classes = {value.__name__ for value in own if getattr(value, "_composite", False)}
        hidden = {"LinearComposite", "NonlinearComposite", "Insert"}
        assert classes - hidden <= set(lo.algebra.__all__), path.name


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
