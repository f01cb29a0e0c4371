"""NDCG@10 of every model and of its peers on real ratings, all items ranked, mean of some seeds.

    ./spark-submit.sh bench lists_vs_peers

A random fifth of each user's ratings is held out. "Any": all of it is relevant. "Liked": only what
was rated 4 or more, for users who have such. Every model and every peer has a small grid around the
best of wider searches (``tune``; ``als_training``). A point of it is chosen once, on fifths held
out of the first seed's training part, and used for all seeds: no test part has a say in it.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from benchmarks.als_training import (
    DATA,
    Setting,
    follow_implicit,
    read_goodbooks,
    read_movielens,
)
from benchmarks.timing import MISSING, Row, pass_over
from scipy.linalg.lapack import dpotrf, dpotri
from scipy.sparse import csr_matrix, vstack

from recsys_core.arrays import BoolArray, Csr, Float32Array
from recsys_core.evaluation.baselines import PopularityModel
from recsys_core.evaluation.metrics import measure_lists, rank_users
from recsys_core.evaluation.splits import Split, hold_out_at_random, hold_out_users, take_ratings
from recsys_core.model_form.item_model import ItemModel
from recsys_core.models.registry import MODELS
from recsys_core.ranking.top_k import RankedItems, TopKScorer
from recsys_core.sparse import mark_seen

K, LIKED = 10, 4.0
HELD_OUT = 0.2
NEW_USER_SEEDS = 3
USERS_AT_ONCE = 1_024
"""Whose dense scores are in memory."""

Settings = dict[str, Any]
Grid = dict[str, list[Any]]


@dataclass(frozen=True)
class Candidate:
    """One of our models: its fixed settings, and those to choose from."""

    kind: str
    fixed: Settings = field(default_factory=dict)
    grid: Grid = field(default_factory=dict)
    parts: dict[str, str] = field(default_factory=dict)
    """Of a model made of others: by the name of a part, the candidate above whose chosen settings
    are the part's."""

    def take_parts(self, chosen: dict[str, Settings]) -> Settings:
        """The fixed settings, those of the parts among them."""
        return {**self.fixed, **{part: chosen[name] for part, name in self.parts.items()}}


@dataclass(frozen=True)
class DataSet:
    """Ratings, and what is tried on them."""

    read: Callable[..., csr_matrix]
    n_seeds: int
    ours: dict[str, Candidate]
    implicit: list[Setting]
    implicit_iterations: list[int]
    ease_regularization: list[float]
    """Of full EASE."""
    n_choices: int = 1
    """Splits of the training part that settings are chosen by: more where one is of few ratings."""


_NMF = {"init": "nndsvda", "max_iter": 100, "tol": 1e-3, "l1_ratio": 0.0}
_EASE = {"popularity_exponent": 0.25, "activity_exponent": 0.25, "power_iterations": 2}
_SLIM = {"neighbours": 50, "activity_exponent": 0.25, "rating_weight": 0.2}
BLEND = Candidate("blend", {"low_rank": "als", "weight": None}, {}, {"slim": "slim", "als": "als"})
"""Its weight is found by its own trainer, on a split of what it is given."""

DATA_SETS = {
    "ml-latest-small": DataSet(
        read_movielens,
        n_seeds=5,
        ours={
            "nmf, as the notebooks": Candidate(
                "nmf",
                {**_NMF, "regularization": 0.0, "binary": False},
                {"n_components": [10, 15, 20, 55]},
            ),
            "nmf, penalized, of 0/1": Candidate(
                "nmf",
                {**_NMF, "regularization": 0.01, "binary": True},
                {"n_components": [80, 160]},
            ),
            "als": Candidate(
                "als",
                {"n_factors": 128, "frequency_exponent": 1.0, "iterations": 10},
                {
                    "regularization": [0.012],
                    "unobserved_weight": [0.5, 0.7],
                    "rating_weight": [0.0, 0.2],
                },
            ),
            "ease, rank 256": Candidate(
                "ease",
                {**_EASE, "popularity_exponent": 0.0, "scaling": "diagonal", "n_factors": 256},
                {"regularization": [200.0, 300.0], "rating_weight": [0.0, 0.2]},
            ),
            "slim": Candidate(
                "slim",
                _SLIM,
                {"regularization": [70.0, 100.0, 150.0], "popularity_exponent": [0.0, 0.1]},
            ),
            "blend": BLEND,
        },
        implicit=[
            Setting(*point) for point in itertools.product([64, 128], [10.0, 30.0], [3.0, 5.0])
        ],
        implicit_iterations=[10, 15, 30],
        ease_regularization=[100.0, 200.0, 300.0, 500.0],
        n_choices=3,
    ),
    "goodbooks-10k": DataSet(
        read_goodbooks,
        n_seeds=3,
        ours={
            "nmf, penalized, of 0/1": Candidate(
                "nmf",
                {**_NMF, "regularization": 0.001, "binary": True},
                {"n_components": [100]},
            ),
            "als": Candidate(
                "als",
                {"n_factors": 256, "frequency_exponent": 0.0, "iterations": 3},
                {
                    "regularization": [2.5],
                    "unobserved_weight": [1 / 19],
                    "rating_weight": [0.0, 0.2],
                },
            ),
            **{
                f"ease, rank {rank}": Candidate(
                    "ease",
                    {**_EASE, "scaling": "length", "n_factors": rank},
                    {"regularization": [5.0]},
                )
                for rank in (256, 512, 1024)
            },
            "slim": Candidate(
                "slim",
                _SLIM,
                {"regularization": [20.0, 30.0, 50.0], "popularity_exponent": [0.0, 0.1]},
            ),
            "blend": BLEND,
        },
        implicit=[
            Setting(*point) for point in itertools.product([128, 256], [10.0, 50.0], [10.0, 20.0])
        ],
        implicit_iterations=[2, 3, 5, 15],
        ease_regularization=[50.0, 100.0, 200.0, 400.0],
    ),
}


# --- How good lists are ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Quality:
    """NDCG@10 by both ideas of what is relevant."""

    any: float
    liked: float
    """0 where nobody has a liked item held out."""

    @property
    def both(self) -> float:
        """What settings are chosen by."""
        return (self.any + self.liked) / 2

    @classmethod
    def average(cls, each: list["Quality"]) -> "Quality":
        return cls(*(float(np.mean([getattr(q, name) for q in each])) for name in ("any", "liked")))


def measure_quality(lists: RankedItems, held_out: Csr) -> Quality:
    """Of a list for each row of ``held_out``."""
    liked = take_ratings(held_out, held_out.data >= LIKED)
    has_liked = np.diff(liked.indptr) > 0
    return Quality(
        find_metric("ndcg", lists, held_out, K),
        find_metric("ndcg", take_lists(lists, has_liked), liked[has_liked], K)
        if has_liked.any()
        else 0.0,
    )


def find_metric(name: str, lists: RankedItems, relevant: Csr, k: int) -> float:
    return next(each.value for each in measure_lists(lists, relevant, [k]) if each.metric == name)


def take_lists(lists: RankedItems, users: BoolArray) -> RankedItems:
    """Those of some users."""
    listed = users[lists.user_row]
    return RankedItems(lists.counts[users], lists.item_index[listed], lists.score[listed])


def measure_model(model: ItemModel, split: Split) -> Quality:
    return measure_quality(rank_users(model, split.known, K), split.held_out)


# --- Settings -------------------------------------------------------------------------------------


def choose_settings(
    train_part: Csr,
    kind: str,
    fixed: Settings,
    grid: Grid,
    score: Callable[[ItemModel, Split], float] = lambda model, split: (
        measure_model(model, split).both
    ),
    n_choices: int = 1,
) -> Settings:
    """The best of the grid on fifths of each user's ratings in ``train_part`` alone."""
    points = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    if len(points) == 1:
        return {**fixed, **points[0]}
    splits = _split_again(train_part, n_choices)

    def try_point(point: Settings) -> float:
        settings = {**fixed, **point}
        value = float(
            np.mean([score(train(kind, split.train, settings, 0), split) for split in splits])
        )
        print(f"{kind} {point}: {value:.4f}", flush=True)
        return value

    return {**fixed, **max(points, key=try_point)}


def _split_again(train_part: Csr, n_choices: int) -> list[Split]:
    return [
        hold_out_at_random(train_part, fraction=HELD_OUT, seed=seed) for seed in range(n_choices)
    ]


def train(kind: str, ratings: Csr, settings: Settings, seed: int) -> ItemModel:
    return MODELS[kind].train(ratings, seed=seed, device="cpu", **settings).model


def list_settings(settings: Settings, grid: Grid) -> str:
    """What was chosen, of what there was to choose from."""
    return ", ".join(f"{name} {settings[name]:.4g}" for name in grid if len(grid[name]) > 1)


# --- Peers ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Peer:
    """Lists of a peer: how good they are on a split by each of its settings."""

    settings: Callable[[DataSet], list[Any]]
    measure: Callable[[Split, int, list[Any]], list[Quality]]
    """Of each of some settings, by the seed of the split."""


def measure_popularity(split: Split, seed: int, settings: list[Any]) -> list[Quality]:
    return [measure_model(PopularityModel.of(split.train), split) for _ in settings]


def list_implicit(data: DataSet) -> list[tuple[Setting, int]]:
    return [*itertools.product(data.implicit, data.implicit_iterations)]


def measure_implicit(split: Split, seed: int, settings: list[tuple[Setting, int]]) -> list[Quality]:
    """A training for each setting, measured after each of its iterations."""

    def measure(users: Float32Array, items: Float32Array, split: Split) -> Quality:
        return measure_quality(TopKScorer(items, K).rank(users, split.known), split.held_out)

    measured = {}
    for setting, points in itertools.groupby(settings, key=lambda point: point[0]):
        iterations = [iteration for _, iteration in points]
        each = follow_implicit(split, setting, seed, iterations, measure)
        measured |= dict(zip(itertools.product([setting], iterations), each, strict=True))
    return [measured[point] for point in settings]


def measure_full_ease(split: Split, seed: int, settings: list[float]) -> list[Quality]:
    """EASE as published, by its item x item inverse."""
    seen = mark_seen(split.train)
    gram = (seen.T @ seen).toarray().astype(np.float64)
    return [
        measure_quality(
            rank_densely(solve_full_ease(gram, regularization), split.known), split.held_out
        )
        for regularization in settings
    ]


def solve_full_ease(gram: np.ndarray, regularization: float) -> Float32Array:
    """B = I - P / diag P, with zeros on the diagonal, for P the inverse of gram + lambda I."""
    wide = np.array(gram, order="F")  # a copy: it is overwritten
    wide[np.diag_indices(len(gram))] += regularization
    # Half the work of a general inverse; the upper triangle alone comes out of it.
    half = dpotri(dpotrf(wide, overwrite_a=1)[0], overwrite_c=1)[0]
    half = np.triu(half)
    inverse = half + np.triu(half, 1).T
    weights = (inverse / -np.diag(inverse)).astype(np.float32)
    np.fill_diagonal(weights, 0.0)
    return weights


def rank_densely(weights: Float32Array, known: Csr) -> RankedItems:
    """The best items by x B that are not in ``known``, from all scores of some users at a time."""
    parts = []
    for start in range(0, known.shape[0], USERS_AT_ONCE):
        seen = mark_seen(known[start : start + USERS_AT_ONCE])
        scores = seen @ weights
        scores[seen.nonzero()] = -np.inf
        best = np.argpartition(scores, -K, axis=1)[:, -K:]
        order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1, kind="stable")
        parts.append(np.take_along_axis(best, order, axis=1))
    listed = np.concatenate(parts).astype(np.int32)
    # All have more than K unseen items. Only the order of the scores is asked for.
    scores = np.tile(-np.arange(K, dtype=np.float32), len(listed))
    return RankedItems(np.full(len(listed), K), listed.ravel(), scores)


PEERS = {
    "popularity": Peer(lambda _: [""], measure_popularity),
    "implicit's ALS": Peer(list_implicit, measure_implicit),
    "full EASE": Peer(lambda data: data.ease_regularization, measure_full_ease),
}


def measure_peer(peer: Peer, data: DataSet, splits: list[Split]) -> tuple[Any, Quality]:
    """The setting chosen on the first training part, and the mean over the splits by it."""
    settings = peer.settings(data)
    best = settings[0]
    if len(settings) > 1:
        inner = _split_again(splits[0].train, data.n_choices)
        tried = np.mean(
            [[each.both for each in peer.measure(split, 0, settings)] for split in inner], axis=0
        )
        print(*zip(settings, tried, strict=True), sep="\n", flush=True)
        best = settings[int(np.argmax(tried))]
    each = [peer.measure(split, seed, [best])[0] for seed, split in enumerate(splits)]
    return best, Quality.average(each)


# --- The table ------------------------------------------------------------------------------------


def compare_new_users(ratings: csr_matrix, kind: str, settings: Settings) -> float:
    """NDCG@10 of users folded in from half of their ratings, over theirs when trained on that."""
    ratios = []
    for seed in range(NEW_USER_SEEDS):
        new = hold_out_users(ratings, fraction=0.2, known_fraction=0.5, seed=seed)
        both = vstack([new.train, new.known], format="csr")
        models = [train(kind, part, settings, seed) for part in (new.train, both)]
        folded, trained = (measure_model(model, new).any for model in models)
        ratios.append(folded / trained)
    return float(np.mean(ratios))


def tabulate_lists() -> Iterator[Row]:
    for name, data in DATA_SETS.items():
        try:
            ratings = data.read(DATA)
        except MISSING as error:
            yield pass_over(error, data=name)
            continue
        yield from ({"data": name, **row} for row in compare_lists(data, ratings))


def compare_lists(data: DataSet, ratings: csr_matrix) -> Iterator[Row]:
    """Peers first, then ours over them."""
    splits = [
        hold_out_at_random(ratings, fraction=HELD_OUT, seed=seed) for seed in range(data.n_seeds)
    ]
    peers: dict[str, Quality] = {}
    for name, peer in PEERS.items():
        try:
            setting, peers[name] = measure_peer(peer, data, splits)
        except MISSING as error:
            yield pass_over(error, model=name)
            continue
        yield {**_show_quality(name, peers[name]), "chosen": f"{setting}"}
    chosen: dict[str, Settings] = {}
    for name, candidate in data.ours.items():
        fixed = candidate.take_parts(chosen)
        settings = choose_settings(
            splits[0].train, candidate.kind, fixed, candidate.grid, n_choices=data.n_choices
        )
        chosen[name] = settings
        each = [
            measure_model(train(candidate.kind, split.train, settings, seed), split)
            for seed, split in enumerate(splits)
        ]
        yield {
            **_show_quality(name, Quality.average(each)),
            **_show_ratios(Quality.average(each), peers),
            "new / trained on": compare_new_users(ratings, candidate.kind, settings),
            "chosen": list_settings(settings, candidate.grid),
        }


def _show_quality(model: str, quality: Quality) -> Row:
    return {"model": model, "any": quality.any, "liked": quality.liked}


def _show_ratios(ours: Quality, peers: dict[str, Quality]) -> Row:
    return {
        f"{relevant} / {peer}": getattr(ours, relevant) / getattr(peers[peer], relevant)
        for peer in ("full EASE", "implicit's ALS")
        if peer in peers
        for relevant in ("any", "liked")
    }
