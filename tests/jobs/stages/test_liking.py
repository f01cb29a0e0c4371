"""What was liked, measured beside every held-out rating: from which rating on, and where not."""

import json
import logging
from typing import Any

import numpy as np
import pytest
from builders import make_config
from core_examples import draw_ratings
from pydantic import ValidationError
from rich.console import Console
from scipy.sparse import csr_matrix

from jobs.errors import InputError
from jobs.experiments.evaluation_table import tabulate_lists, tabulate_makeup
from jobs.settings.evaluate import EvaluateConfig
from jobs.stages.evaluate import EvaluationReport, evaluate_candidates
from jobs.stages.train import train_model
from recsys_core.evaluation.metric_names import CATALOGUE_METRICS, LIKED_METRICS, RANKING_METRICS
from recsys_core.evaluation.splits import TimedRatings

MODELS = ["ease", "als"]


def measure(ratings: csr_matrix, **evaluate: Any) -> EvaluationReport:
    config = make_config(
        "unused",
        train={"ease": {"n_factors": 10}, "als": {"n_factors": 8, "iterations": 2}},
        evaluate={"cutoffs": [5, 10], **evaluate},
    )
    return evaluate_candidates(
        TimedRatings(ratings, None),
        MODELS,
        train_model,
        settings=config.train,
        rules=config.evaluate,
        rating_range=config.clean.rating_range,
    )


@pytest.fixture(scope="module")
def report() -> EvaluationReport:
    return measure(draw_ratings(150, 40))


def make_equal(rating: float) -> csr_matrix:
    ratings = draw_ratings(60, 30)
    ratings.data[:] = rating
    return ratings


def list_metrics(report: EvaluationReport) -> set[str]:
    return {value.metric for value in report.evaluation.metrics["ease"] if value.k is not None}


@pytest.mark.parametrize(
    ("settings", "max_rating", "expected"),
    [
        ({}, 5.0, 4.0),
        ({}, 10.0, 8.0),
        ({"min_liked_share": 0.7}, 5.0, 3.5),
        ({"min_relevant_rating": 3.0}, 5.0, None),
        ({"min_relevant_rating": 0.0}, 5.0, None),
    ],
)
def test_an_item_is_liked_from_a_share_of_the_highest_rating_on(
    settings: dict[str, float], max_rating: float, expected: float | None
) -> None:
    assert EvaluateConfig(**settings).find_liked_rating(max_rating) == expected


def test_liked_and_any_stand_side_by_side_unasked(report: EvaluationReport) -> None:
    assert set(LIKED_METRICS) < list_metrics(report)
    account = report.describe()["liked"]
    held_out = report.split.held_out
    n_users = len(np.unique(held_out.tocoo().row[held_out.data >= 4.0]))
    assert 0 < n_users < held_out.shape[0]
    assert account == {"min_rating": 4.0, "left_out": None, "users": n_users}
    table = report.to_table()
    assert set(LIKED_METRICS) | set(RANKING_METRICS) | set(CATALOGUE_METRICS) < set(table["metric"])
    assert not table.duplicated(["model", "metric", "k"]).any()


def test_models_are_compared_by_what_was_liked_where_that_is_asked_for(
    report: EvaluationReport,
) -> None:
    by_liked = measure(draw_ratings(150, 40), select_by="liked_recall@5")
    values = [by_liked.evaluation.find(model, "liked_recall", 5).value for model in MODELS]
    assert by_liked.best == MODELS[int(np.argmax(values))]
    popularity = by_liked.evaluation.find("popularity", "liked_recall", 5).value
    assert by_liked.gain_over_popularity == max(values) - popularity
    ndcg = report.evaluation.find
    assert (
        report.gain_over_popularity
        == ndcg(report.best, "ndcg", 10).value - ndcg("popularity", "ndcg", 10).value
    )


@pytest.mark.parametrize(
    ("rating", "reason"),
    [(1.0, "no held-out rating is 4 or more"), (5.0, "all held-out ratings are equal")],
)
def test_liking_is_left_out_with_a_word_where_ratings_do_not_tell_of_it(
    rating: float, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        report = measure(make_equal(rating))
    assert list_metrics(report) == {*RANKING_METRICS, *CATALOGUE_METRICS}
    assert report.describe()["liked"] == {"min_rating": 4.0, "left_out": reason, "users": 0}
    assert f"what is liked is not measured: {reason} (evaluate.min_liked_share = 0.8" in caplog.text
    assert f"what is liked is left out: {reason}" in str(tabulate_lists(report, 5).title)
    assert tabulate_lists(report, 5).row_count == len(MODELS) + 2
    json.dumps(report.describe(), allow_nan=False)


def test_who_asks_for_liking_is_told_why_there_is_none() -> None:
    with pytest.raises(
        InputError,
        match=r"evaluate\.select_by = 'liked_ndcg@10': no held-out rating is 4 or more "
        r"\(evaluate\.min_liked_share = 0\.8 of clean\.max_rating\); lower it",
    ):
        measure(make_equal(1.0), select_by="liked_ndcg@10")


def test_a_bound_of_ones_own_is_the_one_for_all_metrics(report: EvaluationReport) -> None:
    own = measure(draw_ratings(150, 40), min_relevant_rating=4.0)
    assert list_metrics(own) == {*RANKING_METRICS, *CATALOGUE_METRICS}
    assert own.describe()["liked"] is None
    found, liked = own.evaluation.find, report.evaluation.find
    assert found("ease", "ndcg", 10).value == liked("ease", "liked_ndcg", 10).value
    assert "relevant: rated 4 or more" in str(tabulate_lists(own, 10).title)
    with pytest.raises(InputError, match=r"evaluate\.min_relevant_rating: no user .*; lower it"):
        measure(make_equal(1.0), min_relevant_rating=4.0)
    with pytest.raises(ValidationError, match="but min_relevant_rating is set: leave it unset"):
        EvaluateConfig(select_by="liked_ndcg@10", min_relevant_rating=4.0)


def test_the_tables_fit_a_terminal_of_80_columns(report: EvaluationReport) -> None:
    console = Console(width=200)  # wider than they may be
    for k in (5, 10):
        lists, makeup = tabulate_lists(report, k), tabulate_makeup(report, k)
        for table in (lists, makeup):
            assert console.measure(table).maximum <= 80
        assert len(lists.columns) == 1 + len(RANKING_METRICS)
        assert len(makeup.columns) == 1 + len(CATALOGUE_METRICS)
        labels = list(lists.columns[0].cells)
        models = [*MODELS, "popularity", "item_mean"]
        assert labels == [label for model in models for label in (model, "  liked")]
        any_rating, liked = (list(lists.columns[1].cells)[at].split()[0] for at in (0, 1))
        found = report.evaluation.find
        assert any_rating == f"{found('ease', 'ndcg', k).value:.4f}"
        assert liked == f"{found('ease', 'liked_ndcg', k).value:.4f}"
    assert "liked: rated 4 or more, " in str(lists.title)
