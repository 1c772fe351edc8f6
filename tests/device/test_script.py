"""The prepared script, on small arrays."""

import json

import pytest
import script

from linops_jax.cli.bench import _machine

pytestmark = pytest.mark.slow

SECTIONS = [name for name in script.SECTIONS if name != "correctness"]  # that is the file beside this one


@pytest.fixture(autouse=True)
def no_bandwidth(monkeypatch):
    monkeypatch.setattr(_machine, "_bandwidth", lambda: 1e10)


def test_it_writes_a_table_and_a_file(tmp_path, capsys):
    file = tmp_path / "new" / "device.json"
    assert script.main(["--small", "--out", str(file), *SECTIONS]) == 0
    found = json.loads(file.read_text())
    rows = found["rows"]
    assert [row["note"] for row in rows if row["note"]] == []
    assert {row["comparison"] for row in rows} == set(SECTIONS)
    kinds = {row["who"] for row in rows if row["comparison"] == "overhead"}
    assert {"linops_jax, host", "linops_jax, traced", "linops_jax, native", "pure_callback"} < kinds
    (copies,) = [row["median"] for row in rows if row["unit"] == "copies"][:1] or [0.0]
    assert copies == 0
    assert found["size"] == "small"
    assert found["machine"]["versions"]["jax"]
    assert "overhead: One call of each kind of hook" in capsys.readouterr().out


def test_what_fails_is_in_the_file_too(tmp_path, monkeypatch):
    def broken(size):
        """A section."""
        message = "no device"
        raise RuntimeError(message)

    monkeypatch.setitem(script.SECTIONS, "link", broken)
    file = tmp_path / "device.json"
    assert script.main(["--small", "--out", str(file), "link"]) == 1
    (row,) = json.loads(file.read_text())["rows"]
    assert row["note"] == "failed: RuntimeError: no device"


def test_it_ends_in_time(tmp_path):
    file = tmp_path / "device.json"
    assert script.main(["--small", "--minutes", "0", "--out", str(file), "link"]) == 0
    (row,) = json.loads(file.read_text())["rows"]
    assert row["note"] == "not run: 0 minutes are over"


def test_unknown_sections_are_refused(capsys):
    with pytest.raises(SystemExit, match="2"):
        script.main(["speed"])
    assert "speed: there is no such section; use correctness, overhead" in capsys.readouterr().err
