"""The nightly report: its numbers, its size, titles that mean harm, and its failure."""

import json
import logging
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from builders import checkerboard, make_config, write_csv
from click.testing import CliRunner
from nights import SampleNight
from paths import ROOT
from pyspark.sql import SparkSession
from report_pages import HOSTILE, PageParts, with_hostile_texts

from jobs.cli.main import main
from jobs.night.night import run_nightly
from jobs.report import page
from jobs.report.content import ReportData, RunItems, assemble_report
from jobs.report.counting.count_run import RunTables, count_run, sample_users
from jobs.report.counting.counts import ListCounts, UserCounts
from jobs.report.counting.file_tables import FileTables
from jobs.report.counting.spark_tables import SparkTables
from jobs.report.figures.item_map import project_items
from jobs.report.figures.lists import score_range
from jobs.report.page import REPORT, make_report, render_report
from jobs.report.read_run import count_files, read_report
from jobs.runs.records import RunRecord, find_run
from jobs.runs.run import Run
from jobs.storage.local import LocalStorage
from jobs.tables.published import EXCLUDED, RECENT_RATINGS, RECOMMENDATIONS, Table

MOST_BYTES = 5_000_000
RUN_ID = "2026-11-21-20261121T030000-abcdef"


@pytest.fixture(scope="module")
def data(sample_night: SampleNight) -> ReportData:
    storage = LocalStorage(sample_night.output)
    return read_report(storage, find_run(storage, None))


def before_making(page: bytes) -> bytes:
    """All but how long the stages took: the night's own page cannot know its last ones."""
    first, _, rest = page.partition(b'<section id="making">')
    return first + rest.partition(b"</main>")[2]


def test_a_night_publishes_its_report(sample_night: SampleNight, data: ReportData) -> None:
    published = (sample_night.output / "current" / REPORT).read_bytes()
    assert sample_night.manifest["report"] == REPORT
    assert len(published) < MOST_BYTES
    # Spark's counts and the files' give one page, to the byte.
    assert before_making(render_report(data)) == before_making(published)
    parts = PageParts(published)
    for step in sample_night.manifest["funnel"]:
        assert step["rule"] in parts.text
    for check in sample_night.manifest["gate"]["checks"]:
        assert check["bound"] in parts.text
    charts, sample = (json.loads(script) for script in parts.scripts[:2])
    assert {"funnel", "losses", "scores", "lengths", "concentration", "map"} <= set(charts)
    assert len(charts["map"]["datasets"].popitem()[1]) == 90
    assert len(sample["users"]) == 120
    assert {len(rated) for *_, rated, _ in sample["users"]} == {10}
    assert "and the latest ratings of each" in " ".join(parts.text.split())


def test_the_page_asks_for_nothing_and_runs_only_its_own_scripts(data: ReportData) -> None:
    page = render_report(data)
    parts = PageParts(page)
    assert all(address.startswith(("#", "data:")) for address in parts.addresses)
    assert parts.policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "script-src 'unsafe" not in parts.policy
    assert b"@import" not in page
    assert parts.tags.count("script") == 4
    assert "$schema" not in json.loads(parts.scripts[0])["map"]


def test_spark_and_files_count_the_same(
    spark: SparkSession, sample_night: SampleNight, tmp_path: Path
) -> None:
    """With a run before that has other users, other items, and ids of another type."""
    current = sample_night.output / "current"
    lists = pd.read_parquet(current / "recommendations")
    lists.loc[lists["user_id"] % 3 == 0, "source"] = "popularity"
    earlier = lists[lists["user_id"] > 40].assign(
        user_id=lambda rows: (rows["user_id"] + 20).astype(str),
        item_id=lambda rows: (rows["item_id"] * 2).astype(str),
    )
    excluded = pd.DataFrame(
        {
            "kind": ["user", "user", "rows"],
            "id": ["7", "8", None],
            "reason": ["why", "why", "because"],
            "rating_count": [3, 4, 5],
        }
    )
    recent = pd.read_parquet(current / "recent_ratings")
    recent["timestamp"] = recent["timestamp"].where(recent["place"] < 3)
    recent["title"] = recent["title"].where(recent["place"] != 2)
    now, before = tmp_path / "now", tmp_path / "before"
    for place, tables in (
        (now, {"recommendations": lists, "excluded": excluded, "recent_ratings": recent}),
        (before, {"recommendations": earlier}),
    ):
        for name, rows in tables.items():
            (place / name).mkdir(parents=True)
            rows.to_parquet(place / name / "part.parquet")
    limits = score_range(sample_night.manifest)

    def open_frames(run: Path, *tables: Table) -> SparkTables:
        return SparkTables({table: spark.read.parquet(str(run / table.name)) for table in tables})

    def count(tables: RunTables, tables_before: RunTables) -> ListCounts:
        users = sample_users(tables, 50)
        return count_run(tables, tables_before, limits=limits, users=users)

    by_files = count(FileTables(now), FileTables(before))
    by_spark = count(
        open_frames(now, RECOMMENDATIONS, EXCLUDED, RECENT_RATINGS),
        open_frames(before, RECOMMENDATIONS),
    )
    assert by_files.sample["user_id"].nunique() == 50
    assert by_files.recent is not None
    assert by_files.recent["timed"].sum() == 2 * 120
    for name in ("items", "places", "excluded", "sample", "recent"):
        pd.testing.assert_frame_equal(
            getattr(by_spark, name), getattr(by_files, name), check_dtype=False, obj=name
        )
    assert by_spark.users == by_files.users == UserCounts(now=120, before=80, both=60)
    assert by_files.places["rows"].sum() == len(lists)
    assert set(by_files.places["score_bin"]) <= {*range(-1, 40)}
    assert by_files.items["lists"].sum() == len(lists)
    assert by_files.items["lists_before"].sum() == len(earlier)
    shutil.rmtree(now / "recent_ratings")  # as a release before it left its runs
    assert count_files(now, before, limits=limits).recent is None


# --- The numbers --------------------------------------------------------------------------------


def make_manifest(**parts: Any) -> dict[str, Any]:
    """A manifest with what the report needs; three users, two of whom have a list."""
    return {
        "run_id": RUN_ID,
        "run_date": "2026-11-21",
        "state": "published",
        "config": {"score": {"k": 3}},
        "funnel": [
            {"step": "input", "rule": "rows read", "rows": 12, "users": 3, "items": 5},
            {"step": "active", "rule": "users", "rows": 10, "users": 3, "items": 4},
        ],
        "training": {
            "model": "nmf",
            "device": "cpu",
            "seed": 0,
            "n_users": 3,
            "n_ratings": 10,
            "losses": [],
            "figures": {},
        },
        "evaluation": None,
        "audit": {
            "rows": 5,
            "users": 2,
            "users_without_list": 1,
            "source_users": {"model": 2},
            "min_score": 0.0,
            "max_score": 4.0,
        },
        "gate": {"checks": [], "forced": False, "compared_with": None},
        "stage_seconds": {"read": 1.0},
        "input_files": [{"path": "r.csv", "sha256": "0"}],
        "versions": {"python": "3"},
        **parts,
    }


def make_items(n_items: int = 4, **columns: Sequence[Any]) -> RunItems:
    ids = [*range(n_items)]
    table = pd.DataFrame(
        {
            "item_id": ids,
            "title": [f"title {item}" for item in ids],
            "genres": ["Drama|War" if item % 2 else "Drama" for item in ids],
            "cluster": [item % 2 for item in ids],
            "distance": 0.0,
            "rating_count": ids,
            "mean_rating": 3.0,
            **columns,
        }
    )
    embeddings = np.random.default_rng(0).normal(size=(n_items, 3)).astype(np.float32)
    return RunItems(table, embeddings)


def make_counts(**parts: Any) -> ListCounts:
    """User 10 has items 1, 2, 3 and user 9 has items 1, 2; user 10 has rated 0 and two unknown."""
    counts = ListCounts(
        items=pd.DataFrame(
            {"item_id": ["1", "2", "3", "77"], "lists": [2, 2, 1, 0], "lists_before": [0, 2, 3, 1]}
        ),
        places=pd.DataFrame(
            {
                "source": "model",
                "rank": [1, 1, 2, 3],
                "score_bin": [39, 20, 20, 0],
                "rows": [1, 1, 2, 1],
            }
        ),
        excluded=pd.DataFrame(
            {"kind": ["item"], "reason": ["few"], "entries": [1], "ratings": [2]}
        ),
        sample=pd.DataFrame(
            {
                "user_id": ["10", "10", "10", "9", "9"],
                "rank": [1, 2, 3, 1, 2],
                "item_id": ["1", "2", "3", "2", "1"],
                "source": "model",
            }
        ),
        recent=pd.DataFrame(
            {
                "user_id": "10",
                "place": [2, 1, 3],
                "item_id": ["0", "88", "99"],
                "title": ["title 0", "left out", None],
                "rating": [4.0, 10 / 3, 1.0],
                "timed": [True, True, False],
            }
        ),
        users=None,
    )
    return replace(counts, **parts)


def test_the_numbers_by_hand() -> None:
    items = make_items(title=["half of a pair: \ud800", "title 1", "title 2", "title 3"])
    data = assemble_report(make_manifest(), items, make_counts(), [])
    assert [(one.shortest, one.users) for one in data.lengths] == [(0, 1), (1, 0), (2, 1), (3, 1)]
    drawn = [(one.low, one.first, one.other) for one in data.scores if one.first or one.other]
    assert drawn == [
        (0.0, 0, 1),
        (2.0, 1, 2),
        (pytest.approx(3.9), 1, 0),
    ]
    coverage = data.coverage
    assert (coverage.items, coverage.recommended) == (4, 3)
    assert (coverage.first_ten, coverage.first_tenth) == (1.0, 0.4)
    assert coverage.curve == [(0, 0), (0.25, 0.4), (0.5, 0.8), (0.75, 1.0), (1.0, 1.0)]
    # Twice the area between the curve and the diagonal.
    heights = [
        (one[1] + two[1]) / 2 for one, two in zip(coverage.curve, coverage.curve[1:], strict=False)
    ]
    assert coverage.gini == pytest.approx(2 * (sum(heights) * 0.25 - 0.5))
    assert [(item.name, item.share) for item in coverage.top[:3]] == [
        ("title 1", 1.0),
        ("title 2", 1.0),
        ("title 3", 0.5),
    ]
    assert [user.user for user in data.sampled_users] == ["9", "10"]
    named = [data.sampled_items[place] for place in data.sampled_users[0].items]
    assert named == ["title 2", "title 1"]
    rated = [(data.sampled_items[place], value) for place, value in data.sampled_users[1].rated]
    assert rated == [("left out", 3.33333), ("half of a pair: \ud800", 4.0), ("99", 1.0)]
    assert (data.sampled_users[0].rated, data.rated_by) == ([], "time")
    cards = {card.cluster: card for card in data.clusters}
    assert cards[1].titles == ["title 3", "title 1"]
    # Drama is on every item: no cluster leads in it by more than its share.
    assert [(genre.name, genre.share, genre.catalogue_share) for genre in cards[1].genres] == [
        ("War", 1.0, 0.5),
        ("Drama", 1.0, 1.0),
    ]
    assert data.changes is None
    assert "There is no run to compare with" in PageParts(render_report(data)).text


def test_what_changed_since_the_run_before() -> None:
    gate = {
        "checks": [{"bound": "min_overlap", "value": 0.25, "limit": 0.5, "passed": False}],
        "forced": True,
        "compared_with": "earlier",
    }
    counts = make_counts(users=UserCounts(now=2, before=5, both=1))
    stability = {
        "compared_with": "earlier",
        "shared_items": 4,
        "moved_items": 1,
        "adjusted_rand_index": 0.5,
    }
    manifest = make_manifest(gate=gate, clusters={"stability": stability})
    data = assemble_report(manifest, make_items(), counts, [])
    assert data.changes is not None
    assert [(item.name, item.change) for item in data.changes.risen] == [("title 1", 2)]
    # An item that has left the catalogue stands as its id.
    assert [(item.name, item.change) for item in data.changes.fallen] == [
        ("title 3", -2),
        ("77", -1),
    ]
    text = " ".join(PageParts(render_report(data)).text.split())
    assert (
        "1 user gained a list, 4 users lost theirs, 1 user had one both times. On average 25.0% of "
        "a list was in the list before it."
    ) in text
    assert "Not kept: 1 of 1 bounds. Published by --force." in text
    assert "published by force" in text
    assert "Numbered as in run earlier: 1 of 4 items are in another cluster than there" in text
    assert "In common with genres" not in text  # which this run has not measured


def test_a_rejected_run_says_so_in_its_report() -> None:
    rejected = make_manifest(state="rejected")
    page = render_report(assemble_report(rejected, make_items(), make_counts(), []))
    assert b'<span class="badge bad">rejected</span>' in page


def test_what_the_rules_did_is_in_the_report() -> None:
    rules = {"allowed_items": 3, "allow_ids": None, "empty_places": 1_234, "empty_lists": 0}
    ruled = assemble_report(make_manifest(rules=rules), make_items(), make_counts(), [])
    text = PageParts(render_report(ruled)).text
    assert re.search(r"items that may be recommended\s*3\s", text)
    assert re.search(r"places in lists that the rules leave empty\s*1,234\s", text)
    assert "leave nothing" not in text
    plain = assemble_report(make_manifest(rules=None), make_items(), make_counts(), [])
    assert "What the rules" not in PageParts(render_report(plain)).text


def test_runs_without_times_or_without_ratings_say_so() -> None:
    known = make_counts()
    assert known.recent is not None
    untimed = make_counts(recent=known.recent.assign(timed=False))
    for counts, heading, expected in (
        (known, "Recently rated", "and the latest ratings of each, at most 10."),
        (untimed, "Rated highest", "and the highest ratings of each, at most 10, as it is not"),
        (make_counts(recent=None), None, "rated is no part of this run; ./spark-submit.sh inspect"),
    ):
        parts = PageParts(render_report(assemble_report(make_manifest(), make_items(), counts, [])))
        assert expected in " ".join(parts.text.split())
        sample = json.loads(parts.scripts[1])
        assert sample["rated"] == heading
        rated = [] if heading is None else [[3, 4, 5], [3.33333, 4.0, 1.0]]
        assert sample["users"][1] == ["10", "model", [0, 1, 2], *rated]
        assert sample["users"][0] == ["9", "model", [1, 0]]


def test_figures_over_the_kept_runs() -> None:
    def evaluate(value: float) -> dict[str, Any]:
        def measure(of: float) -> list[dict[str, Any]]:
            return [
                {"metric": "ndcg", "k": 10, "value": of, "low": of, "high": of},
                {"metric": "ndcg", "k": 5, "value": 0.9, "low": 0.9, "high": 0.9},
                {"metric": "popularity", "k": 10, "value": 40.0, "low": 40.0, "high": 40.0},
                {"metric": "rmse", "k": None, "value": 1.5, "low": 1.5, "high": 1.5},
            ]

        return {
            "select_by": "ndcg@10",
            "best": "nmf",
            "split": "random",
            "users": 3,
            "held_out_ratings": 2,
            "gain_over_popularity": 0.1,
            "metrics": {"nmf": measure(value), "popularity": measure(0.1)},
        }

    earlier = [
        RunRecord(Run.from_id(run_id), "published", manifest, is_current=False)
        for run_id, manifest in (
            ("2026-11-20-20261120T030000-bbbbbb", {"evaluation": evaluate(0.2), **trained("nmf")}),
            ("2026-11-19-20261119T030000-aaaaaa", {}),  # of a release that wrote less
        )
    ]
    manifest = make_manifest(evaluation=evaluate(0.3))
    data = assemble_report(manifest, make_items(), make_counts(), earlier)
    assert [point.figures.get("ndcg@10") for point in data.history] == [None, 0.2, 0.3]
    assert data.history[-1].baseline == {"ndcg@10": 0.1}
    charts = json.loads(PageParts(render_report(data)).scripts[0])
    assert {"metrics", "series-0"} <= set(charts)
    assert [row["metric"] for row in charts["metrics"]["datasets"].popitem()[1]] == ["ndcg"] * 2


def trained(model: str) -> dict[str, Any]:
    return {"training": {"model": model}}


def test_the_map_is_the_plane_of_most_variance() -> None:
    rng = np.random.default_rng(3)
    angles = rng.uniform(0, 2 * np.pi, 200)
    plane = np.stack([2 * np.cos(angles), np.sin(angles)], axis=1)
    turned = plane @ np.linalg.qr(rng.normal(size=(5, 5)))[0][:2]
    lengths = np.linalg.norm(plane, axis=1, keepdims=True)
    places, explained = project_items((turned * rng.uniform(1, 9, (200, 1))).astype(np.float32))
    assert explained == pytest.approx(1.0)
    expected = plane / lengths - (plane / lengths).mean(axis=0)
    distances = [np.linalg.norm(one[:, None] - one[None], axis=2) for one in (places, expected)]
    np.testing.assert_allclose(*distances, atol=1e-5)  # a plane may be turned and mirrored
    same, _ = project_items((turned * 3).astype(np.float32))
    np.testing.assert_allclose(same, places, atol=1e-5)
    alone, explained = project_items(np.ones((3, 1), np.float32))
    assert (alone.tolist(), explained) == ([[0, 0]] * 3, 1.0)


# --- Untrusted, large, broken -------------------------------------------------------------------


def test_a_title_that_is_a_script_stays_text(data: ReportData) -> None:
    parts, plain = (PageParts(render_report(one)) for one in (with_hostile_texts(data), data))
    assert parts.tags.count("script") == plain.tags.count("script") == 4
    assert "img" not in parts.tags
    assert HOSTILE in parts.text
    charts, sample = (json.loads(script) for script in parts.scripts[:2])
    assert HOSTILE in sample["titles"]
    assert HOSTILE in {item["name"] for item in charts["map"]["datasets"].popitem()[1]}
    assert parts.scripts[2:] == plain.scripts[2:]


def test_a_million_users_make_no_larger_page() -> None:
    """Every part at its bound, all names of the most expensive kind."""
    n_items, n_users = 20_000, 1_000_000
    long = "<\u6f22" * 100
    ids = np.arange(n_items)
    items = make_items(
        n_items,
        title=[f"{item} {long}" for item in ids],
        cluster=ids % 500,
        cluster_name=[f"{item % 500} {long}" for item in ids],
    )
    sample = pd.DataFrame(
        {
            "user_id": np.repeat([f"{user} {long}" for user in range(1_000)], 10),
            "rank": np.tile(np.arange(1, 11), 1_000),
            "item_id": [str(item) for item in range(10_000)],
            "source": "model",
        }
    )
    recent = pd.DataFrame(
        {
            "user_id": sample["user_id"],
            "place": sample["rank"],
            "item_id": [str(item) for item in range(30_000, 40_000)],
            "title": [f"{item} {long}" for item in range(30_000, 40_000)],
            "rating": -1 / np.arange(1e5, 1.1e5),
            "timed": True,
        }
    )
    counts = make_counts(
        items=pd.DataFrame({"item_id": ids.astype(str), "lists": 200, "lists_before": ids}),
        places=pd.DataFrame(
            {
                "source": "model",
                "rank": np.repeat(np.arange(1, 1_001), 40),
                "score_bin": np.tile(np.arange(40), 1_000),
                "rows": n_users // 40,
            }
        ),
        excluded=pd.DataFrame(
            {
                "kind": "rows",
                "reason": [f"{n} {long}" for n in range(900)],
                "entries": 1,
                "ratings": 9,
            }
        ),
        sample=sample,
        recent=recent,
        users=UserCounts(n_users, n_users, n_users),
    )
    manifest = make_manifest(
        input_files=[{"path": f"part-{n}", "sha256": "0" * 64} for n in range(10_000)],
        config={"score": {"k": 1_000}, "input": {"ratings": [long] * 20}},
    )
    manifest["training"]["losses"] = [1.0 / n for n in range(1, 20_001)]
    runs = [Run.start(date(2026, 11, 1), Run.from_id(RUN_ID).started) for _ in range(500)]
    earlier = [RunRecord(run, "published", manifest, is_current=False) for run in runs]
    data = assemble_report(manifest, items, counts, earlier)
    page = render_report(data)
    assert len(page) < MOST_BYTES
    assert 150 < len(data.sampled_users) < 200  # as many as there is room for
    assert {len(user.rated) for user in data.sampled_users} == {10}
    charts = json.loads(PageParts(page).scripts[0])
    assert len(charts["map"]["datasets"].popitem()[1]) == 2_000


def test_a_failure_is_told_in_one_line_and_holds_nothing_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def build() -> ReportData:
        raise ValueError("user 900000001 rated 77.0625\nand more")

    kept: list[bytes] = []
    with caplog.at_level(logging.INFO):
        said = make_report(build, kept.append)
    assert said == "failed: ValueError: user 900000001 rated 77.0625"
    assert kept == []
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    message = caplog.records[0].getMessage()
    assert "no report.html: ValueError in test_page.py:" in message
    assert "77.0625" not in message  # nothing that was rated stands in a log


@pytest.mark.parametrize("wanted", [True, False])
def test_a_night_without_a_report_is_published(
    spark: SparkSession,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    wanted: bool,
) -> None:
    def fail() -> str:
        raise RuntimeError("vl_convert ended with -6: no message")

    monkeypatch.setattr(page, "load_library", fail)
    config = make_config(
        write_csv(tmp_path / "r.csv", checkerboard()),
        tmp_path / "out",
        train={"nmf": {"n_components": 2}},
        cluster={"n_clusters": 2},
        score={"k": 2},
        publish={"report": wanted},
    )
    done = run_nightly(spark, config, date(2026, 11, 21))
    current = tmp_path / "out" / "current"
    assert len(pd.read_parquet(current / "recommendations")) == 24
    assert not (current / REPORT).exists()
    assert (current / "recent_ratings").exists() == wanted
    written = json.loads((current / "manifest.json").read_text())
    warnings = [record for record in caplog.records if "no report.html" in record.getMessage()]
    assert done.is_current
    if wanted:
        assert written["report"] == "failed: RuntimeError: vl_convert ended with -6: no message"
        assert len(warnings) == 1
    else:
        assert written["report"] is None
        assert warnings == []


# --- The command and the package ----------------------------------------------------------------


def ask(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, ["report", *arguments])
    return done.exit_code, done.output


def test_the_command_makes_the_page_of_a_published_run(
    sample_night: SampleNight, tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    run_id = sample_night.manifest["run_id"]
    output = f"output.path={sample_night.output}"
    code, said = ask("--set", output, "--run", run_id, "--output", str(page))
    assert code == 0, said
    published = (sample_night.output / "current" / REPORT).read_bytes()
    assert before_making(page.read_bytes()) == before_making(published)
    by_directory = ask("--run", str(sample_night.output / "current"), "--output", str(page))
    assert by_directory == (0, said)
    assert before_making(page.read_bytes()) == before_making(published)


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (["--run", RUN_ID], 2, f"'{RUN_ID}' is no run in "),
        (["--run", "../../etc"], 2, "--run ../../etc: neither a run's id nor its directory"),
        (["--set", "output.path=hdfs://host/out"], 2, "report reads runs on this machine's disk"),
        (["--set", "output.path=nowhere"], 2, "no run is current in nowhere"),
        (["--output", "no/such/page.html"], 1, "no/such/page.html: cannot be written: No such"),
    ],
)
def test_what_the_command_cannot_do_is_one_line(
    sample_night: SampleNight, arguments: list[str], code: int, expected: str
) -> None:
    found, said = ask("--set", f"output.path={sample_night.output}", *arguments)
    assert (found, said.count("\n")) == (code, 1)
    assert expected in said


def test_a_damaged_run_is_one_line(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)
    for manifest, expected in (
        (b"{", "is no whole run: it has no readable manifest"),
        (b"{}", "has no audit, funnel, training, config: an older or damaged run"),
        (json.dumps(make_manifest()).encode(), "recommendations cannot be read: "),
    ):
        storage.write(f"runs/{RUN_ID}/manifest.json", manifest)
        code, said = ask("--set", f"output.path={tmp_path}", "--run", RUN_ID)
        assert (code, said.count("\n")) == (4, 1)
        assert expected in said


READ_TEMPLATE = """
import jobs.report.page
assert ".zip/" in jobs.report.page.__file__, jobs.report.page.__file__
for name in ("report.html.jinja", "report.css", "report.js"):
    assert jobs.report.page._read_template(name)
"""


def test_the_zip_for_executors_holds_the_templates(tmp_path: Path) -> None:
    """A driver that runs in the cluster finds them there."""
    functions = "sed -n '/^newer_sources/,/^}/p; /^zip_packages/,/^}/p' spark-submit.sh"
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(sys.executable)
    script = f'eval "$({functions})"; root={ROOT}; venv={tmp_path}; zip_packages'
    made = subprocess.run(
        ["bash", "-euc", script], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    subprocess.run(
        [sys.executable, "-c", READ_TEMPLATE],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": made.stdout.strip()},
        check=True,
        timeout=60,
    )
