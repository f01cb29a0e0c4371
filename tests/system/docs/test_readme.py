"""What the README tells people to run, run as it stands."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pytest
from nights import SampleNight
from paths import ROOT
from pyspark.sql import SparkSession

README = (ROOT / "README.md").read_text(encoding="utf-8")
BEFORE = "2026-11-20-20261120T010203-0a0a0a"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


COOKBOOK = {
    "views in DuckDB": next(block for block in blocks("sql") if "CREATE VIEW" in block),
    "views in Spark": next(block for block in blocks("python") if "TempView" in block),
    "sql": next(block for block in blocks("sql") if "-- 10." in block),
    "polars": next(b for b in blocks("python") if "answers" in b and "polars" in b),
    "pandas": next(b for b in blocks("python") if "answers" in b and "pandas" in b),
}
SNIPPETS = {
    language: [block for block in blocks(language) if block not in COOKBOOK.values()]
    for language in ("python", "sql")
}


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


@pytest.fixture(autouse=True)
def output(nights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "output").mkdir()
    (tmp_path / "output" / "sample").symlink_to(nights)
    monkeypatch.chdir(tmp_path)


def run_snippet(code: str, directory: Path) -> dict[str, Any]:
    """What a Python block leaves behind."""
    # The JVM was started elsewhere, and that is where it looks for relative paths.
    code = code.replace('"output/sample', f'"{directory}/output/sample')
    names: dict[str, Any] = {}
    exec(compile(code, "README.md", "exec"), names)
    return names


@pytest.mark.parametrize("code", SNIPPETS["python"])
def test_python_snippets_run_and_print(
    code: str, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    if "SparkSession" in code:
        request.getfixturevalue("spark")
    run_snippet(code, tmp_path)
    assert len(capsys.readouterr().out.splitlines()) >= 7  # a user's list


@pytest.mark.parametrize("query", SNIPPETS["sql"])
def test_sql_snippets_give_the_list(query: str) -> None:
    assert len(duckdb.execute(query).fetchall()) == 7


@pytest.fixture(scope="module")
def questions() -> list[str]:
    """The ten queries of the cookbook, in order."""
    queries = re.split(r"-- \d+\. [^\n]*\n", COOKBOOK["sql"])[1:]
    assert len(queries) == 10
    return queries


def to_rows(answer: pd.DataFrame) -> list[tuple[Any, ...]]:
    """Plain values, floats rounded: engines differ in types and not in what they mean."""
    return [
        tuple(round(value, 4) if isinstance(value, float) else value for value in row)
        for row in answer.astype(object).itertuples(index=False, name=None)
    ]


@pytest.fixture
def expected(questions: list[str]) -> Iterator[list[list[tuple[Any, ...]]]]:
    """The answers of DuckDB."""
    with duckdb.connect() as connection:
        connection.execute(COOKBOOK["views in DuckDB"])
        yield [to_rows(connection.execute(query).df()) for query in questions]


def test_every_question_of_the_cookbook_has_an_answer(
    expected: list[list[tuple[Any, ...]]],
) -> None:
    assert all(expected)
    assert len(expected[0]) == 7
    assert len(expected[2]) == 10
    assert len(expected[7]) > 60
    assert {new_items for _, new_items in expected[7]} == {1}  # the second place
    assert expected[8] == [("model", 120)]


@pytest.mark.parametrize("engine", ["polars", "pandas"])
def test_data_frames_answer_as_duckdb_does(
    engine: str, expected: list[list[tuple[Any, ...]]], tmp_path: Path
) -> None:
    answers = run_snippet(COOKBOOK[engine], tmp_path)["answers"]
    frames = [answer.collect().to_pandas() if engine == "polars" else answer for answer in answers]
    for answer, theirs in zip([to_rows(frame) for frame in frames], expected, strict=True):
        assert answer == theirs


def test_spark_sql_answers_as_duckdb_does(
    spark: SparkSession, questions: list[str], expected: list[list[tuple[Any, ...]]], tmp_path: Path
) -> None:
    run_snippet(COOKBOOK["views in Spark"], tmp_path)
    for query, theirs in zip(questions, expected, strict=True):
        query = query.replace("unnest(string_split(genres, '|'))", "explode(split(genres, '[|]'))")
        assert to_rows(spark.sql(query.strip().rstrip(";")).toPandas()) == theirs
