"""The figures of the report, by hand, and what the page says of them."""

import json
import re
from typing import Any

import numpy as np
import pytest
from report_pages import (
    PageParts,
    make_counts,
    make_items,
    make_manifest,
)

from jobs.report.content import assemble_report
from jobs.report.counting.counts import UserCounts
from jobs.report.page import render_report
from jobs.report.statistics.item_map import project_items
from jobs.runs.records import RunRecord
from jobs.runs.run import Run


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


@pytest.mark.parametrize(
    ("liked", "sentence"),
    [
        (
            {"min_rating": 4.0, "left_out": None, "users": 2},
            "Liked: rated 4 or more, which 2 of the users did.",
        ),
        (
            {"min_rating": 4.0, "left_out": "all held-out ratings are equal", "users": 0},
            "What was liked is left out: all held-out ratings are equal.",
        ),
        (None, "By ndcg@10 the best is nmf."),
    ],
)
def test_liked_stands_beside_any_on_the_page(liked: dict[str, Any] | None, sentence: str) -> None:
    names = ["ndcg", "recall", "novelty", "liked_ndcg", "liked_recall", "gini"]
    values = [
        {"metric": name, "k": k, "value": 0.25, "low": 0.2, "high": 0.3}
        for k in (5, 10)
        for name in names
    ]
    evaluation = {
        "select_by": "ndcg@10",
        "best": "nmf",
        "split": "random",
        "users": 3,
        "held_out_ratings": 2,
        "gain_over_popularity": 0.1,
        "metrics": {"nmf": values},
        **({} if liked is None else {"liked": liked}),
    }
    manifest = make_manifest(evaluation=evaluation)
    parts = PageParts(render_report(assemble_report(manifest, make_items(), make_counts(), [])))
    text = " ".join(parts.text.split())
    assert sentence in text
    assert ("Liked: " in text or "What was liked" in text) == (liked is not None)
    quality, rest = text.split("How good the lists are")[1].split("What the lists are made of")
    makeup, other = rest.split("All other metrics")

    def list_names(part: str) -> list[str]:
        return re.findall(r"([a-z_]+@\d+?)0\.25", part)

    assert list_names(quality) == ["ndcg@10", "liked_ndcg@10", "recall@10", "liked_recall@10"]
    assert list_names(makeup) == ["novelty@10", "gini@10"]
    assert list_names(other)[:2] == ["ndcg@5", "liked_ndcg@5"]


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
