"""What a rating counts: alike, or by how far it is above the mean."""

import numpy as np
import pytest
from core_examples import are_bit_equal
from scipy.sparse import csr_matrix

from recsys_core.model_form.rating_weights import EQUAL, RatingWeights

RATINGS = csr_matrix(np.array([[5.0, 0.0, 1.0], [0.0, 3.0, 0.0]], dtype=np.float32))
"""Their mean is 3."""


def test_a_rating_weighs_by_what_it_is_above_the_mean() -> None:
    weights = RatingWeights.of(RATINGS, 0.75)
    assert weights == RatingWeights(0.75, 3.0)
    expected = np.array([[2.5, 0.0, -0.5], [0.0, 1.0, 0.0]], dtype=np.float32)
    assert are_bit_equal(weights.weigh(RATINGS).toarray(), expected)
    cut_off = weights.weigh(RATINGS, least=0.0)
    assert cut_off.nnz == 3
    assert cut_off.toarray()[0].tolist() == [2.5, 0.0, 0.0]


def test_ratings_that_weigh_alike_have_no_mean() -> None:
    assert RatingWeights.of(RATINGS, 0.0) == EQUAL
    assert are_bit_equal(EQUAL.weigh(RATINGS).data, np.ones(3, np.float32))
    assert RatingWeights.of(RATINGS[:0], 0.75).mean_rating == 0.0


def test_ratings_are_left_as_they_are() -> None:
    before = RATINGS.copy()
    RatingWeights.of(RATINGS, 0.75).weigh(RATINGS, least=0.0).eliminate_zeros()  # moves indices
    assert are_bit_equal(RATINGS.indices, before.indices)
    assert are_bit_equal(RATINGS.indptr, before.indptr)


def test_weights_survive_as_arrays_and_are_none_where_all_are_alike() -> None:
    weights = RatingWeights(0.75, 3.0)
    assert RatingWeights.from_arrays(weights.to_arrays()) == weights
    assert EQUAL.to_arrays() == {}
    assert RatingWeights.from_arrays({}) == EQUAL


@pytest.mark.parametrize("name", ["rating_weight", "mean_rating"])
def test_half_of_the_arrays_are_refused(name: str) -> None:
    arrays = RatingWeights(0.75, 3.0).to_arrays()
    del arrays[name]
    with pytest.raises(KeyError):
        RatingWeights.from_arrays(arrays)


@pytest.mark.parametrize(
    "broken",
    [{"rating_weight": -0.1}, {"rating_weight": np.inf}, {"mean_rating": np.nan}],
    ids=str,
)
def test_numbers_of_no_weights_are_refused(broken: dict[str, float]) -> None:
    arrays = RatingWeights(0.75, 3.0).to_arrays()
    arrays |= {name: np.array([number]) for name, number in broken.items()}
    with pytest.raises(ValueError, match="no model has"):
        RatingWeights.from_arrays(arrays)
