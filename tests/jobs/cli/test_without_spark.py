"""Commands that need no Spark do not import it: they answer in a second, and without Java."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from nights import SampleNight
from paths import CONF

ANSWER = """
import json, sys
from jobs.cli.main import main
try:
    main(sys.argv[1:])
except SystemExit as end:
    print(json.dumps([end.code, [*sys.modules]]), file=sys.stderr)
"""
SPARK_AND_TRAINERS = {"pyspark", "py4j", "torch", "sklearn"}


def find_imported(heavy: set[str], *words: str, cwd: Path) -> set[str]:
    """Which of these packages a command, which must end well, imports."""
    done = subprocess.run(
        [sys.executable, "-c", ANSWER, *words],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    code, imported = json.loads(done.stderr.splitlines()[-1])
    assert code == 0, done.stderr
    return heavy & set(imported)


@pytest.fixture(scope="module")
def output(sample_night: SampleNight, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the night's output: a rollback changes it."""
    copy = tmp_path_factory.mktemp("copy") / "out"
    return Path(shutil.copytree(sample_night.output, copy, symlinks=True))


@pytest.mark.parametrize(
    "command",
    [
        "show --user 42 {where}",
        "show --item {item} {where}",
        "recommend --model {model} --rate {item}=5 --explain",
        "similar --model {model} --item {item}",
        "inspect --model {model} --user 42",
        f"personas --model {{model}} --file {CONF}/personas.toml",
        "runs {where}",
        "rollback {run} {where}",
        "report {where} --output page.html",
        "config {where}",
        "check {where}",
        "sample --users 20 --items 20 --ratings 60 --output made",
        *(f"{name} --help" for name in ("", "nightly", "evaluate", "tune", "warmup", "fetch")),
    ],
)
def test_a_command_without_spark_imports_none(command: str, output: Path, tmp_path: Path) -> None:
    words = command.format(
        where=f"--set output.path={output}",
        model=output / "current" / "model",
        run=(output / "current").resolve().name,
        item=pq.read_table(output / "current" / "item_clusters")["item_id"][0],
    ).split()
    assert find_imported(SPARK_AND_TRAINERS, *words, cwd=tmp_path) == set()


def test_the_check_before_a_night_imports_little(tmp_path: Path) -> None:
    """It comes before the JVM starts, each night."""
    slow = {*SPARK_AND_TRAINERS, "numpy", "pandas", "pyarrow", "numba", "rich"}
    assert find_imported(slow, "check", cwd=tmp_path) == set()
