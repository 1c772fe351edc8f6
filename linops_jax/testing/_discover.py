"""Finds the operator classes of a module, a package or a file, and their examples."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import inspect
import pkgutil
import sys
import traceback
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import jax

from linops_jax.testing._subject import Operator


class TargetError(Exception):
    """A target without operators to check; the text says why in one line."""


@dataclasses.dataclass(frozen=True)
class Found:
    """One operator class and its examples.

    Attributes
    ----------
    cls : type
        The class.
    examples : tuple of pairs, or None
        Of an operator and its input; None where the class gives none.
    error : Exception or None
        What ``examples()`` raised.
    """

    cls: Any
    examples: tuple[tuple[Any, Any], ...] | None
    error: Exception | None = None

    @property
    def name(self) -> str:
        return f"{self.cls.__module__}.{self.cls.__qualname__}"


def discover(target: str, *, left_out: list[str] | None = None) -> list[Found]:
    """The operator classes of a module, a package or a file, with their examples.

    Parameters
    ----------
    target : str
        The name of a module or package, or the path of a file or of a package's folder; ``::Class`` at the end picks
        one class. A package brings all its modules.
    left_out : list of str, optional
        To which is added what could not be looked at: modules of a package that need one not installed.

    Returns
    -------
    list of Found
        In the order of modules and lines: ``cls``; ``examples``, pairs of an operator and its input, or None where the
        class gives none; and ``error``, what ``examples()`` raised.

    Raises
    ------
    linops_jax.testing.TargetError
        If there is nothing to check.

    Notes
    -----
    Counted are classes that the target defines, and those that it re-exports from its own distribution. Abstract
    classes are left out, unless they have ``examples()`` and nothing derives from them: a hook was forgotten.
    """
    place, _, class_name = target.partition("::")
    modules = _modules(place, target, [] if left_out is None else left_out)
    everything = {cls: None for module in modules for cls in _classes(module, modules[0])}
    bases = [cls for cls in everything if inspect.isabstract(cls) and _is_base(cls, everything)]
    classes = {cls: None for cls in everything if cls not in bases}
    if class_name:
        chosen = [cls for cls in classes if class_name in (cls.__name__, cls.__qualname__)]
        if not chosen:
            there = ", ".join(sorted(cls.__qualname__ for cls in classes)) or "none"
            message = f"{target}: {place} has no operator class {class_name}; it has {there}"
            raise TargetError(message)
        classes = dict.fromkeys(chosen)
    if not classes:
        missing = "".join(f"; {cls.__qualname__} lacks {', '.join(sorted(cls.__abstractmethods__))}" for cls in bases)
        message = f"{target}: found no operator classes (subclasses of LinearOperator or NonlinearOperator){missing}"
        raise TargetError(message)
    return [_with_examples(cls) for cls in classes]


def _with_examples(cls: Any) -> Found:
    if not callable(getattr(cls, "examples", None)):
        return Found(cls, None)
    try:
        examples = tuple(_checked(cls, example) for example in cls.examples())
        if not any(_contains(op, cls) for op, _ in examples):
            message = (
                f"{cls.__qualname__}.examples() must yield (operator, spec) pairs, it yielded no {cls.__qualname__}"
            )
            raise TypeError(message)
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        if frame.filename != __file__:
            error.add_note(f"{frame.filename}:{frame.lineno}")
        if "examples" not in vars(cls):
            error.add_note(f"{cls.__qualname__} inherits examples(): define its own")
        return Found(cls, (), error)
    return Found(cls, examples)


def _checked(cls: Any, example: Any) -> tuple[Any, Any]:
    if isinstance(example, Operator):
        example = (example, None)
    if isinstance(example, tuple) and len(example) == 2 and isinstance(example[0], Operator):
        return example
    message = f"{cls.__qualname__}.examples() must yield (operator, spec) pairs, it yielded {example!r:.80}"
    raise TypeError(message)


def _contains(op: Any, cls: Any) -> bool:
    """Whether an operator is of this class, or made of one that is."""
    nodes = jax.tree.leaves(op, is_leaf=lambda node: isinstance(node, cls))
    return any(isinstance(node, cls) for node in nodes)


def _classes(module: ModuleType, first: ModuleType) -> Iterator[Any]:
    own, distribution = module.__name__, first.__name__.partition(".")[0]
    names = {*vars(module), *getattr(module, "__all__", ())}  # some are loaded on first use
    values = {id(value): value for value in (getattr(module, name, None) for name in names)}.values()
    found = [value for value in values if isinstance(value, type) and issubclass(value, Operator)]
    for cls in sorted(found, key=_line):
        home = cls.__module__
        exported = module is first and home.partition(".")[0] == distribution
        made_of_others = cls._composite and not hasattr(cls, "examples")  # an expression, without hooks of its own
        if (home == own or exported) and not made_of_others:
            yield cls


def _is_base(cls: Any, classes: Iterable[Any]) -> bool:
    """Whether an abstract class is one on purpose."""
    return "examples" not in vars(cls) or any(issubclass(other, cls) for other in classes if other is not cls)


def _line(cls: Any) -> tuple[str, int]:
    try:
        return cls.__module__, inspect.getsourcelines(cls)[1]
    except (OSError, TypeError):  # defined where there is no source
        return cls.__module__, 0


# ---- importing ----------------------------------------------------------------------------------------------------------


def _modules(place: str, target: str, left_out: list[str]) -> list[ModuleType]:
    path = Path(place)
    is_name = all(part.isidentifier() for part in place.split("."))
    if place.endswith(".py") or (path.is_dir() and not is_name):
        if not path.exists():
            message = f"{target}: there is no file {place}"
            raise TargetError(message)
        module = _import_path(path.resolve(), target)
    else:
        _put_first(Path.cwd())
        module = _import(place, target)
    return [module, *_submodules(module, target, left_out)]


def _submodules(package: ModuleType, target: str, left_out: list[str]) -> Iterator[ModuleType]:
    for info in pkgutil.iter_modules(getattr(package, "__path__", ()), package.__name__ + "."):
        if info.name.rpartition(".")[2] == "__main__":
            continue
        try:
            module = _import(info.name, target)
        except TargetError as error:
            if missing := _missing_elsewhere(error.__cause__, package):  # an extra that is not installed
                left_out.append(f"{info.name}: it needs {missing}, which is not installed")
                continue
            raise
        yield module
        yield from _submodules(module, target, left_out)


def _missing_elsewhere(error: BaseException | None, package: ModuleType) -> str:
    """The module of another distribution that is not there; empty where the error is another one."""
    name = error.name or "" if isinstance(error, ModuleNotFoundError) else ""
    return name if name.partition(".")[0] != package.__name__.partition(".")[0] else ""


def _import(name: str, target: str) -> ModuleType:
    importlib.invalidate_caches()  # files may be younger than what the finders remember
    try:
        return importlib.import_module(name)
    except BaseException as error:  # a module may call sys.exit
        if isinstance(error, KeyboardInterrupt):
            raise
        absent = isinstance(error, ModuleNotFoundError) and error.name and f"{name}.".startswith(f"{error.name}.")
        what = f"there is no module {error.name}" if absent else f"importing {name} failed: {_one_line(error)}"  # type: ignore[attr-defined]
        message = f"{target}: {what}"
        raise TargetError(message) from error


def _import_path(path: Path, target: str) -> ModuleType:
    """Imports a file or package under the name that Python itself would give it.

    Where that name is taken, a file gets one of its own.
    """
    inner = path if path.is_dir() else path.parent
    parts = [] if path.is_dir() or path.stem == "__init__" else [path.stem]
    while (inner / "__init__.py").exists():
        parts.insert(0, inner.name)
        inner = inner.parent
    if not parts:
        message = f"{target}: the folder {path.name} is no package, it has no __init__.py"
        raise TargetError(message)
    _put_first(inner)
    if path.is_file() and parts == [path.stem] and not _leads_to(path.stem, path):
        return _import_file(path, f"{path.stem}_{zlib.crc32(str(path).encode()):08x}", target)
    module = _import(".".join(parts), target)
    found = Path(module.__file__ or "").resolve()
    if found not in (path, path / "__init__.py"):
        message = f"{target}: the name {module.__name__} leads to {found}; rename {inner / parts[0]}"
        raise TargetError(message)
    return module


def _leads_to(name: str, path: Path) -> bool:
    importlib.invalidate_caches()
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):  # a dot in the name; __main__
        return False
    return spec is not None and spec.origin == str(path)


def _import_file(path: Path, name: str, target: str) -> ModuleType:
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, KeyboardInterrupt):
            raise
        message = f"{target}: importing {path.name} failed: {_one_line(error)}"
        raise TargetError(message) from error
    return module


def _put_first(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
