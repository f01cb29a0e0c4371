"""The rules of the house: who imports whom, how much a folder holds, and what importing does."""

import ast
import json
import os
import re
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from paths import ROOT

FLOORS = {
    "jobs": (
        *("nightly", "cli", "night experiments", "report ask", "stages", "ratings", "input"),
        *("runs", "machine", "datasets", "storage", "tables", "settings", "process", "errors"),
    ),
    "recsys_core": (
        *("query", "models", "evaluation", "ranking", "model_form", "linalg", "items", "compile"),
        *("sample", "sparse", "arrays", "errors"),
    ),
}
"""Folders and files at the top of each package. One imports from itself and from those after it,
but not from what stands beside it on its floor."""
MOST_FILES = 12
"""In a folder, ``__init__.py`` not counted."""
ONE_SUBJECT = {"recsys_core/models", "jobs/ratings"}
"""May hold two more: to part these would part a subject."""


def name_module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def find_files(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


CORE_FILES, JOB_FILES = find_files("recsys_core"), find_files("jobs")
MODULES = {name_module(path): path for path in CORE_FILES + JOB_FILES}
CORE_MODULES = [name_module(path) for path in CORE_FILES]
STAGE_FILES = [path for path in JOB_FILES if ROOT / "jobs" / "stages" in path.parents]


def name_stage(module: str) -> str | None:
    """The stage that a module is or is a part of, as jobs.stages.audit of its tables."""
    parts = module.split(".")
    return ".".join(parts[:3]) if parts[:2] == ["jobs", "stages"] and len(parts) > 2 else None


STAGES = {stage for path in STAGE_FILES if (stage := name_stage(name_module(path))) is not None}


def find_imports(source: str, package: str) -> set[str]:
    """Dotted names of what ``source`` imports anywhere, in functions too.

    Args:
        package: that the source is in, as jobs.stages.
    """
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join(
                [*(above if node.level else []), *([node.module] if node.module else [])]
            )
            found |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return found


def list_imports(path: Path) -> set[str]:
    return find_imports(path.read_text(), ".".join(path.relative_to(ROOT).parent.parts))


def find_own_imports(path: Path) -> set[str]:
    """The modules of this checkout that a file imports; a folder as such is not one."""
    folders = {name for name, file in MODULES.items() if file.name == "__init__.py"}
    return {name for name in list_imports(path) if name in MODULES and name not in folders}


def pick_imports(path: Path, *modules: str) -> set[str]:
    """Those of ``modules`` that the file imports, or imports from."""
    imports = list_imports(path)
    return {m for m in modules if any(name == m or name.startswith(f"{m}.") for name in imports)}


def find_floor(module: str) -> tuple[int, str]:
    """The floor of a module, 0 at the top, and the folder or file that it is in on that floor."""
    package, _, rest = module.partition(".")
    place = rest.partition(".")[0]
    for floor, places in enumerate(FLOORS[package]):
        if place in places.split():
            return floor, place
    raise AssertionError(f"{module}: {place!r} has no floor; give it one in FLOORS")


def find_arrows_up(path: Path) -> list[str]:
    """The imports that break the order."""
    module = name_module(path)
    package = module.partition(".")[0]
    floor, place = find_floor(module)
    arrows = []
    for imported in find_own_imports(path):
        if not imported.startswith(f"{package}."):
            continue  # of the core; that it imports nothing of the jobs is a rule of its own
        other_floor, other = find_floor(imported)
        if other != place and other_floor <= floor:
            arrows.append(imported)
    return sorted(arrows)


def run_fresh(code: str, *arguments: str, cwd: Path) -> str:
    """What a fresh interpreter prints; fails the test on an error or a word on stderr."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_the_rules_see_the_files() -> None:
    assert {"recsys_core", "recsys_core.models.mf", "recsys_core.ranking.top_k"} <= {*CORE_MODULES}
    assert {"jobs.nightly", "jobs.night.night", "jobs.errors"} <= MODULES.keys()
    assert {"score", "train", "evaluate", "cluster", "audit"} <= {
        stage.rpartition(".")[2] for stage in STAGES
    }


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("def f():\n    import jobs.input.files", "jobs.input.files"),
        ("from jobs.input import files as f", "jobs.input.files"),
        ("from jobs.input.files import find_files", "jobs.input.files"),
        ("from . import files", "jobs.input.files"),
        ("from .files import find_files", "jobs.input.files"),
        ("from ..runs.run import Run", "jobs.runs.run"),
    ],
)
def test_every_spelling_of_an_import_is_found(source: str, found: str) -> None:
    assert found in find_imports(source, "jobs.input")


@pytest.mark.parametrize(
    ("module", "imported"),
    [
        ("jobs.tables.contract", "jobs.stages.audit.tables"),
        ("jobs.night.night", "jobs.experiments.tune"),
    ],
)
def test_an_arrow_up_or_sideways_is_seen(
    module: str, imported: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / Path(*module.split(".")).with_suffix(".py")
    file.parent.mkdir(parents=True)
    file.write_text(f"import {imported}\nimport jobs.errors\n")
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    assert find_arrows_up(file) == [imported]


@pytest.mark.parametrize("path", CORE_FILES + JOB_FILES, ids=name_module)
def test_imports_follow_the_order_of_the_floors(path: Path) -> None:
    if name_module(path) not in FLOORS:  # the packages themselves
        assert find_arrows_up(path) == []


def test_no_file_imports_itself_by_way_of_others() -> None:
    graph = {module: find_own_imports(path) for module, path in MODULES.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a circle of imports: {' -> '.join(error.args[1])}")


def test_folders_are_no_longer_than_a_glance() -> None:
    tests = sorted((ROOT / "tests").rglob("*.py"))
    folders: dict[str, int] = {}
    for path in (*CORE_FILES, *JOB_FILES, *tests):
        if path.name != "__init__.py":
            folder = path.parent.relative_to(ROOT).as_posix()
            folders[folder] = folders.get(folder, 0) + 1
    most = {folder: MOST_FILES + 2 * (folder in ONE_SUBJECT) for folder in folders}
    assert {folder: n for folder, n in folders.items() if n > most[folder]} == {}


@pytest.mark.parametrize("path", CORE_FILES, ids=name_module)
def test_core_has_no_spark_no_paths_no_logging_and_no_clock(path: Path) -> None:
    banned = {"jobs", "pyspark", "py4j", "pathlib", "logging", "time", "datetime", "pydantic"}
    if path.name == "jit.py":  # which knows where the machine code is kept, and nothing else
        banned.remove("pathlib")
    assert not pick_imports(path, *banned)


@pytest.mark.parametrize("path", STAGE_FILES, ids=name_module)
def test_stages_do_not_import_each_other(path: Path) -> None:
    assert not pick_imports(path, *(STAGES - {name_stage(name_module(path))}))


@pytest.mark.parametrize("path", STAGE_FILES, ids=name_module)
def test_stages_do_not_know_where_anything_lies(path: Path) -> None:
    assert not pick_imports(path, "jobs.storage", "jobs.runs")


def test_the_night_runs_every_stage() -> None:
    imported = set().union(*(list_imports(path) for path in (ROOT / "jobs" / "night").glob("*.py")))
    assert STAGES - {name_stage(module) for module in imported} == set()


@pytest.mark.parametrize("path", CORE_FILES + JOB_FILES, ids=name_module)
def test_nothing_is_pickled(path: Path) -> None:
    assert not pick_imports(path, "pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve")
    calls = r"torch\.(save|load)\b|allow_pickle|(to|read)_pickle|joblib\.dump"
    assert not re.search(calls, path.read_text())


LIST_HEAVY_IMPORTS = """
import importlib, json, sys
brought = {}
for module in sys.argv[1:]:
    before = set(sys.modules)
    importlib.import_module(module)
    brought[module] = sorted({"pyspark", "jobs", "torch", "sklearn"} & (set(sys.modules) - before))
print(json.dumps(brought))
"""


def test_importing_core_brings_no_spark_torch_or_sklearn(tmp_path: Path) -> None:
    brought = json.loads(run_fresh(LIST_HEAVY_IMPORTS, *CORE_MODULES, cwd=tmp_path))
    assert brought == {module: [] for module in CORE_MODULES}


WATCH_IMPORTS = """
import contextlib, importlib, io, json, logging, os, sys, threading

def observe():
    spark = getattr(sys.modules.get("pyspark"), "SparkContext", None)
    return {
        "threads": threading.active_count(),
        "files": os.listdir(),
        "handlers": [repr(handler) for handler in logging.root.handlers],
        "log level": logging.root.level,
        "spark": repr(getattr(spark, "_active_spark_context", None)),
        "environment": dict(os.environ),
    }

changes = {}
for module in sys.argv[1:]:
    before, printed = observe(), io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        importlib.import_module(module)
    after = observe() | {"printed": printed.getvalue()}
    changes[module] = [name for name in after if after[name] != before.get(name, "")]
print(json.dumps(changes))
"""


def test_nothing_happens_at_import(tmp_path: Path) -> None:
    # Without the one that is there to be run: python -m jobs.cli.
    modules = [module for module in MODULES if not module.endswith("__main__")]
    changes = json.loads(run_fresh(WATCH_IMPORTS, *modules, cwd=tmp_path))
    assert changes == {module: [] for module in modules}


SCORE_WITHOUT_TRAINERS = """
import sys
sys.path.append(sys.argv[1])
sys.modules.update(dict.fromkeys(["torch", "sklearn", "pyspark", "jobs"]))  # to import is an error

from core_examples import draw_ratings, make_mf, make_nmf
from recsys_core.ranking.top_k import TopKScorer

ratings = draw_ratings(5, 30)
for model in (make_nmf(30), make_mf(30), make_mf(30, biases=True)):
    same = type(model).from_arrays(model.to_arrays())
    print(len(TopKScorer(same.item_factors, 3).rank(same.fold_in(ratings), ratings).item_index))
"""


def test_executors_score_without_torch_and_sklearn(tmp_path: Path) -> None:
    printed = run_fresh(SCORE_WITHOUT_TRAINERS, str(ROOT / "tests"), cwd=tmp_path)
    assert printed.split() == ["15", "15", "15"]
