"""Every registered model with settings that suit the planted groups. A new model is one entry."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from core_examples import Groups, plant_groups
from scipy.sparse import csr_matrix

from recsys_core.models.base import TrainedModel
from recsys_core.models.registry import MODELS
from recsys_core.ranking.model_scorer import ModelScorer

NMF = {"n_components": 2, "init": "random", "max_iter": 200, "tol": 1e-4}
MF = {
    "n_factors": 4,
    "epochs": 40,
    "batch_size": 64,
    "learning_rate": 0.03,
    "biases": False,
    "regularization": 0.0,
    "fold_in_regularization": 0.02,
    "validation_fraction": 0.0,
    "patience": 3,
}
ALS = {
    "n_factors": 2,
    "iterations": 2,
    "regularization": 0.15,
    "unobserved_weight": 0.07,
    "frequency_exponent": 1.0,
}
EASE = {
    "n_factors": 2,
    "regularization": 1.0,
    "popularity_exponent": 0.25,
    "activity_exponent": 0.25,
    "power_iterations": 2,
    "scaling": "diagonal",
}
SLIM = {
    "neighbours": 12,
    "regularization": 20.0,
    "activity_exponent": 0.25,
    "popularity_exponent": 0.1,
    "rating_weight": 0.0,
}
BLEND = {"low_rank": "als", "weight": 1.0, "slim": SLIM, "als": ALS}
GROUPS = plant_groups()
NO_RATINGS = csr_matrix((1, GROUPS.ratings.shape[1]), dtype=np.float32)


@dataclass(frozen=True)
class Case:
    """A registered model with settings that suit the planted groups."""

    kind: str
    settings: dict[str, Any]
    predicts_ratings: bool = True
    """Whether scores are near the ratings."""

    @property
    def goes_by_ratings(self) -> bool:
        """False for models of which items are rated at all, whatever the rating."""
        return self.predicts_ratings or self.settings.get("rating_weight", 0.0) > 0

    @property
    def is_iterative(self) -> bool:
        """False where the model is computed in one go, and no seed bears on it."""
        return MODELS[self.kind].rounds is not None

    def plant(self, n_users: int = 40, *, seed: int = 0) -> Groups:
        """Groups told apart by their ratings, or by what is rated where the model sees no more."""
        stray = 0.25 if self.goes_by_ratings else 0.05
        return plant_groups(n_users, stray=stray, seed=seed)

    def train(self, groups: Groups = GROUPS, *, seed: int = 0, **more: Any) -> TrainedModel:
        train = MODELS[self.kind].train
        return train(groups.ratings, seed=seed, device="cpu", **{**self.settings, **more})


CASES = {
    "nmf": Case("nmf", NMF),
    "mf": Case("mf", MF),
    "mf with biases": Case("mf", {**MF, "biases": True, "regularization": 1e-3}),
    "als": Case("als", ALS, predicts_ratings=False),
    "als with ratings": Case("als", {**ALS, "rating_weight": 0.5}, predicts_ratings=False),
    "ease": Case("ease", EASE, predicts_ratings=False),
    "slim": Case("slim", SLIM, predicts_ratings=False),
    "slim with ratings": Case("slim", {**SLIM, "rating_weight": 0.2}, predicts_ratings=False),
    "blend": Case("blend", BLEND, predicts_ratings=False),
    "blend with ease": Case(
        "blend",
        {"low_rank": "ease", "weight": None, "slim": SLIM, "ease": EASE},
        predicts_ratings=False,
    ),
    "ease by length": Case("ease", {**EASE, "scaling": "length"}, predicts_ratings=False),
    "ease with ratings": Case("ease", {**EASE, "rating_weight": 0.5}, predicts_ratings=False),
}
"""Each model by its own name, then in other settings that make it another."""


def share_own_group(trained: TrainedModel, groups: Groups, k: int) -> float:
    """How many of the k best unseen items are of the user's own group."""
    model = trained.model
    lists = ModelScorer(model, k).rank(model.fold(groups.ratings))
    own = groups.item_group[lists.item_index] == groups.user_group[lists.user_row]
    assert len(own) == k * len(groups.user_group)
    return float(own.mean())
