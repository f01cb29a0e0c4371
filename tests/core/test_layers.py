"""The rules of the layout: who imports whom, and that importing does nothing else."""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CORE_FILES = sorted((ROOT / "recsys_core").glob("*.py"))
JOB_FILES = sorted((ROOT / "jobs").glob("*.py"))
STAGES = ("audit", "clean", "cluster", "evaluate", "index", "publish", "read", "score", "train")


def name_module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


CORE_MODULES = [name_module(path) for path in CORE_FILES]
ALL_MODULES = CORE_MODULES + [name_module(path) for path in JOB_FILES]


def find_imports(source: str, package: str) -> set[str]:
    """Dotted names of what ``source`` imports anywhere, in functions too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(filter(None, [package if node.level else "", node.module]))
            found |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return found


def pick_imports(path: Path, *modules: str) -> set[str]:
    """Those of ``modules`` that the file imports, or imports from."""
    imports = find_imports(path.read_text(), path.parent.name)
    return {m for m in modules if any(name == m or name.startswith(f"{m}.") for name in imports)}


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
    assert {"recsys_core", "recsys_core.mf", "recsys_core.top_k"} <= set(CORE_MODULES)
    assert {"jobs.nightly", *(f"jobs.{stage}" for stage in STAGES)} <= set(ALL_MODULES)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("def f():\n    import jobs.read", "jobs.read"),
        ("from jobs import read as r", "jobs.read"),
        ("from jobs.read import read_items", "jobs.read"),
        ("from . import read", "jobs.read"),
        ("from .read import read_items", "jobs.read"),
    ],
)
def test_every_spelling_of_an_import_is_found(source: str, found: str) -> None:
    assert found in find_imports(source, "jobs")


@pytest.mark.parametrize("path", CORE_FILES, ids=lambda path: path.stem)
def test_core_has_no_spark_no_paths_no_logging_and_no_clock(path: Path) -> None:
    banned = {"jobs", "pyspark", "py4j", "pathlib", "logging", "time", "datetime"}
    if path.name == "compiled.py":  # which knows where the machine code is kept, and nothing else
        banned.remove("pathlib")
    assert not pick_imports(path, *banned)


@pytest.mark.parametrize("stage", STAGES)
def test_stages_do_not_import_each_other(stage: str) -> None:
    others = {f"jobs.{other}" for other in STAGES} - {f"jobs.{stage}"}
    assert not pick_imports(ROOT / "jobs" / f"{stage}.py", "jobs.nightly", *others)


def test_nightly_imports_every_stage() -> None:
    stages = {f"jobs.{stage}" for stage in STAGES}
    parts = sorted(path.stem for path in JOB_FILES if path.stem.startswith("night"))
    imported = [pick_imports(ROOT / "jobs" / f"{part}.py", *stages) for part in parts]
    assert set().union(*imported) == stages


@pytest.mark.parametrize("stage", sorted({*STAGES} - {"read", "publish"}))
def test_only_read_and_publish_touch_storage(stage: str) -> None:
    assert not pick_imports(ROOT / "jobs" / f"{stage}.py", "jobs.storage", "jobs.input_files")


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
    changes = json.loads(run_fresh(WATCH_IMPORTS, *ALL_MODULES, cwd=tmp_path))
    assert changes == {module: [] for module in ALL_MODULES}


SCORE_WITHOUT_TRAINERS = """
import sys
sys.path.append(sys.argv[1])
sys.modules.update(dict.fromkeys(["torch", "sklearn", "pyspark", "jobs"]))  # to import is an error

from core_examples import draw_ratings, make_mf, make_nmf
from recsys_core.top_k import TopKScorer

ratings = draw_ratings(5, 30)
for model in (make_nmf(30), make_mf(30), make_mf(30, biases=True)):
    same = type(model).from_arrays(model.to_arrays())
    print(len(TopKScorer(same.item_factors, 3).rank(same.fold_in(ratings), ratings).item_index))
"""


def test_executors_score_without_torch_and_sklearn(tmp_path: Path) -> None:
    printed = run_fresh(SCORE_WITHOUT_TRAINERS, str(ROOT / "tests"), cwd=tmp_path)
    assert printed.split() == ["15", "15", "15"]
