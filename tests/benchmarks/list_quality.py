"""NDCG@10 of every model and of their peers on real ratings, all items ranked, mean of 3 seeds.

    ./spark-submit.sh bench lists_vs_peers

A random fifth of each user's ratings is held out. Each model has a small grid around the best of
wider searches (``tune``; ``als_training``), each peer too: a cell is the best of its grid.
"""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
from benchmarks.als_training import (
    DATA,
    Setting,
    follow_implicit,
    measure_ndcg,
    read_goodbooks,
    read_movielens,
)
from rich.table import Table
from scipy.sparse import csr_matrix, vstack

from recsys_core.evaluation.baselines import PopularityModel
from recsys_core.evaluation.splits import Split, hold_out_at_random, hold_out_users
from recsys_core.model_form.item_model import ItemModel
from recsys_core.models.registry import MODELS
from recsys_core.sparse import mark_seen

_SEEDS = 3
_NMF = {"init": "nndsvda", "max_iter": 100, "tol": 1e-3, "l1_ratio": 0.0}
_EASE = {"popularity_exponent": 0.25, "activity_exponent": 0.25, "power_iterations": 2}

Grid = dict[str, list[Any]]

OURS: dict[str, dict[str, tuple[str, dict[str, Any], Grid]]] = {
    "ml-latest-small": {
        "nmf, as the notebooks": (
            "nmf",
            {**_NMF, "regularization": 0.0, "binary": False},
            {"n_components": [10, 15, 20, 55]},
        ),
        "nmf, penalized, of 0/1": (
            "nmf",
            {**_NMF, "regularization": 0.01, "binary": True},
            {"n_components": [80, 160]},
        ),
        "als": (
            "als",
            {"n_factors": 128, "frequency_exponent": 1.0},
            {"iterations": [10], "regularization": [0.012], "unobserved_weight": [0.5, 0.7]},
        ),
        "ease, rank 256": (
            "ease",
            {**_EASE, "popularity_exponent": 0.0, "scaling": "diagonal", "n_factors": 256},
            {"regularization": [200.0, 300.0]},
        ),
    },
    "goodbooks-10k": {
        "nmf, penalized, of 0/1": (
            "nmf",
            {**_NMF, "regularization": 0.001, "binary": True},
            {"n_components": [100]},
        ),
        "als": (
            "als",
            {"n_factors": 256, "frequency_exponent": 0.0, "iterations": 3},
            {"regularization": [2.5], "unobserved_weight": [1 / 19]},
        ),
        **{
            f"ease, rank {rank}": (
                "ease",
                {**_EASE, "scaling": "length", "n_factors": rank},
                {"regularization": [5.0]},
            )
            for rank in (256, 512, 1024)
        },
    },
}
"""By data set and name: the model, its fixed settings, and those tried."""
IMPLICIT: dict[str, tuple[list[Setting], list[int]]] = {
    "ml-latest-small": (
        [Setting(*point) for point in itertools.product([64, 128], [10.0, 30.0], [3.0, 5.0])],
        [10, 15, 30],
    ),
    "goodbooks-10k": (
        [Setting(*point) for point in itertools.product([128, 256], [10.0, 50.0], [10.0, 20.0])],
        [2, 3, 5, 15],
    ),
}
READ = {"ml-latest-small": read_movielens, "goodbooks-10k": read_goodbooks}


def measure_model(model: ItemModel, split: Split) -> float:
    return measure_ndcg(model.fold_in(split.known), model.item_factors, split)


def find_best(splits: list[Split], kind: str, fixed: dict[str, Any], grid: Grid) -> float:
    """The best mean over the splits of any setting."""
    means = []
    for values in itertools.product(*grid.values()):
        settings = {**fixed, **dict(zip(grid, values, strict=True))}
        scores = [
            measure_model(
                MODELS[kind].train(split.train, seed=seed, device="cpu", **settings).model, split
            )
            for seed, split in enumerate(splits)
        ]
        means.append(float(np.mean(scores)))
    return max(means)


def find_best_implicit(splits: list[Split], settings: list[Setting], rounds: list[int]) -> float:
    means = [
        np.mean(
            [follow_implicit(split, setting, seed, rounds) for seed, split in enumerate(splits)], 0
        )
        for setting in settings
    ]
    return float(np.max(means))


def measure_full_ease(
    splits: list[Split], activity_exponents: tuple[float, ...]
) -> Iterator[float]:
    """Full EASE by its item x item inverse, the best of lambda, as published and with weights."""
    for exponent in activity_exponents:
        yield max(
            float(np.mean([_full_ease(split, regularization, exponent) for split in splits]))
            for regularization in (200.0, 300.0)
        )


def _full_ease(split: Split, regularization: float, exponent: float) -> float:
    seen = mark_seen(split.train)
    counts = np.diff(seen.indptr)
    seen.data *= np.repeat((counts / counts.mean()) ** -exponent, counts).astype(np.float32)
    gram = (seen.T @ seen).toarray().astype(np.float64)
    inverse = np.linalg.inv(gram + regularization * np.eye(len(gram)))
    weights = np.eye(len(gram)) - inverse / np.diag(inverse)
    users = mark_seen(split.known).toarray()
    return measure_ndcg(users, np.ascontiguousarray(weights.T, dtype=np.float32), split)


def compare_new_users(ratings: csr_matrix, kind: str, settings: dict[str, Any]) -> float:
    """NDCG@10 of users folded in from half of their ratings, over theirs when trained on that."""
    ratios = []
    for seed in range(_SEEDS):
        new = hold_out_users(ratings, fraction=0.2, known_fraction=0.5, seed=seed)
        both = vstack([new.train, new.known], format="csr")
        train = MODELS[kind].train
        models = [
            train(part, seed=seed, device="cpu", **settings).model for part in (new.train, both)
        ]
        folded, trained = (measure_model(model, new) for model in models)
        ratios.append(folded / trained)
    return float(np.mean(ratios))


def tabulate_lists() -> Table:
    table = Table("data", "model", "NDCG@10", "new users / trained on")
    for data, read in READ.items():
        ratings = read(DATA)
        splits = [hold_out_at_random(ratings, fraction=0.2, seed=seed) for seed in range(_SEEDS)]

        def add(name: str, ndcg: float, new_users: str = "", data: str = data) -> None:
            table.add_row(data, name, f"{ndcg:.4f}", new_users)
            print(data, name, f"{ndcg:.4f}", new_users, flush=True)

        add(
            "popularity",
            float(np.mean([measure_model(PopularityModel.of(s.train), s) for s in splits])),
        )
        add("implicit's ALS", find_best_implicit(splits, *IMPLICIT[data]))
        if data == "ml-latest-small":
            for name, ndcg in zip(
                ("full EASE", "full EASE, users weighted"),
                measure_full_ease(splits, (0.0, 0.25)),
                strict=True,
            ):
                add(name, ndcg)
        for name, (kind, fixed, grid) in OURS[data].items():
            settings = {**fixed, **{key: values[-1] for key, values in grid.items()}}
            ratio = compare_new_users(ratings, kind, settings)
            add(name, find_best(splits, kind, fixed, grid), f"{ratio:.3f}")
    return table
