"""The examples for production: they parse, and what they call takes their options."""

import ast
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner
from paths import ROOT

from jobs.cli.main import main

EXAMPLES = ROOT / "conf" / "examples"
CONFIG = EXAMPLES.parent / "nightly.toml"


def read_commands(text: str) -> list[list[str]]:
    """The job's options in each call of spark-submit.sh, shell substitutions filled in."""
    text = text.replace("\\\n", " ").replace("\\%", "%").replace("%%", "%").replace("$$", "$")
    text = re.sub(r'"\$\(date -u -d yesterday \+%F\)"|"\$\{RUN_DATE[^"]*"', "2026-11-21", text)
    return [
        shlex.split(call)
        for call in re.findall(r"spark-submit\.sh nightly ([^\n'>|]*)", text)
        if not call.startswith("#")
    ]


def check(options: list[str]) -> None:
    """As the job would before Spark starts."""
    mine = [str(CONFIG) if option.endswith("nightly.toml") else option for option in options]
    done = CliRunner().invoke(main, ["check", *mine])
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize("name", ["crontab", "recsys-nightly.service"])
def test_the_commands_take_their_options(name: str, tmp_path: Path) -> None:
    (options,) = read_commands((EXAMPLES / name).read_text())
    assert "2026-11-21" in options
    check([o.replace("/var/lib/node_exporter", str(tmp_path)) for o in options])


def test_the_call_for_kubernetes_takes_its_options() -> None:
    script = EXAMPLES / "kubernetes.sh"
    assert subprocess.run(["bash", "-n", script], check=False).returncode == 0
    (options,) = read_commands(script.read_text())
    at = options.index("--master")
    assert options[at + 1].startswith("k8s://")
    assert set(options[at::2]) == {"--master", "--conf"}  # spark-submit's own, to the end
    check(options[:at])


def test_the_dag_calls_the_job_with_options_it_takes() -> None:
    tree = ast.parse((EXAMPLES / "airflow_dag.py").read_text())
    keywords = {
        keyword.arg: ast.unparse(keyword.value)
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "SparkSubmitOperator"
        for keyword in call.keywords
    }
    assert "jobs/nightly.py" in keywords["application"]
    options = eval(keywords["application_args"], {"HOME": str(EXAMPLES.parents[1])})
    check([option.replace("{{ ds }}", "2026-11-21") for option in options])


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not here")
@pytest.mark.parametrize("unit", ["recsys-nightly.service", "recsys-nightly.timer"])
def test_systemd_takes_the_units(unit: str, tmp_path: Path) -> None:
    for name in ("recsys-nightly.service", "recsys-nightly.timer"):
        shutil.copy(EXAMPLES / name, tmp_path)
    done = subprocess.run(
        ["systemd-analyze", "verify", str(tmp_path / unit)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert unit not in done.stderr, done.stderr
