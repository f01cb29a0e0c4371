"""Recall@20 and NDCG@20 on Gowalla's published split, beside the figures that others published.

    ./spark-submit.sh bench lists_vs_published

The protocol is theirs: all items ranked but those of the user's training row, means over the users
with test items. Settings are chosen on a fifth of each user's training pairs.
"""

from collections.abc import Iterator

from benchmarks.als_training import DATA, read_gowalla
from benchmarks.list_quality import (
    BLEND,
    Candidate,
    Settings,
    choose_settings,
    find_metric,
    list_settings,
)
from benchmarks.timing import Row
from benchmarks.training_scale import train_apart

from recsys_core.evaluation.metrics import rank_users
from recsys_core.evaluation.splits import Split
from recsys_core.model_form.item_model import ItemModel

K = 20
METRICS = {"Recall@20": "recall", "NDCG@20": "ndcg"}
PUBLISHED = {
    "SLIM": (0.1699, 0.1382),
    "EASE": (0.1765, 0.1467),
    "LightGCN": (0.1820, 0.1547),
    "GF-CF": (0.1849, 0.1518),
    "UltraGCN": (0.1862, 0.1580),
    "SimpleX": (0.1872, 0.1557),
    "the highest seen": (0.194, 0.162),
}
"""By others on this split: Recall@20 and NDCG@20."""
OURS = {
    "als": Candidate(
        "als",
        {"n_factors": 256, "frequency_exponent": 1.0, "iterations": 10},
        {"regularization": [0.003, 0.006], "unobserved_weight": [0.01, 0.02]},
    ),
    "ease": Candidate(
        "ease",
        {
            "n_factors": 512,
            "popularity_exponent": 0.25,
            "activity_exponent": 0.25,
            "power_iterations": 2,
        },
        {"regularization": [5.0, 20.0], "scaling": ["length", "diagonal"]},
    ),
    "slim": Candidate(
        "slim",
        {
            "neighbours": 100,
            "activity_exponent": 0.25,
            "popularity_exponent": 0.0,
            "rating_weight": 0.0,
        },
        {"regularization": [50.0, 70.0, 100.0]},
    ),
    "blend": BLEND,
}


def measure(model: ItemModel, split: Split) -> dict[str, float]:
    lists = rank_users(model, split.known, K)
    return {shown: find_metric(name, lists, split.held_out, K) for shown, name in METRICS.items()}


def score(model: ItemModel, split: Split) -> float:
    """What settings are chosen by."""
    return sum(measure(model, split).values()) / len(METRICS)


def tabulate_published() -> Iterator[Row]:
    yield from compare_published(read_gowalla(DATA))


def compare_published(split: Split) -> Iterator[Row]:
    """What others have published, then ours, as they are trained."""
    for name, figures in PUBLISHED.items():
        yield {"model": name, "from": "published", **dict(zip(METRICS, figures, strict=True))}
    chosen: dict[str, Settings] = {}
    for name, candidate in OURS.items():
        fixed = candidate.take_parts(chosen)
        settings = choose_settings(split.train, candidate.kind, fixed, candidate.grid, score)
        chosen[name] = settings
        done = train_apart(split.train, candidate.kind, settings)
        yield {
            "model": name,
            "from": "here",
            **measure(done.model, split),
            "train, s": done.seconds,
            "GB beside the ratings": done.growth / 1e9,
            "chosen": list_settings(settings, candidate.grid),
        }
