"""The commands that answer without Spark, on a model published by a real run of the sample."""

import contextlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st
from nights import SampleNight

from jobs.ask.recommend import read_query
from jobs.cli.main import main
from jobs.errors import InputError, JobError
from jobs.runs.model_files import load_model


def ask(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments), catch_exceptions=False)


@pytest.fixture(scope="module")
def model(sample_night: SampleNight) -> str:
    return str(sample_night.output / "current" / "model")


@pytest.fixture(scope="module")
def titles(sample_night: SampleNight) -> list[str]:
    clusters = pd.read_parquet(sample_night.output / "current" / "item_clusters")
    return clusters.sort_values("rating_count", ascending=False)["title"].tolist()


def test_recommend_reads_json_a_file_and_single_ratings(
    model: str, titles: list[str], tmp_path: Path
) -> None:
    query = {titles[0]: 5, titles[1]: 3.5}
    (tmp_path / "query.json").write_text(json.dumps(query))
    answers = [
        ask("recommend", "--model", model, "--query", json.dumps(query), "-k", "4"),
        ask("recommend", "--model", model, "--query", str(tmp_path / "query.json"), "-k", "4"),
        ask(
            "recommend",
            "--model",
            model,
            "--rate",
            f"{titles[0]}=5",
            "--rate",
            f"{titles[1]}=3.5",
            "-k",
            "4",
        ),
    ]
    assert [answer.exit_code for answer in answers] == [0, 0, 0]
    assert answers[0].stdout == answers[1].stdout == answers[2].stdout
    assert len(answers[0].stdout.splitlines()) == 4
    assert titles[0] not in answers[0].stdout


def test_explain_names_the_ratings(model: str, titles: list[str]) -> None:
    answer = ask("recommend", "--model", model, "--rate", f"{titles[0]}=5", "-k", "1", "--explain")
    assert f"from your 5 for {titles[0]}" in answer.stdout


def test_ignored_items_are_told_and_the_rest_goes_on(model: str, titles: list[str]) -> None:
    answer = ask(
        "recommend", "--model", model, "--rate", "Unheard Of=3", "--rate", f"{titles[0]}=5"
    )
    assert answer.exit_code == 0
    assert answer.stderr == "ignored: 'Unheard Of' is not an item of this model\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to go by"),
        (["--query", "{"], "--query: not valid JSON"),
        (["--query", "[1]"], "neither JSON nor a readable file"),
        (["--query", "none.json"], "--query none.json: neither JSON nor a readable file"),
        (["--query", '{"1": 2, "1": 3}'], "'1' is rated twice"),
        (["--query", '{"1": [5]}'], "rating [5] is not a number"),
        (["--rate", "no rating"], '--rate no rating: expected "TITLE=RATING"'),
        (["--rate", "x=y"], "--rate x=y: expected"),
        (["--rate", "Unheard Of=3"], "no rating of an item this model knows"),
        (["--rate", "Unheard Of=9"], "rating 9.0 is not a number from 0.5 to 5"),
        (["--rate", "Unheard Of=3", "-k", "0"], "k = 0: must be at least 1"),
    ],
)
def test_a_query_that_cannot_be_is_one_line_and_exit_code_2(
    model: str, arguments: list[str], message: str
) -> None:
    answer = ask("recommend", "--model", model, *arguments)
    assert answer.exit_code == 2
    assert answer.stderr.startswith("error: ")
    assert message in answer.stderr
    assert answer.stderr.count("\n") == 1


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(
        st.text(),
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        ).map(json.dumps),
    )
)
def test_no_query_text_escapes_as_a_traceback(text: str) -> None:
    with contextlib.suppress(JobError):  # the only exception that ends in one line
        read_query(text, [])


def test_similar_and_inspect_print_what_the_notebooks_print(
    sample_night: SampleNight, model: str, titles: list[str]
) -> None:
    similar = ask("similar", "--model", model, "--item", titles[0], "-k", "3")
    assert similar.exit_code == 0
    assert len(similar.stdout.splitlines()) == 3
    published = pd.read_parquet(sample_night.output / "current" / "similar_items")
    clusters = pd.read_parquet(sample_night.output / "current" / "item_clusters")
    item = clusters.set_index("title").loc[titles[0], "item_id"]
    nearest = published[published["item_id"] == item].sort_values("rank")["similar_item_id"]
    for line, expected in zip(similar.stdout.splitlines(), nearest, strict=False):
        assert line.endswith(f"[{expected}]")
    looked = ask("inspect", "--model", model, "--user", "1")
    assert looked.exit_code == 0
    last = sample_night.manifest["funnel"][-1]
    assert (
        f"R  {last['users']} users x {last['items']} items, {last['rows']:,} ratings"
        in looked.stdout
    )
    assert "reconstruction error: " in looked.stdout
    assert "user 1: " in looked.stdout
    mine = pd.read_csv(sample_night.data / "ratings.csv").query("userId == 1")
    assert f"user 1: {len(mine)} ratings in R" in looked.stdout
    assert ask("inspect", "--model", model, "--user", "999999").exit_code == 2


def test_factors_are_published_when_asked_for(sample_night: SampleNight) -> None:
    current = sample_night.output / "current"
    users = pd.read_parquet(current / "user_factors").set_index("user_id")["factors"]
    items = pd.read_parquet(current / "item_factors").set_index("item_id")["factors"]
    lists = pd.read_parquet(current / "recommendations")
    for row in lists.sample(50, random_state=0).itertuples():
        score = np.dot(users[row.user_id].astype(float), items[row.item_id].astype(float))
        assert score == pytest.approx(row.score, rel=1e-6)


def test_personas_are_scored_against_their_relevant_items(
    model: str, titles: list[str], tmp_path: Path
) -> None:
    file = tmp_path / "personas.toml"
    file.write_text(
        '[[persona]]\nname = "somebody"\nrelevant = [-1]\n[persona.ratings]\n'
        f"{json.dumps(titles[0])} = 5.0\n"
    )
    answer = ask("personas", "--model", model, "--file", str(file), "-k", "3")
    assert answer.exit_code == 0, answer.stderr
    assert "somebody: precision 0.0" in answer.stdout
    hit = answer.stdout.split("[")[1].split("]")[0]
    file.write_text(file.read_text().replace("-1", hit))
    again = ask("personas", "--model", model, "--file", str(file), "-k", "3")
    assert "somebody: precision 0.3" in again.stdout
    file.write_text("[[persona]]\nname = 3\n")
    assert ask("personas", "--model", model, "--file", str(file)).exit_code == 2


@pytest.fixture
def damaged(sample_night: SampleNight, tmp_path: Path) -> Path:
    shutil.copytree((sample_night.output / "current").resolve(), tmp_path / "run")
    return tmp_path / "run" / "model"


@pytest.mark.parametrize("name", ["model.safetensors", "model.json"])
def test_a_damaged_model_is_refused(damaged: Path, name: str) -> None:
    assert load_model(damaged)
    data = bytearray((damaged / name).read_bytes())
    data[len(data) // 2] ^= 1
    (damaged / name).write_bytes(bytes(data))
    with pytest.raises(InputError, match=f"{name} is damaged"):
        load_model(damaged)
    (damaged / name).unlink()
    with pytest.raises(InputError, match=f"{name} cannot be read"):
        load_model(damaged)


def test_a_model_of_another_run_beside_this_manifest_is_refused(damaged: Path) -> None:
    manifest = damaged.parent / "manifest.json"
    changed: dict[str, Any] = json.loads(manifest.read_text())
    changed["model_sha256"]["model.json"] = "0" * 64
    manifest.write_text(json.dumps(changed))
    with pytest.raises(InputError, match="not the file that was published"):
        load_model(damaged)


def test_a_query_starts_no_jvm_and_imports_no_trainer(model: str, titles: list[str]) -> None:
    code = (
        "import sys\n"
        "from jobs.cli.main import main\n"
        "main(sys.argv[1:], standalone_mode=False)\n"
        "found = {'torch', 'sklearn', 'pyspark', 'pandas', 'py4j'} & set(sys.modules)\n"
        "assert not found, found\n"
    )
    arguments = ["recommend", "--model", model, "--rate", f"{titles[0]}=5"]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
