"""What the README tells people to run, run as it stands."""

import re
from pathlib import Path

import duckdb
import pytest
from nights import SampleNight

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.fixture(autouse=True)
def output(sample_night: SampleNight, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "output").mkdir()
    (tmp_path / "output" / "sample").symlink_to(sample_night.output)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("code", blocks("python"))
def test_python_snippets_run_and_print(
    code: str, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    if "SparkSession" in code:
        request.getfixturevalue("spark")
        # The JVM was started elsewhere, and that is where it looks for relative paths.
        code = code.replace('"output/sample"', f'"{tmp_path}/output/sample"')
    exec(compile(code, "README.md", "exec"), {})
    assert len(capsys.readouterr().out.splitlines()) >= 7  # a user's list


@pytest.mark.parametrize("query", blocks("sql"))
def test_sql_snippets_give_the_list(query: str) -> None:
    assert len(duckdb.execute(query).fetchall()) == 7
