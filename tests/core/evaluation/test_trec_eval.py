"""Ranking metrics are those of trec_eval to the last bit, whatever lists and users."""

from itertools import pairwise

import numpy as np
import pytest
from pytrec_eval import RelevanceEvaluator
from scipy.sparse import csr_matrix

from recsys_core.evaluation.metrics import RANKING_METRICS, measure_lists
from recsys_core.ranking.top_k import RankedItems

TREC_NAMES = {
    "ndcg": "ndcg_cut",
    "recall": "recall",
    "precision": "P",
    "map": "map_cut",
    "hit_rate": "success",
}
"""But for mrr: trec_eval's recip_rank has no cutoff, and is of lists cut off before."""


def name_relevant(relevant: csr_matrix) -> dict[str, dict[str, int]]:
    return {
        str(user): {str(item): 1 for item in relevant.indices[start:stop]}
        for user, (start, stop) in enumerate(pairwise(relevant.indptr))
    }


def name_lists(lists: RankedItems, k: int) -> dict[str, dict[str, float]]:
    """The first k of each list, by user. trec_eval orders by score: a rank is one."""
    named: dict[str, dict[str, float]] = {}
    for user, item, rank in zip(lists.user_row, lists.item_index, lists.rank, strict=True):
        if rank <= k:
            named.setdefault(str(user), {})[str(item)] = -float(rank)
    return named


def measure_by_trec(lists: RankedItems, relevant: csr_matrix, metric: str, k: int) -> list[float]:
    """Of each user; trec_eval leaves out those whose list is empty."""
    name = "recip_rank" if metric == "mrr" else f"{TREC_NAMES[metric]}_{k}"
    evaluator = RelevanceEvaluator(name_relevant(relevant), {name})
    depth = k if metric == "mrr" else int(lists.counts.max(initial=0))
    found = evaluator.evaluate(name_lists(lists, depth))
    return [found.get(str(user), {}).get(name, 0.0) for user in range(relevant.shape[0])]


def draw_case(seed: int, n_users: int, n_items: int, k: int) -> tuple[RankedItems, csr_matrix]:
    """Lists from none to k items, and from one relevant item to all, in no order."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, min(k, n_items) + 1, n_users)
    counts[: n_users // 2] = min(k, n_items)
    listed = [rng.permutation(n_items)[:count] for count in counts]
    n_relevant = np.minimum(rng.geometric(1 / 8, n_users), n_items)
    relevant = [rng.permutation(n_items)[:n] for n in n_relevant]
    lists = RankedItems(
        counts, np.concatenate(listed).astype(np.int32), np.zeros(counts.sum(), np.float32)
    )
    indptr = np.concatenate([[0], np.cumsum(n_relevant)])
    values = rng.integers(0, 2, indptr[-1]).astype(np.float32)
    return lists, csr_matrix((values, np.concatenate(relevant), indptr), (n_users, n_items))


@pytest.mark.parametrize(
    ("n_items", "cutoffs"), [(12, [1, 3, 10]), (40, [5, 2, 40]), (300, [100, 7]), (6, [9, 4])]
)
@pytest.mark.parametrize("seed", range(5))
def test_ranking_metrics_are_those_of_trec_eval(
    n_items: int, cutoffs: list[int], seed: int
) -> None:
    lists, relevant = draw_case(seed, 200, n_items, max(cutoffs))
    measures = measure_lists(lists, relevant, cutoffs)
    assert [(m.metric, m.k) for m in measures] == [(m, k) for k in cutoffs for m in RANKING_METRICS]
    for measure in measures:
        expected = measure_by_trec(lists, relevant, measure.metric, measure.k)
        assert measure.total.tolist() == expected, (measure.metric, measure.k)
        assert measure.count.tolist() == [1.0] * 200


def test_nobody_is_listed_anything() -> None:
    nothing = RankedItems(np.zeros(3, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32))
    relevant = csr_matrix(np.eye(3, dtype=np.float32))
    assert all(m.total.tolist() == [0.0] * 3 for m in measure_lists(nothing, relevant, [1, 5]))
