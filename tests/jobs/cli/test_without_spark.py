"""Commands that need no Spark do not import it: they answer in a second, and without Java."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from nights import SampleNight
from paths import CONF

ANSWER = """
import json, sys
from jobs.cli.main import main
for words in json.loads(sys.argv[1]):
    try:
        main(words)
    except SystemExit as end:
        print(json.dumps([end.code, [*sys.modules]]), file=sys.stderr)
"""
SPARK_AND_TRAINERS = {"pyspark", "py4j", "torch", "sklearn"}
COMMANDS = [
    *(f"{name} --help" for name in ("", "nightly", "evaluate", "tune", "warmup", "fetch")),
    "check {where}",
    "config {where}",
    "sample --users 20 --items 20 --ratings 60 --output made",
    "runs {where}",
    "rollback {run} {where}",
    "show --user 42 {where}",
    "show --item {item} {where}",
    "recommend --model {model} --rate {item}=5 --explain",
    "similar --model {model} --item {item}",
    "inspect --model {model} --user 42",
    f"personas --model {{model}} --file {CONF}/personas.toml",
    "report {where} --output page.html",
]


def run_commands(commands: list[list[str]], cwd: Path) -> list[tuple[int, set[str]]]:
    """Of each command its exit code, and what is imported after it, in one fresh interpreter."""
    done = subprocess.run(
        [sys.executable, "-c", ANSWER, json.dumps(commands)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    said = [line for line in done.stderr.splitlines() if line.startswith("[")]
    assert len(said) == len(commands), done.stderr
    return [(code, {*imported}) for code, imported in map(json.loads, said)]


@pytest.fixture(scope="module")
def ends(
    sample_night: SampleNight, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[int, set[str]]]:
    """How each command ended; on a copy of the night's output, as a rollback changes it."""
    directory = tmp_path_factory.mktemp("commands")
    output = Path(shutil.copytree(sample_night.output, directory / "out", symlinks=True))
    places: dict[str, Any] = {
        "where": f"--set output.path={output}",
        "model": output / "current" / "model",
        "run": (output / "current").resolve().name,
        "item": pq.read_table(output / "current" / "item_clusters")["item_id"][0],
    }
    words = [command.format(**places).split() for command in COMMANDS]
    return dict(zip(COMMANDS, run_commands(words, directory), strict=True))


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_without_spark_imports_none(
    command: str, ends: dict[str, tuple[int, set[str]]]
) -> None:
    code, imported = ends[command]
    assert (code, SPARK_AND_TRAINERS & imported) == (0, set())


def test_the_check_before_a_night_imports_little(tmp_path: Path) -> None:
    """It comes before the JVM starts, each night."""
    slow = {*SPARK_AND_TRAINERS, "numpy", "pandas", "pyarrow", "numba", "rich"}
    [(code, imported)] = run_commands([["check"]], tmp_path)
    assert (code, slow & imported) == (0, set())
