"""The inner loops of ``ruled_lists``: choose each user's list out of candidates in order."""

from typing import Final, NamedTuple

import numpy as np

from recsys_core.arrays import (
    BoolArray,
    Float32Array,
    Int32Array,
    Int64Array,
)
from recsys_core.compile.jit import compiled, compiled_sum

EFFECTS: Final = (
    "empty_places",
    "empty_lists",
    "lists_cut_by_score",
    "items_over_genre_cap",
    "lists_with_genre_cap",
    "items_over_cluster_cap",
    "lists_with_cluster_cap",
    "lists_made_diverse",
    "items_by_diversity",
)
"""What is counted of the rules' work, in the order of an effects array (int64).

empty_places            places of lists that stay empty, though unseen allowed items were left
empty_lists             lists without any item for that reason
lists_cut_by_score      lists that end early as all further items are below the minimum score
items_over_genre_cap    of the first k candidates of each list, those passed over for a genre
lists_with_genre_cap    lists of which any was
items_over_cluster_cap  the same for clusters
lists_made_diverse      lists that hold other items, or in another order, than without diversity
items_by_diversity      items in lists that would not be there without diversity
"""
_OVER_CAP: Final = EFFECTS.index("items_over_genre_cap")
_DIVERSE: Final = EFFECTS.index("lists_made_diverse")


class CompiledRules(NamedTuple):
    """The rules as compiled functions take them."""

    k: int
    min_score: float
    starts: Int64Array  # [n_items + 1] into groups
    groups: Int32Array
    cap: Int32Array  # [n_groups]
    kind: Int32Array  # [n_groups]
    in_list: Int32Array  # [n_groups] scratch: items of the list so far
    diversity: float
    pool: int
    directions: Float32Array  # [n_items, n_factors], rows of length 1 or 0


@compiled
def choose_lists(
    rules: CompiledRules,
    starts: Int64Array,
    items: Int32Array,
    scores: Float32Array,
    are_all: BoolArray,
    n_unseen: Int64Array,
    count: Int64Array,
    item_index: Int32Array,
    score: Float32Array,
    effects: Int64Array,
) -> None:
    """Make the list of each user out of its candidates.

    Args:
        starts: [n_users + 1] into ``items`` and ``scores``, which are in order within a user.
        are_all: [n_users], whether a user's candidates are all its unseen allowed items.
        n_unseen: [n_users], how many of these there are.
        count, item_index, score: [n_users], [n_users, k] twice; filled. Nothing is written, and the
            count stays below 0, for a user whose candidates are too few to tell.
        effects: [len(EFFECTS)], added to.
    """
    place, plain = np.empty(rules.k, dtype=np.int64), np.empty(rules.k, dtype=np.int64)
    passed_over, not_counted = np.zeros(2, dtype=np.int64), np.zeros(2, dtype=np.int64)
    for user in range(len(count)):
        first, last = starts[user], starts[user + 1]
        end = first
        while end < last and np.float64(scores[end]) >= rules.min_score:
            end += 1
        mine, of_mine = items[first:end], scores[first:end]
        n = _choose(rules, rules.pool, mine, of_mine, place, passed_over)
        if n < rules.k and end == last and not are_all[user]:
            continue
        count[user] = n
        for rank in range(n):
            item_index[user, rank] = mine[place[rank]]
            score[user, rank] = of_mine[place[rank]]
        wanted = min(rules.k, n_unseen[user])
        effects[0] += wanted - n
        effects[1] += n == 0 and wanted > 0
        effects[2] += n < rules.k and end < last
        for kind in range(2):
            effects[_OVER_CAP + 2 * kind] += passed_over[kind]
            effects[_OVER_CAP + 2 * kind + 1] += passed_over[kind] > 0
        if rules.pool > 0:
            n_plain = _choose(rules, 0, mine, of_mine, plain, not_counted)
            new = _count_new(place[:n], plain[:n_plain])
            effects[_DIVERSE] += new > 0 or _differ(place[:n], plain[:n_plain])
            effects[_DIVERSE + 1] += new


@compiled
def _choose(
    rules: CompiledRules,
    n_pool: int,
    items: Int32Array,
    scores: Float32Array,
    place: Int64Array,
    passed_over: Int64Array,
) -> int:
    """Fill ``place`` with the places of the chosen items, best first; how many there are.

    Args:
        items, scores: candidates in order.
        passed_over: [2] by kind of group, filled.
    """
    rules.in_list[:] = 0
    passed_over[:] = 0
    n_pool = min(n_pool, len(items))
    n = _choose_diverse(rules, n_pool, items, scores, place, passed_over) if n_pool > 0 else 0
    for at in range(n_pool, len(items)):
        if n == rules.k:
            break
        full = _add_to_groups(rules, items[at])
        if full < 0:
            place[n] = at
            n += 1
        elif at < rules.k:
            passed_over[rules.kind[full]] += 1
    return n


@compiled
def _add_to_groups(rules: CompiledRules, item: int) -> int:
    """Count an item into its groups; -1, or the group of which the list has enough already."""
    for entry in range(rules.starts[item], rules.starts[item + 1]):
        group = rules.groups[entry]
        if rules.in_list[group] >= rules.cap[group]:
            return int(group)
    for entry in range(rules.starts[item], rules.starts[item + 1]):
        rules.in_list[rules.groups[entry]] += 1
    return -1


@compiled
def _choose_diverse(
    rules: CompiledRules,
    n_pool: int,
    items: Int32Array,
    scores: Float32Array,
    place: Int64Array,
    passed_over: Int64Array,
) -> int:
    """Maximal marginal relevance over the first candidates; as ``_choose``."""
    best, last = np.float64(scores[0]), np.float64(scores[n_pool - 1])
    relevance = np.ones(n_pool)
    if best > last:
        for at in range(n_pool):
            relevance[at] = (np.float64(scores[at]) - last) / (best - last)
    closeness = np.full(n_pool, -1.0)  # the least a cosine can be: the first goes by relevance
    is_open = np.ones(n_pool, dtype=np.bool_)
    n = 0
    for turn in range(n_pool):
        if n == rules.k:
            break
        value = (1 - rules.diversity) * relevance - rules.diversity * closeness
        chosen = int(np.argmax(np.where(is_open, value, -np.inf)))  # the first of equals
        is_open[chosen] = False
        full = _add_to_groups(rules, items[chosen])
        if full >= 0:
            passed_over[rules.kind[full]] += turn < rules.k
            continue
        place[n] = chosen
        n += 1
        for other in np.flatnonzero(is_open):
            cosine = _cosine(rules.directions, items[other], items[chosen])
            closeness[other] = max(closeness[other], cosine)
    return n


@compiled_sum
def _cosine(directions: Float32Array, left: int, right: int) -> float:
    total = 0.0
    for column in range(directions.shape[1]):
        total += np.float64(directions[left, column]) * np.float64(directions[right, column])
    return total


@compiled
def _count_new(places: Int64Array, others: Int64Array) -> int:
    n = 0
    for place in places:
        n += not np.any(others == place)
    return n


@compiled
def _differ(places: Int64Array, others: Int64Array) -> bool:
    return len(places) != len(others) or bool(np.any(places != others))


@compiled
def find_open(rules: CompiledRules, items: Int32Array, is_out: BoolArray) -> Int64Array:
    """Places in ``items`` that are not out and of whose groups the list may still hold some.

    After ``choose_lists`` for one user, whose list the scratch in ``rules`` then describes.

    Args:
        items: [n] item indices.
        is_out: [n].
    """
    is_open = np.zeros(len(items), dtype=np.bool_)
    for place in range(len(items)):
        is_open[place] = not is_out[place]
        for entry in range(rules.starts[items[place]], rules.starts[items[place] + 1]):
            group = rules.groups[entry]
            if rules.in_list[group] >= rules.cap[group]:
                is_open[place] = False
    return np.flatnonzero(is_open)
