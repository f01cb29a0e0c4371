"""The inner loops of ``slim``: which items go together, and by what weights.

G = X' W X, how much any two items are rated by the same users, is never stored. A row of it is made
when it is needed, by one thread and in one order, so nothing depends on the number of threads: once
to choose an item's neighbours, and once more for the systems that the item is a neighbour in.
"""

from typing import NamedTuple

import numpy as np

from recsys_core.arrays import Float32Array, Float64Array, Int32Array, Int64Array
from recsys_core.compile.jit import compiled, compiled_unlocked
from recsys_core.linalg.cholesky import factorize, padded, solve
from recsys_core.ranking.exact_order import keep_best


class CoRatings(NamedTuple):
    """X by users and by items, such that G_ij is the sum of products of the two over users."""

    user_starts: Int64Array  # [n_users + 1]
    user_items: Int32Array  # [n_ratings]
    user_values: Float32Array  # [n_ratings]: x, above 0
    item_starts: Int64Array  # [n_items + 1]
    item_users: Int32Array  # [n_ratings]
    item_values: Float32Array  # [n_ratings]: x times the user's weight, above 0


class Neighbours(NamedTuple):
    """For each item those that its score is made of."""

    counts: Int32Array  # [n_items]: at most m
    items: Int32Array  # [n_items, m]: ascending
    gram: Float32Array  # [n_items, m]: G between the item and each neighbour


class Systems(NamedTuple):
    """G among the neighbours of some items, from ``first`` on."""

    first: int
    gram: Float32Array  # [n_systems, m, m], the upper triangle
    starts: Int64Array  # [n_items + 1]: where an item's entries begin
    system: Int32Array  # [n_entries]: the system that the item is a neighbour in
    place: Int32Array  # [n_entries]: which of its neighbours the item is


@compiled
def add_gram_row(ratings: CoRatings, item: int, sums: Float64Array, reached: Int32Array) -> int:
    """Make row ``item`` of G; how many items it reaches.

    Args:
        sums: [n_items] of zeros; those of the items reached are then above 0.
        reached: [> n_items]; filled with these items.
    """
    n = 0
    for entry in range(ratings.item_starts[item], ratings.item_starts[item + 1]):
        user, factor = ratings.item_users[entry], np.float64(ratings.item_values[entry])
        for place in range(ratings.user_starts[user], ratings.user_starts[user + 1]):
            other = ratings.user_items[place]
            reached[n] = other
            n += sums[other] == 0.0
            sums[other] += factor * np.float64(ratings.user_values[place])
    return n


@compiled_unlocked
def choose_neighbours(
    ratings: CoRatings,
    diagonal: Float64Array,
    first: int,
    stop: int,
    neighbours: Neighbours,
) -> None:
    """Find the neighbours of the items from ``first`` to ``stop``: the largest G_ij / sqrt(G_ii).

    Args:
        diagonal: [n_items]: G_ii.
        neighbours: these items' rows are filled.
    """
    n_items, m = len(diagonal), neighbours.items.shape[1]
    sums, reached = np.zeros(n_items), np.empty(n_items + 1, dtype=np.int32)
    best, best_items = np.empty(m), np.empty(m, dtype=np.int32)
    for item in range(first, stop):
        n_reached, n = add_gram_row(ratings, item, sums, reached), 0
        lowest = 0.0
        for other in reached[:n_reached]:
            if other == item:
                continue
            likeness = sums[other] / np.sqrt(diagonal[other])
            if n == m and likeness < lowest:
                continue
            n = keep_best(best, best_items, n, likeness, other)
            lowest = best[0]
        neighbours.counts[item] = n
        neighbours.items[item, :n] = np.sort(best_items[:n])
        for place in range(n):
            neighbours.gram[item, place] = sums[neighbours.items[item, place]]
        for other in reached[:n_reached]:
            sums[other] = 0.0


@compiled_unlocked
def fill_systems(
    ratings: CoRatings, neighbours: Neighbours, first: int, stop: int, systems: Systems
) -> None:
    """Put what the items from ``first`` to ``stop`` have in common with others into the systems."""
    n_items = len(neighbours.counts)
    sums, reached = np.zeros(n_items), np.empty(n_items + 1, dtype=np.int32)
    for item in range(first, stop):
        if systems.starts[item] == systems.starts[item + 1]:
            continue
        n_reached = add_gram_row(ratings, item, sums, reached)
        for entry in range(systems.starts[item], systems.starts[item + 1]):
            system, place = systems.system[entry], systems.place[entry]
            of_system = neighbours.items[systems.first + system]
            for other in range(place, neighbours.counts[systems.first + system]):
                systems.gram[system, place, other] = sums[of_system[other]]
        for other in reached[:n_reached]:
            sums[other] = 0.0


@compiled_unlocked
def solve_systems(
    systems: Systems,
    neighbours: Neighbours,
    regularization: float,
    first: int,
    stop: int,
    weights: Float32Array,
) -> None:
    """b_j = (G_NN + lambda I)^-1 G_Nj for the systems from ``first`` to ``stop``.

    Args:
        weights: [n_items, m]; these items' rows are filled.
    """
    m = neighbours.items.shape[1]
    side = padded(np.empty((1, 1)), m)
    matrix, target, halfway = np.zeros((side, side)), np.zeros(side), np.zeros(side)
    for system in range(first, stop):
        item = systems.first + system
        n = neighbours.counts[item]
        if n == 0:
            continue
        matrix[:] = 0.0
        target[:] = 0.0
        for row in range(side):
            matrix[row, row] = 1.0
        for row in range(n):
            for column in range(row, n):
                matrix[row, column] = systems.gram[system, row, column]
            matrix[row, row] += regularization
            target[row] = neighbours.gram[item, row]
        factorize(matrix, n)
        solve(matrix, n, target, halfway)
        for place in range(n):
            weights[item, place] = target[place]
