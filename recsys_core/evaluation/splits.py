"""Parts of the ratings that training never sees, to measure a model on.

Every split gives the same three matrices, whatever it holds out: what a model is trained on, what
the measured users are folded in from, and what their lists and predictions are held against.
"""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix

from recsys_core.arrays import BoolArray, Csr, Float64Array, Int64Array


@dataclass(frozen=True)
class TimedRatings:
    """Ratings and when they were given."""

    matrix: Csr
    """CSR float32 [n_users, n_items]."""
    times: Float64Array | None
    """[n_ratings] in the order of ``matrix.data``; None where they are not known."""


@dataclass(frozen=True)
class Split:
    """Ratings apart; all three are CSR float32 with the columns of the whole matrix."""

    train: Csr
    """[n_training_users, n_items]."""
    known: Csr
    """[n_users, n_items]: what each measured user is folded in from, and is not listed again."""
    held_out: Csr
    """[n_users, n_items]: the same users' other ratings, at least one a user."""


def hold_out_at_random(ratings: Csr, *, fraction: float, seed: int) -> Split:
    """Hold out a share of each user's ratings, rounded to whole ratings.

    Args:
        ratings: CSR [n_users, n_items].
        fraction: above 0, below 1.
    """
    user = _number_rows(ratings)
    draw = np.random.default_rng(seed).random(ratings.nnz)
    n_held_out = np.floor(np.diff(ratings.indptr) * fraction + 0.5)
    return _split_ratings(ratings, _number_by(draw, ratings) < n_held_out[user])


def hold_out_latest(ratings: Csr, times: Float64Array, *, n: int) -> Split:
    """Hold out each user's latest ``n`` ratings; of equal times, those of the higher item index.

    A user of ``n`` ratings or fewer is trained on and not measured.

    Args:
        times: [n_ratings], in the order of ``ratings.data``.
    """
    from_latest = _number_by(times, ratings, latest_first=True)
    has_more = np.diff(ratings.indptr)[_number_rows(ratings)] > n
    return _split_ratings(ratings, (from_latest < n) & has_more)


def hold_out_after(ratings: Csr, times: Float64Array, *, fraction: float) -> Split:
    """Train on the past: hold out all ratings after one point in time, the same for everyone.

    The point is the time that at most a share of ``fraction`` of the ratings come after. Users
    with ratings on one side of it only are not measured.

    Args:
        times: [n_ratings], in the order of ``ratings.data``.
    """
    point = np.sort(times)[len(times) - int(len(times) * fraction) - 1]
    return _split_ratings(ratings, times > point)


def hold_out_users(ratings: Csr, *, fraction: float, known_fraction: float, seed: int) -> Split:
    """Hold out whole users, who are folded in from part of their ratings.

    Args:
        fraction: share of the users that training never sees.
        known_fraction: share of such a user's ratings it is folded in from.
    """
    n_users = ratings.shape[0]
    draw = np.random.default_rng(seed).permutation(n_users)
    is_new = draw < np.floor(n_users * fraction + 0.5)
    inner = hold_out_at_random(ratings[is_new], fraction=1 - known_fraction, seed=seed)
    return Split(ratings[~is_new], inner.known, inner.held_out)


def _number_rows(ratings: Csr) -> Int64Array:
    """[n_ratings]: the row of each stored rating."""
    return np.repeat(np.arange(ratings.shape[0]), np.diff(ratings.indptr))


def _number_by(keys: Float64Array, ratings: Csr, *, latest_first: bool = False) -> Int64Array:
    """[n_ratings]: each rating's place, from 0, among its user's in order of its key."""
    user = _number_rows(ratings)
    order = np.lexsort((ratings.indices, keys, user))
    place = np.empty(ratings.nnz, dtype=np.int64)
    place[order] = np.arange(ratings.nnz) - ratings.indptr[user]
    return np.diff(ratings.indptr)[user] - 1 - place if latest_first else place


def _split_ratings(ratings: Csr, held_out: BoolArray) -> Split:
    """Measured are the users with ratings on both sides."""
    train, test = take_ratings(ratings, ~held_out), take_ratings(ratings, held_out)
    measured = np.flatnonzero((np.diff(train.indptr) > 0) & (np.diff(test.indptr) > 0))
    return Split(train, train[measured], test[measured])


def take_ratings(ratings: Csr, chosen: BoolArray) -> Csr:
    """The chosen stored ratings, zeros included, as a matrix of the same shape."""
    indptr = np.concatenate([[0], np.cumsum(chosen, dtype=np.int64)])[ratings.indptr]
    return csr_matrix((ratings.data[chosen], ratings.indices[chosen], indptr), shape=ratings.shape)


def draw_rows(n_rows: int, n: int, seed: int) -> Int64Array:
    """All rows, or ``n`` of them in ascending order."""
    if n_rows <= n:
        return np.arange(n_rows)
    return np.sort(np.random.default_rng(seed).choice(n_rows, size=n, replace=False))
