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
    heavy = {"pyspark", "py4j", "torch", "sklearn"} & set(sys.modules)
    print(json.dumps([end.code, sorted(heavy)]), file=sys.stderr)
"""


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
        pytest.param(
            "report {where} --output page.html",
            marks=pytest.mark.xfail(
                strict=True, reason="jobs.report counts with jobs.ratings.recent, which is Spark's"
            ),
        ),
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
    done = subprocess.run(
        [sys.executable, "-c", ANSWER, *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert json.loads(done.stderr.splitlines()[-1]) == [0, []], done.stderr
