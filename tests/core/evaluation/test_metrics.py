"""Metrics against what a hand works out.

Against trec_eval in test_trec_eval.py, against Spark's own in tests/jobs/stages/test_evaluate.py.
"""

import numpy as np
import pytest
from core_examples import draw_ratings, make_lists, make_mf, make_nmf
from scipy.sparse import csr_matrix
from scipy.stats import bootstrap

from recsys_core.evaluation.baselines import ItemMeanModel, PopularityModel
from recsys_core.evaluation.comparison import evaluate_models, measure_metric
from recsys_core.evaluation.metric_names import LIKED_METRICS, RANKING_METRICS
from recsys_core.evaluation.metrics import (
    UserMeasure,
    draw_means,
    measure_lists,
    measure_predictions,
    predict_ratings,
    rank_users,
)
from recsys_core.evaluation.splits import Split, hold_out_at_random

# Three users: hits at ranks 1 and 3; a hit at rank 4; an empty list.
LISTS = make_lists([7, 2, 5], [1, 0, 3, 4], [])
RELEVANT = csr_matrix(
    (np.array([1, 1, 0, 1, 1], np.float32), [5, 7, 9, 4, 0], [0, 3, 4, 5]), shape=(3, 10)
)
"""Items 5, 7 and 9 (of which 9 is rated 0) of the first user, 4 and 0 of the others."""
DISCOUNT = 1 / np.log2(np.arange(2, 6))  # of ranks 1 to 4


@pytest.mark.parametrize(
    ("metric", "k", "expected"),
    [
        ("ndcg", 3, [(DISCOUNT[0] + DISCOUNT[2]) / DISCOUNT[:3].sum(), 0, 0]),
        ("ndcg", 2, [DISCOUNT[0] / DISCOUNT[:2].sum(), 0, 0]),
        ("ndcg", 4, [(DISCOUNT[0] + DISCOUNT[2]) / DISCOUNT[:3].sum(), DISCOUNT[3], 0]),
        ("recall", 3, [2 / 3, 0, 0]),
        ("recall", 4, [2 / 3, 1, 0]),
        ("precision", 2, [1 / 2, 0, 0]),
        ("precision", 4, [2 / 4, 1 / 4, 0]),
        ("map", 3, [(1 + 2 / 3) / 3, 0, 0]),
        ("map", 4, [(1 + 2 / 3) / 3, 1 / 4, 0]),
        ("mrr", 2, [1, 0, 0]),
        ("mrr", 4, [1, 1 / 4, 0]),
        ("hit_rate", 3, [1, 0, 0]),
        ("hit_rate", 4, [1, 1, 0]),
    ],
)
def test_ranking_metrics_are_those_of_a_hand_calculation(
    metric: str, k: int, expected: list[float]
) -> None:
    measures = measure_lists(LISTS, RELEVANT, [2, 3, 4])
    (measure,) = [m for m in measures if (m.metric, m.k) == (metric, k)]
    np.testing.assert_allclose(measure.total, expected, rtol=1e-6)
    assert measure.value == pytest.approx(np.mean(expected))


def test_items_with_names_in_another_order_than_their_ranks_keep_their_ranks() -> None:
    """As text 10 stands before 9."""
    relevant = csr_matrix(([1], [9], [0, 1]), shape=(1, 12))
    for place in range(3):
        items = [10, 2]
        items.insert(place, 9)
        measures = measure_lists(make_lists(items), relevant, [3])
        (mrr,) = [measure.value for measure in measures if measure.metric == "mrr"]
        assert mrr == pytest.approx(1 / (place + 1))


def test_lists_leave_out_what_is_known_and_hold_the_best_of_the_rest() -> None:
    model, known = make_mf(50), draw_ratings(30, 50)
    lists = rank_users(model, known, 5)
    scores = model.fold_in(known).astype(float) @ model.item_factors.T.astype(float)
    scores[known.nonzero()] = -np.inf
    assert lists.item_index.reshape(30, 5).tolist() == np.argsort(-scores)[:, :5].tolist()


def test_predictions_are_scores_within_the_range_of_ratings() -> None:
    model, known, pairs = make_mf(40, biases=True), draw_ratings(20, 40), draw_ratings(20, 40)
    scores = model.fold_in(known) @ model.item_factors.T
    predicted = predict_ratings(model, known, pairs, (2.0, 4.0))
    expected = np.clip(scores[pairs.nonzero()], 2.0, 4.0)
    assert {2.0, 4.0} < set(expected.tolist())
    np.testing.assert_allclose(predicted, expected, rtol=1e-5)


def test_rating_metrics_weigh_users_by_their_ratings() -> None:
    held_out = csr_matrix(np.array([[5, 0, 3], [0, 1, 0]], dtype=np.float32))
    measures = measure_predictions(np.array([4, 3, 4], np.float32), held_out)
    assert [m.metric for m in measures] == ["rmse", "mae"]
    assert measures[0].value == pytest.approx(np.sqrt((1 + 0 + 9) / 3))
    assert measures[1].value == pytest.approx((1 + 0 + 3) / 3)


def test_baselines_are_counts_and_means() -> None:
    ratings = csr_matrix(np.array([[5, 0, 0], [4, 2, 0]], dtype=np.float32))
    assert PopularityModel.of(ratings).item_factors.ravel().tolist() == [2, 1, 0]
    means = ItemMeanModel.of(ratings).item_factors.ravel()
    np.testing.assert_allclose(means, [4.5, 2, 11 / 3], rtol=1e-6)
    assert rank_users(PopularityModel.of(ratings), ratings, 3).item_index.tolist() == [1, 2, 2]


def test_intervals_are_those_of_scipys_bootstrap() -> None:
    rng = np.random.default_rng(0)
    totals, counts = rng.exponential(size=400), rng.integers(1, 9, 400).astype(float)
    measures = [
        UserMeasure("one", 1, totals, np.ones(400)),
        UserMeasure("root", None, totals, counts, is_root=True),
    ]
    draws = draw_means(measures, seed=0, n_resamples=4_000)
    ours = np.percentile(draws, [2.5, 97.5], axis=0).T

    def root_mean(total: np.ndarray, count: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.sqrt(total.sum(axis=axis) / count.sum(axis=axis))

    options = {"n_resamples": 4_000, "method": "percentile", "rng": np.random.default_rng(1)}
    mean = bootstrap((totals,), np.mean, **options).confidence_interval
    root = bootstrap((totals, counts), root_mean, paired=True, **options).confidence_interval
    np.testing.assert_allclose(ours, [mean, root], rtol=0.01)


def test_an_evaluation_holds_models_beside_the_baselines() -> None:
    split = hold_out_at_random(draw_ratings(80, 40), fraction=0.3, seed=0)
    models = {"nmf": make_nmf(40), "mf": make_mf(40, biases=True)}
    evaluation = evaluate_models(models, split, cutoffs=[3, 5], rating_range=(0.5, 5.0))
    assert list(evaluation.metrics) == ["nmf", "mf", "popularity", "item_mean"]
    assert evaluation.n_users == split.known.shape[0]
    for name, values in evaluation.metrics.items():
        names = [(value.metric, value.k) for value in values]
        assert len(names) == len(set(names))
        assert (("rmse", None) in names) == (name in {"mf", "item_mean"})
        for value in values:
            assert value.low is None or value.low <= value.value <= value.high
    with pytest.raises(KeyError):
        evaluation.find("nmf", "rmse", None)


def test_a_comparison_is_made_on_the_same_users() -> None:
    split = hold_out_at_random(draw_ratings(200, 40), fraction=0.3, seed=0)
    model = make_nmf(40)
    evaluation = evaluate_models(
        {"one": model, "same": model}, split, cutoffs=[5], rating_range=(0.5, 5.0)
    )
    assert evaluation.compare("one", "same", "ndcg", 5) == (0.0, 0.0, 0.0)
    difference, low, high = evaluation.compare("one", "popularity", "ndcg", 5)
    ours, theirs = (evaluation.find(name, "ndcg", 5).value for name in ("one", "popularity"))
    assert difference == pytest.approx(ours - theirs)
    assert low < difference < high


def test_users_without_a_relevant_rating_are_not_measured() -> None:
    held_out = np.zeros((3, 6), np.float32)
    held_out[0, 1], held_out[1, 2], held_out[2, 3] = 5, 2, 4
    ratings = draw_ratings(3, 6, density=1.0)
    known = csr_matrix(np.where(held_out > 0, 0, ratings.toarray()))
    split = type(hold_out_at_random(ratings, fraction=0.5, seed=0))(
        known, known, csr_matrix(held_out)
    )
    options = {"cutoffs": [1], "rating_range": (0.5, 5.0)}
    assert evaluate_models({}, split, **options).n_users == 3
    assert evaluate_models({}, split, min_relevant_rating=4.0, **options).n_users == 2
    perfect = evaluate_models({}, split, min_relevant_rating=3.0, **options)
    assert perfect.find("popularity", "hit_rate", 1).value == 1.0  # one item is left to each
    with pytest.raises(ValueError, match="no user has a relevant rating"):
        evaluate_models({}, split, min_relevant_rating=5.5, **options)


def test_what_was_liked_is_measured_beside_every_rating() -> None:
    """As if the held-out ratings were those that are liked, on the users who have any."""
    split = hold_out_at_random(draw_ratings(120, 40), fraction=0.3, seed=0)
    options = {"cutoffs": [3, 5], "rating_range": (0.5, 5.0)}
    model = make_nmf(40)
    both = evaluate_models({"nmf": model}, split, min_liked_rating=4.0, **options)
    by_any = evaluate_models({"nmf": model}, split, **options)
    by_liked = evaluate_models({"nmf": model}, split, min_relevant_rating=4.0, **options)
    assert 0 < both.n_users_liking == by_liked.n_users < both.n_users == by_any.n_users
    assert by_any.n_users_liking == 0
    for k in (3, 5):
        for metric, liked in zip(RANKING_METRICS, LIKED_METRICS, strict=True):
            found, alone = both.find("nmf", liked, k), by_liked.find("nmf", metric, k)
            assert found.value == alone.value
            assert (found.low, found.high) == pytest.approx((alone.low, alone.high))
            assert both.find("nmf", metric, k).value == by_any.find("nmf", metric, k).value
    of_one = measure_metric(
        model, split, "liked_ndcg", 5, rating_range=(0.5, 5.0), min_liked_rating=4.0
    )
    assert of_one == both.find("nmf", "liked_ndcg", 5).value
    difference, low, high = both.compare("nmf", "popularity", "liked_ndcg", 5)
    assert low < difference < high


def test_liking_cannot_be_measured_where_nothing_is_liked() -> None:
    ratings = draw_ratings(60, 30)
    split = hold_out_at_random(ratings, fraction=0.3, seed=0)
    options = {"cutoffs": [3], "rating_range": (0.5, 5.0)}
    with pytest.raises(ValueError, match="no user liked an item"):
        evaluate_models({}, split, min_liked_rating=5.5, **options)
    with pytest.raises(KeyError, match="liked_ndcg, without min_liked_rating"):
        measure_metric(make_nmf(30), split, "liked_ndcg", 3, rating_range=(0.5, 5.0))


def test_models_are_described_by_one_account_of_the_training_ratings() -> None:
    """Two models with the same lists are of the same makeup, whatever their factors."""
    train = csr_matrix(np.array([[5, 1, 0, 0], [2, 0, 3, 0], [0, 0, 1, 0]], np.float32))
    held_out = csr_matrix(np.array([[0, 0, 4, 0], [0, 0, 0, 4], [4, 0, 0, 0]], np.float32))
    split = Split(train, train, held_out)
    evaluation = evaluate_models({}, split, cutoffs=[2], rating_range=(0.5, 5.0))
    # Lists by popularity: items 2, 3; items 1, 3; items 0, 1, which one user of 2 and 1 share.
    values = {value.metric: value.value for value in evaluation.metrics["popularity"]}
    assert values["diversity"] == pytest.approx((1 + 1 + 1 - 1 / np.sqrt(2)) / 3)
    assert values["novelty"] == pytest.approx((2 * np.log2(3 / 2) + 4 * np.log2(3)) / 6)
    assert values["coverage"] == 1
    assert values["gini"] == pytest.approx(1 / 6)  # lists of each item: 1, 2, 1, 2
    assert evaluation.find("popularity", "gini", 2).low is None
