"""What blend joins: the parts as they are trained alone, on one scale, by a found weight."""

import numpy as np
import pytest
from core_examples import are_bit_equal, draw_ratings
from model_cases import ALS, BLEND, EASE, GROUPS, SLIM
from scipy.sparse import csr_matrix

from recsys_core.errors import TrainingError
from recsys_core.models import blend
from recsys_core.models.als import train_als
from recsys_core.models.base import TrainedModel
from recsys_core.models.blend import WEIGHTS, BlendModel, train_blend
from recsys_core.models.slim import train_slim
from recsys_core.ranking.model_scorer import ModelScorer


def train(ratings: csr_matrix, **settings: object) -> tuple[BlendModel, TrainedModel]:
    trained = train_blend(ratings, **{**BLEND, "seed": 0, "device": "cpu", **settings})
    assert isinstance(trained.model, BlendModel)
    return trained.model, trained


def score_all(model: BlendModel, ratings: csr_matrix) -> tuple[np.ndarray, np.ndarray]:
    """The scores of the two parts, dense."""
    users = model.fold(ratings)
    dense = users.factors.astype(np.float64) @ model.item_factors.T.astype(np.float64)
    return dense, (users.weights @ model.item_weights.matrix).toarray()


@pytest.mark.parametrize("weight", [0.5, 1.0])
def test_parts_are_those_trained_alone_and_of_the_spread_that_was_asked(weight: float) -> None:
    model, trained = train(GROUPS.ratings, weight=weight)
    alone = train_slim(GROUPS.ratings, **SLIM, seed=0, device="cpu").model
    als = train_als(GROUPS.ratings, **ALS, seed=0, device="cpu").model
    assert are_bit_equal(model.slim.weights.matrix.data, alone.item_weights.matrix.data)
    assert are_bit_equal(model.low_rank.item_factors, als.item_factors)
    assert are_bit_equal(model.item_embeddings, als.item_embeddings)
    dense, sparse = score_all(model, GROUPS.ratings)
    assert dense.std() / sparse.std() == pytest.approx(weight, rel=1e-4)
    assert trained.figures == {"weight": weight}


def test_the_weight_is_found_on_ratings_held_out_of_the_training_part(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ratings = draw_ratings(80, 30, seed=4, density=0.4)
    seen: list[csr_matrix] = []

    def watch(part: csr_matrix, **settings: object) -> TrainedModel:
        seen.append(part)
        return train_slim(part, **settings)

    monkeypatch.setattr(blend, "train_slim", watch)
    _, trained = train(ratings, weight=None)
    assert trained.figures["weight"] in WEIGHTS
    assert 0 < trained.figures["weight_ndcg"] < 1
    part, whole = seen
    assert whole.nnz == ratings.nnz
    assert part.nnz == pytest.approx(0.8 * ratings.nnz, rel=0.05)
    _, again = train(ratings, weight=None)
    assert again.figures == trained.figures


def test_a_part_that_says_nothing_loses() -> None:
    """Taste is in pairs that no factor can tell: the sparse part must weigh most."""
    rng = np.random.default_rng(0)
    pairs = rng.random((300, 30)) < 0.1
    dense = np.repeat(pairs, 2, axis=1).astype(np.float32)
    _, trained = train(csr_matrix(dense), weight=None)
    assert trained.figures["weight"] == min(WEIGHTS)


def test_users_without_enough_ratings_need_a_given_weight() -> None:
    ones = csr_matrix(np.eye(6, dtype=np.float32))
    with pytest.raises(TrainingError, match=r"set train\.blend\.weight"):
        train(ones, weight=None)
    model, _ = train(ones, weight=1.0)  # and nothing is ever rated together
    assert model.alpha == 1.0
    assert ModelScorer(model, 3).rank(model.fold(ones)).counts.tolist() == [3] * 6


@pytest.mark.parametrize("low_rank", ["als", "ease"])
def test_it_is_loaded_with_the_low_rank_part_it_was_saved_with(low_rank: str) -> None:
    settings = {"als": ALS, "ease": EASE}
    model, _ = train(GROUPS.ratings, low_rank=low_rank, **settings)
    again = BlendModel.from_arrays(model.to_arrays())
    assert again.low_rank.kind == low_rank
    assert again.alpha == model.alpha
    both = {**model.to_arrays(), "mf.item_factors": np.ones((2, 2))}
    assert BlendModel.from_arrays(both).alpha == model.alpha
    without = {k: v for k, v in model.to_arrays().items() if not k.startswith(low_rank)}
    with pytest.raises(ValueError, match="low-rank parts"):
        BlendModel.from_arrays(without)
    with pytest.raises(ValueError, match="alpha"):
        BlendModel.from_arrays({**model.to_arrays(), "alpha": np.array([-1.0])})
