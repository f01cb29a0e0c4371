"""The page of a run: its size, titles that mean harm, and its failure."""

import json
import logging
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from builders import checkerboard, make_config, write_csv
from nights import SampleNight
from pyspark.sql import SparkSession
from report_pages import (
    HOSTILE,
    RUN_ID,
    PageParts,
    before_making,
    make_counts,
    make_items,
    make_manifest,
    with_hostile_texts,
)

from jobs.night.night import run_nightly
from jobs.report import page
from jobs.report.content import ReportData, assemble_report
from jobs.report.counting.counts import UserCounts
from jobs.report.page import REPORT, make_report, render_report
from jobs.report.read_run import read_report
from jobs.runs.records import RunRecord, find_run
from jobs.runs.run import Run
from jobs.storage.local import LocalStorage

MOST_BYTES = 5_000_000


@pytest.fixture(scope="module")
def data(sample_night: SampleNight) -> ReportData:
    storage = LocalStorage(sample_night.output)
    return read_report(storage, find_run(storage, None))


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
