"""What the documents say of files is so."""

import ast
import pathlib
import re
import subprocess
import sys

import pytest

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
