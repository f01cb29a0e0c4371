"""The lists of names against what an evaluation measures."""

import pytest
from core_examples import draw_ratings, make_mf

from recsys_core.evaluation.comparison import Evaluation, evaluate_models
from recsys_core.evaluation.metric_names import (
    CATALOGUE_METRICS,
    LIKED_METRICS,
    PREDICTION_METRICS,
    QUALITY_METRICS,
    RANKING_METRICS,
    UNIT_METRICS,
)
from recsys_core.evaluation.splits import hold_out_at_random


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    split = hold_out_at_random(draw_ratings(80, 40), fraction=0.3, seed=0)
    models = {"mf": make_mf(40, biases=True)}
    return evaluate_models(
        models, split, cutoffs=[3], rating_range=(0.5, 5.0), min_liked_rating=4.0
    )


def test_every_metric_that_is_measured_has_its_name_in_one_list(evaluation: Evaluation) -> None:
    values = evaluation.metrics["mf"]
    of_lists = [value.metric for value in values if value.k is not None]
    expected = (*RANKING_METRICS, *LIKED_METRICS, *CATALOGUE_METRICS)
    assert sorted(of_lists) == sorted(expected)
    assert [value.metric for value in values if value.k is None] == [*PREDICTION_METRICS]


def test_metrics_that_share_an_axis_are_from_0_to_1(evaluation: Evaluation) -> None:
    measured = {value.metric: value.value for value in evaluation.metrics["mf"]}
    assert all(0 <= measured[metric] <= 1 for metric in UNIT_METRICS)
    assert {*RANKING_METRICS, *LIKED_METRICS} == set(QUALITY_METRICS) < set(UNIT_METRICS)
