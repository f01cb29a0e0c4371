"""The examples of the README and the queries it points to, run as they stand."""

import re
import runpy
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pytest
from nights import SampleNight
from paths import ROOT
from pyspark.sql import SparkSession
from readme_text import list_blocks

BEFORE = "2026-11-20-20261120T010203-0a0a0a"


QUERIES = ROOT / "conf" / "examples" / "queries"
QUESTIONS, DUCKDB_VIEWS, SPARK_VIEWS = "questions.sql", "views_duckdb.sql", "views_spark.sql"
SCRIPTS = sorted(file.name for file in QUERIES.glob("*.py"))


def list_snippets(language: str) -> list[str]:
    return [text for name, text in list_blocks() if name == language]


@pytest.fixture(scope="module")
def nights(sample_night: SampleNight, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output with the sample night, but for one item that nobody gets and three rows left out,
    and a run before it whose lists lack their second places."""
    output = tmp_path_factory.mktemp("nights")
    for name in ("current", "CURRENT.json", "status.json"):
        shutil.copy(sample_night.output / name, output / name, follow_symlinks=False)
    shutil.copytree(sample_night.output / "runs", output / "runs")
    current = (output / "current").resolve()
    shutil.copytree(current, output / "runs" / BEFORE)
    lists = pd.read_parquet(current / "recommendations")
    asked_for = lists["item_id"].isin([25, *lists.loc[lists["user_id"] == 42, "item_id"]])
    lists = lists[lists["item_id"] != lists.loc[~asked_for, "item_id"].min()]
    _replace_table(current / "recommendations", lists)
    reasons = ["fewer than 5 ratings", "fewer than 5 ratings", "quarantined"]
    excluded = {"kind": ["item", "item", "user"], "id": ["1", "2", "3"], "reason": reasons}
    _replace_table(current / "excluded", pd.DataFrame({**excluded, "rating_count": [3, 4, 0]}))
    _replace_table(output / "runs" / BEFORE / "recommendations", lists[lists["rank"] != 2])
    return output


def _replace_table(table: Path, rows: pd.DataFrame) -> None:
    shutil.rmtree(table)
    table.mkdir()
    rows.to_parquet(table / "part-0.parquet", index=False)


@pytest.fixture
def output(nights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "output").mkdir()
    (tmp_path / "output" / "sample").symlink_to(nights)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("output")
@pytest.mark.parametrize("code", list_snippets("python"))
def test_python_snippets_run_and_print(code: str, capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(code, "README.md", "exec"), {})
    assert len(capsys.readouterr().out.splitlines()) >= 7  # a user's list


@pytest.mark.usefixtures("output")
@pytest.mark.parametrize("query", list_snippets("sql"))
def test_sql_snippets_give_the_list(query: str) -> None:
    assert len(duckdb.execute(query).fetchall()) == 7


def read_statements(name: str) -> list[str]:
    """The statements of a file of SQL, without comments."""
    text = re.sub(r"^--.*\n", "", (QUERIES / name).read_text(encoding="utf-8"), flags=re.MULTILINE)
    return [statement for part in text.split(";\n") if (statement := part.strip())]


def to_rows(answer: pd.DataFrame) -> list[tuple[Any, ...]]:
    """Plain values, floats rounded: engines differ in types and not in what they mean."""
    return [
        tuple(round(value, 4) if isinstance(value, float) else value for value in row)
        for row in answer.astype(object).itertuples(index=False, name=None)
    ]


@pytest.fixture
def expected(output: None) -> Iterator[list[list[tuple[Any, ...]]]]:
    """The answers of DuckDB."""
    with duckdb.connect() as connection:
        for statement in read_statements(DUCKDB_VIEWS):
            connection.execute(statement)
        questions = read_statements(QUESTIONS)
        yield [to_rows(connection.execute(question).df()) for question in questions]


def test_no_file_of_queries_is_left_out() -> None:
    files = {file.name for file in QUERIES.iterdir() if file.is_file()}
    assert files == {QUESTIONS, DUCKDB_VIEWS, SPARK_VIEWS, *SCRIPTS}


def test_each_question_has_its_number_and_its_words() -> None:
    titles = re.findall(r"^-- (\d+\. .+)$", (QUERIES / QUESTIONS).read_text(), re.MULTILINE)
    assert [int(title.split(".")[0]) for title in titles] == [*range(1, 11)]
    assert len(read_statements(QUESTIONS)) == 10
    for name in SCRIPTS:
        script = (QUERIES / name).read_text()
        assert re.findall(r"^    # (\d+\. .+)$", script, re.MULTILINE) == titles


def test_every_question_has_an_answer(expected: list[list[tuple[Any, ...]]]) -> None:
    assert all(expected)
    assert len(expected[0]) == 7
    assert len(expected[2]) == 10
    assert len(expected[7]) > 60
    assert {new_items for _, new_items in expected[7]} == {1}  # the second place
    assert expected[8] == [("model", 120)]


def run_questions(name: str, *arguments: str) -> list[Any]:
    """What a script of queries answers, run as by ``python NAME [OUTPUT]``."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [name, *arguments])
        answers: list[Any] = runpy.run_path(str(QUERIES / name), run_name="__main__")["answers"]
    return answers


@pytest.mark.parametrize("name", SCRIPTS)
def test_data_frames_answer_as_duckdb_does(
    name: str, expected: list[list[tuple[Any, ...]]], capsys: pytest.CaptureFixture[str]
) -> None:
    answers = run_questions(name, "output/sample")
    assert len(capsys.readouterr().out.splitlines()) > 50
    frames = [answer if "pandas" in name else answer.collect().to_pandas() for answer in answers]
    for answer, theirs in zip([to_rows(frame) for frame in frames], expected, strict=True):
        assert answer == theirs
    assert len(run_questions(name)) == len(answers)  # of the sample, where no output is named


def test_spark_sql_answers_as_duckdb_does(
    spark: SparkSession, expected: list[list[tuple[Any, ...]]], tmp_path: Path
) -> None:
    for statement in read_statements(SPARK_VIEWS):
        # The JVM was started elsewhere, and that is where it looks for relative paths.
        spark.sql(statement.replace("'output/sample'", f"'{tmp_path}/output/sample'"))
    for question, theirs in zip(read_statements(QUESTIONS), expected, strict=True):
        assert to_rows(spark.sql(question).toPandas()) == theirs
