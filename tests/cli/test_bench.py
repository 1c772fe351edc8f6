"""`linops-jax bench`: what it measures, writes and compares, on tiny sizes; the figures themselves prove nothing here."""

import contextlib
import dataclasses
import json
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from linops_jax.cli import app
from linops_jax.cli.bench import (
    COMPARISONS,
    _machine,
    _measure,
    _recorded,
    _report,
    derivatives,
    devices,
    minimize,
    operators,
    solvers,
    startup,
)
from linops_jax.cli.bench._problems import objectives
from linops_jax.cli.bench._scaling import data, worker
from linops_jax.cli.bench._scaling.asking import Child, Request

pytestmark = pytest.mark.slow

TINY = dataclasses.replace(
    _measure.QUICK,
    rounds=2,
    slow_rounds=2,
    seconds=1e-4,
    sizes=(8, 100),
    batches=(1, 3),
    chain=(1, 3),
    pixels=16,
    pictures=(16,),
    steps=3,
    repeated=(100, 3),
    spread=("halo",),
)
SIZE = data.Size(8, 6, 2)


@pytest.fixture(autouse=True)
def tiny(tmp_path, monkeypatch):
    monkeypatch.setattr(_measure, "QUICK", TINY)
    monkeypatch.setattr(_recorded, "FILE", tmp_path / "recorded.json")
    monkeypatch.setattr(_machine, "_bandwidth", lambda: 1e10)
    monkeypatch.setenv("COLUMNS", "200")


def run(*arguments):
    return CliRunner().invoke(app, ["bench", *map(str, arguments)])


def rows_of(tmp_path, *arguments):
    file = tmp_path / "figures.json"
    result = run("--quick", "--json", file, *arguments)
    assert result.exit_code == 0, result.output
    found = json.loads(file.read_text())
    return found["rows"], found["machine"], result.stdout


def row(who, ratio, case="a case"):
    return _measure.Row("calls", case, who, "s", 1.0, (1.0, 1.0), ratio, (ratio, ratio))


# ---- a run --------------------------------------------------------------------------------------------------------------


def test_the_figures_of_calls(tmp_path):
    rows, machine, shown = rows_of(tmp_path, "calls")
    assert {"jax", "numpy", "jaxbind"} <= {name for name, version in machine["versions"].items() if version}
    assert machine["cores"] >= 1
    cases = {found["case"] for found in rows}
    assert cases == {
        "8 floats",
        "100 floats",
        "a second array, as a field, 8 floats",
        "a plan for the values of a field, 8 floats",
        "the same loop, 100 floats",
        "native hook, 8 floats",
        "C function, 8 floats",
    }
    assert [found["who"] for found in rows if found["case"] == "8 floats"] == [
        "linops_jax",
        "FFI handler by hand",
        "JAXbind",
        "pure_callback",
        "buffer_callback",
        "bare NumPy",
    ]
    for found in rows:
        if not found["note"]:
            low, high = found["quartiles"]
            assert 0 < low <= found["median"] <= high < 1
        assert (found["ratio"] is None) == found["who"].startswith("linops_jax")
    (goal,) = [found for found in rows if found["case"] == "8 floats" and found["who"] == "JAXbind"]
    assert goal["goal"] == "≤ 0.4"
    assert goal["met"] == (goal["ratio"] <= 0.4)
    assert "pure_callback" in shown
    assert "≤ 0.035" in shown


@pytest.mark.parametrize("name", ["dispatch", "batches", "callbacks", "derivatives", "programs", "models", "threads"])
def test_every_contestant_of_a_comparison_has_a_figure(tmp_path, name, monkeypatch):
    monkeypatch.setattr(derivatives, "SIZES", (8,))
    rows, *_ = rows_of(tmp_path, name)
    assert {found["comparison"] for found in rows} == {name}
    assert not [found for found in rows if found["note"] or found["median"] is None]
    assert not [found for found in rows if (found["ratio"] is None) == (not found["who"].startswith("linops_jax"))]


def test_solvers_come_to_the_same_answers(tmp_path, monkeypatch):
    for name in ("blur", "derivative"):
        monkeypatch.delitem(solvers.PROBLEMS, name)
    monkeypatch.setattr(solvers, "BY_LSMR", ())  # CI measures these two
    monkeypatch.setattr(solvers, "BY_FISTA", ())
    rows, *_ = rows_of(tmp_path, "solvers")
    assert {found["who"] for found in rows} == {"linops_jax", "PyLops", "lineax", "SCICO"}
    assert {(found["who"], found["note"]) for found in rows if found["note"]} == {
        ("lineax", "has no NUFFT and no foreign code"),
        ("SCICO", "has no NUFFT and no foreign code"),
        ("SCICO", "has no sparse matrices"),
    }


def test_all_minimise_to_the_same_gap(tmp_path, monkeypatch):
    monkeypatch.setattr(minimize, "PROBLEMS", {"lasso": minimize.PROBLEMS["lasso"]})
    rows, *_ = rows_of(tmp_path, "minimize")
    optional = "SCICO"
    assert {found["who"] for found in rows} == {"linops_jax", minimize.BY_ITSELF, "PyProximal", optional}
    assert {found["who"] for found in rows if found["median"] is None} <= {optional}
    assert {found["goal"] for found in rows if found["who"] == "PyProximal"} == {"≤ 0.5"}


def test_an_objective_that_is_not_close_to_the_minimum_is_none():
    objective = objectives.lasso(2)
    assert objective.gap(objective.start) > 1
    with pytest.raises(
        AssertionError, match=r"the objective is .* above the minimum, relative to it; it must be within"
    ):
        minimize._checked(lambda: objective.start, objective)
    with pytest.raises(_measure.Missing, match=r"is not within 0\.0001 after 2000 steps"):
        minimize._peer(lambda _: lambda steps, see: [see(objective.start) for _ in range(2)], objective)


def test_a_wrong_answer_is_no_contestant():
    answers = []
    solvers._checked(lambda: lambda: [1.0, 2.0], answers)
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        solvers._checked(lambda: lambda: [1.0, 2.1], answers)


def test_operators_are_measured_beside_their_peers(tmp_path, monkeypatch):
    few = ("RFFT", "DCT", "CausalIntegration", "Mask", "Flip", "SparseMatrix", "XRay")
    monkeypatch.setattr(operators, "ENTRIES", {name: operators.ENTRIES[name] for name in few})  # CI measures all
    rows, *_ = rows_of(tmp_path, "operators")
    optional = {"SCICO", "ASTRA, linear", "ASTRA, strip"}
    assert {found["who"] for found in rows} == {"linops_jax", "PyLops", "NumPy", "SciPy", "plain JAX"} | optional
    assert [found["case"] for found in rows if found["who"] == "linops_jax"] == [f"{name}, 16 x 16" for name in few]
    assert {found["who"] for found in rows if found["note"]} <= optional
    assert not [found for found in rows if not found["note"] and found["median"] is None]


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (lambda x: x[:-1], "a result has 240 numbers, that of the others has 256"),
        (
            lambda x: x * np.float32(1.001),
            r"a result differs from that of the others by 1\.0e-03 of its norm, more than 1e-05",
        ),
        (lambda x: x * np.nan, "a result differs from that of the others by nan of its norm"),
    ],
)
def test_an_operator_with_another_result_is_no_contestant(wrong, text):
    entry, answers = operators.ENTRIES["Flip"](16), []
    pair = entry.contestants["NumPy"]()
    operators._checked(lambda: pair, entry, answers)
    with pytest.raises(AssertionError, match=text):
        operators._checked(lambda: pair._replace(forward=lambda x: wrong(pair.forward(x))), entry, answers)
    with pytest.raises(AssertionError, match=text):
        operators._checked(lambda: pair._replace(adjoint=lambda y: wrong(pair.adjoint(y))), entry, answers)


def right_answer(problem):
    """By NumPy's FFT, dense least squares after as many steps, and slices."""
    windows, rows = data.windows(SIZE), np.pad(data.rows(SIZE), ((1, 1), (0, 0)))
    if problem == "nufft":
        k = np.indices((SIZE.side, SIZE.side)).reshape(2, -1) - SIZE.side // 2
        return (windows * data.picture(SIZE)).reshape(SIZE.length, -1) @ np.exp(-1j * (data.points() @ k)).T
    if problem == "stack":
        return np.fft.fft2(windows * data.picture(SIZE))
    if problem == "halo":
        return (rows[:-2] + rows[1:-1] + rows[2:]) / 3
    gram = np.sum(abs(windows) ** 2, axis=0) * SIZE.side**2  # a diagonal
    back = np.sum(np.conj(windows) * np.fft.ifft2(data.measured(SIZE), norm="forward"), axis=0)
    krylov = np.stack([back, gram * back], axis=-1).reshape(-1, SIZE.steps)
    return krylov @ np.linalg.solve(
        np.conj(krylov.T) @ (gram.reshape(-1, 1) * krylov), np.conj(krylov.T) @ back.ravel()
    )


EVERY = [(problem, library) for problem, libraries in devices.LIBRARIES.items() for library in libraries]


@pytest.mark.parametrize(("problem", "library"), EVERY)
def test_work_on_four_devices_is_right(problem, library):
    expected = right_answer(problem)
    found = np.reshape(worker.build(library, problem, SIZE)(), expected.shape)
    atol = 1e-3 if problem == "nufft" else 1e-4
    np.testing.assert_allclose(found, expected, atol=atol * np.max(abs(expected)))


def test_scaling_is_measured_in_other_processes(tmp_path):
    rows, *_ = rows_of(tmp_path, "devices")
    found = {row["who"]: row for row in rows if row["case"] == "blur with halos, 256 x 8, 2 devices"}
    optional = found.pop("pylops-mpi, 2 processes")
    assert optional["note"] in ("", "pylops_mpi is not installed", "there is no mpiexec")
    assert list(found) == [
        "linops_jax",
        "plain JAX",
        "plain JAX in shard_map",
        "the same on one device",
        "a device's part, on one device",
    ]
    assert not [row for row in rows if row is not optional and row["median"] is None]


def test_a_process_that_fails_says_why():
    child = Child(sys.executable, "-c", "import sys; sys.exit('no devices here')")
    with pytest.raises(RuntimeError, match=r"ended:\nno devices here"):
        child.ask(Request("linops_jax", "stack", SIZE, 0.0))
    child.close()


def test_pylops_mpi_needs_a_launcher(monkeypatch):
    monkeypatch.setattr(devices, "_require", lambda *modules: None)
    monkeypatch.setattr(devices.shutil, "which", lambda name, path=None: None)
    with pytest.raises(_measure.Missing, match="there is no mpiexec"):
        devices._mpiexec()


def test_spread_work_with_a_wrong_answer_is_no_contestant():
    program = "for _ in iter(input, ''): print('{\"seconds\": 1.0, \"fingerprint\": 2.0}', flush=True)"
    with contextlib.ExitStack() as ends:
        child = Child(sys.executable, "-c", program)
        ends.callback(child.close)
        asking, request = devices._Asking(TINY, ends), Request("linops_jax", "stack", SIZE, 0.0)
        assert asking._run(child, request, [2.0])() == 1.0
        with pytest.raises(AssertionError, match="Not equal to tolerance"):
            asking._run(child, request, [2.1])


def test_a_peer_that_is_not_installed_is_a_row_that_says_so(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "jaxbind", None)
    rows, _, shown = rows_of(tmp_path, "batches")
    absent = [found for found in rows if found["who"] == "JAXbind"]
    assert absent
    assert {found["note"] for found in absent} == {"jaxbind is not installed"}
    assert {found["ratio"] for found in absent} == {None}
    assert "jaxbind is not installed" in shown
    assert all(found["median"] for found in rows if found["who"] != "JAXbind")


def test_the_list_names_every_comparison():
    result = run("--list")
    assert result.exit_code == 0
    assert [line.split()[0] for line in result.stdout.splitlines()] == list(COMPARISONS)


# ---- pictures and pages -------------------------------------------------------------------------------------------------


def test_a_plot_and_a_page(tmp_path):
    page, picture = tmp_path / "page.md", tmp_path / "picture.png"
    page.write_text(f"before\n{_report.BEGIN}\nold\n{_report.END}\nafter\n")
    rows_of(tmp_path, "batches", "--markdown", page, "--plot", picture)
    text = page.read_text()
    assert text.startswith(f"before\n{_report.BEGIN}\n")
    assert text.endswith(f"{_report.END}\nafter\n")
    assert "old" not in text
    assert "### Goals" not in text  # of 1000 elements only
    assert "| 3 x 8 floats, one call | linops_jax |" in text
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(1.5, "s", "1.5 s"), (2.34567e-3, "s", "2.35 ms"), (4.2e-7, "s", "420 ns"), (1.0, "arrays", "1.00 arrays")],
)
def test_amounts(value, unit, text):
    assert _report.amount(value, unit) == text


# ---- the check against the record ---------------------------------------------------------------------------------------


def test_a_ratio_twice_the_recorded_one_is_measured_again_and_fails():
    _recorded.record([row("JAXbind", 0.3), row("pure_callback", 0.03)])
    result = run("--check", "threads")
    assert result.exit_code == 1
    assert "0 ratios compared" in result.stdout
    assert _recorded.too_large([row("JAXbind", 0.59), row("pure_callback", 0.05)]) == {}
    assert _recorded.too_large([row("JAXbind", 0.61)]) == {"calls | a case | JAXbind": (0.61, 0.3)}


def test_check_passes_beside_a_generous_record_and_fails_beside_a_mean_one():
    assert run("--record", "threads").exit_code == 0
    ratios = _recorded.recorded()
    assert {key.split(" | ")[0] for key in ratios} == {"threads"}
    _recorded.FILE.write_text(json.dumps(dict.fromkeys(ratios, 1e6)))
    passed = run("--check", "threads")
    assert passed.exit_code == 0, passed.output
    assert f"{len(ratios)} ratios compared, 0 measured again, 0 failed" in passed.stdout
    bad = "threads | FFT of 32 x 32, 1 thread | ducc0 from Python"
    _recorded.FILE.write_text(json.dumps({**dict.fromkeys(ratios, 1e6), bad: 1e-6}))
    failed = run("--check", "threads")
    assert failed.exit_code == 1
    assert f"FAILED {bad}: the ratio is" in failed.stderr
    assert "1 measured again, 1 failed" in failed.stdout


def test_the_committed_record_is_of_known_comparisons(monkeypatch):
    monkeypatch.undo()
    ratios = _recorded.recorded()
    assert {key.split(" | ")[0] for key in ratios} <= set(COMPARISONS)
    assert ratios["calls | 8 floats | JAXbind"] > 0


# ---- bad arguments ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["speed"], "speed: there is no such comparison; use one of calls, dispatch, batches"),
        (["--check", "--record"], "--check and --record cannot be combined: choose one"),
        (["calls", "--quick", "--plot", "no/such/a.png"], "no/such/a.png: there is no folder no/such"),
        (["calls", "--quick", "--plot", "a.txt"], "--plot a.txt: the name must end with one of"),
        (["calls", "--quick", "--markdown", "none.md"], "--markdown none.md: there is no such page"),
    ],
)
def test_bad_arguments(arguments, text):
    result = run(*arguments)
    assert result.exit_code == 2
    assert text in result.stderr
    assert result.stderr.startswith("linops-jax: ")
    assert result.stderr.count("\n") == 1


def test_start_up_is_that_of_what_is_installed(tmp_path, monkeypatch):
    (tmp_path / "linops_jax").mkdir()
    (tmp_path / "linops_jax" / "__init__.py").write_text("raise ImportError")
    monkeypatch.chdir(tmp_path)
    assert startup._importing("linops_jax", str(tmp_path / "byte code"))() > 0
