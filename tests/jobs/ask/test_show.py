"""What ``show`` tells of a user and an item, held against the published tables."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from nights import SampleNight

from jobs.cli.main import main


def show(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["show", *arguments], catch_exceptions=False)


def lines_of(run: Path, *arguments: str) -> list[str]:
    answer = show("--run", str(run), *arguments)
    assert answer.exit_code == 0, answer.stderr
    return answer.stdout.splitlines()


def refusal(run: Path, *arguments: str, exit_code: int = 2) -> str:
    answer = show("--run", str(run), *arguments)
    assert (answer.exit_code, answer.stdout) == (exit_code, "")
    assert answer.stderr.startswith("error: ")
    assert answer.stderr.count("\n") == 1
    return answer.stderr


def write_table(run: Path, table: str, **columns: list[Any]) -> None:
    (run / table).mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), run / table / "part-0.parquet")


@pytest.fixture
def small_run(tmp_path: Path) -> Path:
    """Text for ids, and titles that are not to be trusted; as an older release wrote it."""
    run = tmp_path / "run"
    write_table(
        run,
        "recommendations",
        user_id=["1", "1", "1", "a\x1bb"],
        rank=pa.array([2, 1, 3, 1], pa.int32()),
        item_id=["x", "y", "w", "y"],
        score=pa.array([0.25, 0.5, 0.125, 1.0], pa.float32()),
        source=["model"] * 4,
    )
    write_table(
        run,
        "item_clusters",
        item_id=["x", "y", "z", "w"],
        title=["Heat (1995)", "Evil \x1b[2J", None, "Heat (1972)"],
        genres=pa.array([None] * 4, pa.string()),
        cluster=pa.array([1, 0, 1, 1], pa.int32()),
        rating_count=[3, 2, 1, 1],
        mean_rating=[4.0, 3.5, 1.0, 2.0],
    )
    write_table(
        run,
        "excluded",
        kind=["rows", "user"],
        id=[None, "c\x1bd"],
        reason=["quarantined"] * 2,
        rating_count=[3, 0],
    )
    return run


def test_a_user_is_told_with_titles_and_clusters(sample_night: SampleNight) -> None:
    current = sample_night.output / "current"
    lists = pd.read_parquet(current / "recommendations").query("user_id == 42").sort_values("rank")
    items = pd.read_parquet(current / "item_clusters").set_index("item_id")
    told = lines_of(current, "--user", "42")
    assert told[0] == f"run {sample_night.manifest['run_id']}"
    assert told[1] == "user 42: 7 recommendations"
    for line, row in zip(told[3:10], lists.itertuples(), strict=True):
        item = items.loc[row.item_id]
        start = f"{row.rank:4d}  {row.score:9.3f}  model       {item['cluster']:7d}"
        assert line == f"{start}  {item['title']} [{row.item_id}]"
    clusters = items.loc[lists["item_id"]].groupby(["cluster", "cluster_name"]).size()
    expected = {f"{n} of 7 from cluster {label}: {name}" for (label, name), n in clusters.items()}
    end = told.index("recently rated:")
    assert set(told[10:end]) == expected
    assert [line.split()[0] for line in told[10:end]] == sorted(map(str, clusters), reverse=True)
    recent = pd.read_parquet(current / "recent_ratings").query("user_id == 42").sort_values("place")
    assert told[end + 1 :] == [
        f"{row.rating:8g}  {pd.to_datetime(row.timestamp, unit='s'):%Y-%m-%d}  "
        f"{row.title} [{row.item_id}]"
        for row in recent.itertuples()
    ]


def test_an_item_is_told_by_id_and_by_title(sample_night: SampleNight) -> None:
    current = sample_night.output / "current"
    lists = pd.read_parquet(current / "recommendations")
    items = pd.read_parquet(current / "item_clusters").set_index("item_id")
    near = pd.read_parquet(current / "similar_items")
    item_id = int(lists["item_id"].value_counts().index[0])
    item, ranks = items.loc[item_id], lists[lists["item_id"] == item_id]["rank"].value_counts()
    told = lines_of(current, "--item", str(item_id))
    assert told == lines_of(current, "--item", item["title"])
    assert told[1:5] == [
        f"item {item['title']} [{item_id}]",
        f"genres: {item['genres'].replace('|', ', ')}",
        f"{item['rating_count']} ratings, mean {item['mean_rating']:.2f}",
        f"cluster {item['cluster']}: {item['cluster_name']}",
    ]
    by_rank = ", ".join(f"{rank}: {count}" for rank, count in sorted(ranks.items()))
    assert told[5] == f"recommended to {ranks.sum()} of 120 users, by rank {by_rank}"
    mine = near[near["item_id"] == item_id].sort_values("rank")
    assert told[6:] == [
        "similar:",
        *(
            f"{row.rank:4d}  {row.similarity:9.3f}  "
            f"{items.loc[row.similar_item_id, 'title']} [{row.similar_item_id}]"
            for row in mine.itertuples()
        ),
    ]


def test_who_is_left_out_is_told_why_and_gets_what_is_popular(next_night: SampleNight) -> None:
    current = next_night.output / "current"
    excluded = pd.read_parquet(current / "excluded").set_index("kind")
    user, item = excluded.loc["user"], excluded.loc["item"]
    told = lines_of(current, "--user", user["id"])
    why = f"{user['reason']} ({user['rating_count']} valid ratings)"
    assert told[1:3] == [
        f"user {user['id']} was left out of the model: {why}",
        f"user {user['id']}: 7 recommendations",
    ]
    assert all(" popularity " in line for line in told[4:11])
    facts = json.loads((current / "model" / "model.json").read_text())
    title = facts["excluded_items"][0]["title"]
    why = f"was left out of the model: {item['reason']} ({item['rating_count']} valid ratings)"
    assert lines_of(current, "--item", item["id"])[1] == f"item {item['id']} {why}"
    assert lines_of(current, "--item", title)[1] == f"item {title} [{item['id']}] {why}"
    kept = pd.read_parquet(current / "item_clusters")["item_id"].iloc[0]
    assert "similar:" not in lines_of(current, "--item", str(kept))  # the table was not wanted


def test_the_current_run_is_found_by_link_and_by_pointer(
    sample_night: SampleNight, tmp_path: Path
) -> None:
    setting = f"output.path={tmp_path / 'out'}"
    assert "no run is published there" in show("--user", "1", "--set", setting).stderr
    shutil.copytree(sample_night.output, tmp_path / "out", symlinks=True)
    expected = lines_of(sample_night.output / "current", "--user", "42")
    assert show("--user", "42", "--set", setting).stdout.splitlines() == expected
    pointer = tmp_path / "out" / "CURRENT.json"
    text = pointer.read_text()
    pointer.write_text("[]")  # where there is a link, it is the link that readers follow
    assert show("--user", "42", "--set", setting).stdout.splitlines() == expected
    (tmp_path / "out" / "current").unlink()
    answer = show("--user", "42", "--set", setting)
    assert (answer.exit_code, answer.stdout) == (4, "")
    pointer.write_text(text)  # as on a file system without links
    assert show("--user", "42", "--set", setting).stdout.splitlines() == expected
    answer = show("--user", "42", "--set", "output.path=hdfs://there/out")
    assert answer.exit_code == 2
    assert "not on this machine's disk" in answer.stderr


def test_the_unknown_is_one_line(sample_night: SampleNight, small_run: Path) -> None:
    current = sample_night.output / "current"
    for user in ("121", "Ann", "4_2", "9" * 19, "9" * 40, ""):
        expected = f"error: --user {user}: neither a list nor a reason for none in run "
        assert refusal(current, "--user", user).startswith(expected)
    for item in ("-1", "Nowhere", "9" * 40, ""):
        assert refusal(current, "--item", item).startswith(f"error: --item {item}: not an item of ")
    expected = "may be any of: Heat (1995) [x], Heat (1972) [w]; give the id or the whole title"
    assert expected in refusal(small_run, "--item", "heat")
    assert "either --user or --item" in refusal(current)
    assert "either --user or --item" in refusal(current, "--user", "1", "--item", "2")


def test_what_is_no_run_or_damaged_is_one_line(small_run: Path) -> None:
    assert "is no run" in refusal(small_run.parent, "--user", "1", exit_code=4)
    (small_run / "excluded" / "part-0.parquet").write_bytes(b"PAR1")
    assert "excluded cannot be read" in refusal(small_run, "--user", "1", exit_code=4)
    shutil.rmtree(small_run / "item_clusters")
    assert "item_clusters cannot be read" in refusal(small_run, "--item", "x", exit_code=4)


def test_an_older_run_without_names_is_told_and_titles_cannot_speak(small_run: Path) -> None:
    assert lines_of(small_run, "--user", "1")[1:] == [
        "user 1: 3 recommendations",
        "rank      score  source      cluster  title",
        "   1      0.500  model             0  Evil \ufffd[2J [y]",
        "   2      0.250  model             1  Heat (1995) [x]",
        "   3      0.125  model             1  Heat (1972) [w]",
        "2 of 3 from cluster 1",
        "1 of 3 from cluster 0",
    ]
    assert lines_of(small_run, "--user", "a\x1bb")[1] == "user a\ufffdb: 1 recommendation"
    left_out = "user c\ufffdd was left out of the model: quarantined (0 valid ratings)"
    assert lines_of(small_run, "--user", "c\x1bd")[1:] == [left_out]
    assert lines_of(small_run, "--item", "y")[1:] == [
        "item Evil \ufffd[2J [y]",
        "2 ratings, mean 3.50",
        "cluster 0",
        "recommended to 2 users, by rank 1: 2",
    ]
    assert lines_of(small_run, "--item", "z")[1:] == [
        "item z",
        "1 rating, mean 1.00",
        "cluster 1",
        "recommended to nobody",
    ]


def test_ratings_without_times_are_told_as_such(small_run: Path) -> None:
    """And a time that is in no calendar is passed over."""
    write_table(
        small_run,
        "recent_ratings",
        user_id=["1", "1", "a\x1bb"],
        place=pa.array([2, 1, 1], pa.int32()),
        item_id=["z", "y", "y"],
        title=[None, "Evil \x1b[2J", "Evil \x1b[2J"],
        rating=[2.0, 4.5, 3.0],
        timestamp=pa.array([None, None, 2**60], pa.int64()),
    )
    assert lines_of(small_run, "--user", "1")[-3:] == [
        "rated highest (the input has no times):",
        "     4.5  Evil \ufffd[2J [y]",
        "       2  z",
    ]
    told = lines_of(small_run, "--user", "a\x1bb")
    assert told[-2:] == ["recently rated:", "       3  Evil \ufffd[2J [y]"]


def test_long_lists_are_summed_up(small_run: Path) -> None:
    ranks = [*range(1, 13), 12]
    write_table(
        small_run,
        "recommendations",
        user_id=[str(user) for user in ranks],
        rank=pa.array(ranks, pa.int32()),
        item_id=["z"] * 13,
        score=[1.0] * 13,
        source=["model"] * 13,
    )
    told = lines_of(small_run, "--item", "z")[-1]
    assert told.startswith("recommended to 13 users, by rank 1: 1, 2: 1, ")
    assert told.endswith("10: 1, below: 3")


def test_only_row_groups_that_can_hold_the_user_are_read(small_run: Path) -> None:
    users = 100
    file = small_run / "recommendations" / "part-0.parquet"
    rows = {
        "user_id": pa.array(range(users)),
        "rank": pa.array([1] * users, pa.int32()),
        "item_id": ["x"] * users,
        "score": [1.0] * users,
        "source": ["model"] * users,
    }
    pq.write_table(pa.table(rows), file, row_group_size=users // 2, use_dictionary=False)
    group = pq.read_metadata(file).row_group(1)
    data, start = bytearray(file.read_bytes()), group.column(0).data_page_offset
    size = sum(group.column(column).total_compressed_size for column in range(group.num_columns))
    data[start : start + size] = bytes(size)
    file.write_bytes(bytes(data))
    assert "user 7: 1 recommendation" in lines_of(small_run, "--user", "7")
    refusal(small_run, "--user", "77", exit_code=4)


def test_a_run_is_named_by_its_id_too(sample_night: SampleNight) -> None:
    output, run_id = f"output.path={sample_night.output}", sample_night.manifest["run_id"]
    by_id = show("--set", output, "--run", run_id, "--user", "42")
    assert by_id.stdout.splitlines() == lines_of(sample_night.output / "current", "--user", "42")
    unknown = show("--set", output, "--run", f"{run_id[:-6]}000000", "--user", "42")
    assert (unknown.exit_code, "is no run" in unknown.stderr) == (4, True)
    elsewhere = show("--set", "output.path=hdfs://host/out", "--run", run_id, "--user", "42")
    assert (elsewhere.exit_code, "on this machine's disk" in elsewhere.stderr) == (2, True)


def test_it_starts_no_jvm_and_imports_no_trainer(sample_night: SampleNight) -> None:
    code = (
        "import sys\n"
        "from jobs.cli.main import main\n"
        "main(sys.argv[1:], standalone_mode=False)\n"
        "from pyspark import SparkContext\n"
        "assert SparkContext._gateway is None\n"
        "found = {'torch', 'sklearn', 'numba', 'scipy'} & set(sys.modules)\n"
        "assert not found, found\n"
    )
    arguments = ["show", "--run", str(sample_night.output / "current"), "--user", "42"]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "user 42: 7 recommendations" in done.stdout
