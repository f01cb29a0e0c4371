"""MovieLens-shaped sample data with a planted structure that a model can be checked against.

Every user loves one to three genres. They decide which items the user rates and how high, on top
of long-tailed item popularity and user activity. Users are drawn in blocks of a fixed size, each
from a random stream of its own, so a seed means the same ratings for every chunk size.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np

from recsys_core.arrays import BoolArray, Float32Array, Float64Array, Int64Array
from recsys_core.sample.film_titles import GENRES, iter_titles

USERS_PER_BLOCK = 128
MIN_RATINGS_PER_USER = 20
FIRST_TIMESTAMP = 820_454_400  # 1996-01-01 UTC
LAST_TIMESTAMP = 1_546_300_799  # 2018-12-31 UTC

# With match in 0..1, the share of an item's genres that a user loves, the item is drawn with weight
# popularity * (1 + PULL * match), popularity = 1 / (HEAD_ITEMS + rank), and rated
# MEAN_RATING + user bias + item bias + TASTE * (match - 1/2) + noise.
# Set so that in the default sample NMF doubles popularity's NDCG@10 and k-means finds the genres.
PULL, HEAD_ITEMS = 50.0, 4.0
MEAN_RATING, TASTE, BIAS_STD, NOISE_STD = 3.5, 1.8, 0.35, 0.6
ACTIVITY_SIGMA = 1.1
DAY = 86_400

# The streams of random numbers under one seed.
_ITEM_STREAM, _MARKET_STREAM, _ACTIVITY_STREAM, _BLOCK_STREAM = range(4)

# Share of an item's genres by their number; binary fractions, so that every sum of them is exact.
_GENRE_SHARES = ((1.0,), (0.75, 0.25), (0.5, 0.25, 0.25))


@dataclass(frozen=True)
class SampleItems:
    """The catalogue, in ascending item_id order."""

    item_id: Int64Array
    """Int64 [n_items], positive, ascending, with gaps like MovieLens' movieId."""
    title: list[str]
    """Unique, ends in "(YYYY)"."""
    genres: list[str]
    """One to three names joined by "|"; the first is the planted main genre."""


@dataclass(frozen=True)
class RatingChunk:
    """The ratings of consecutive users, by user_id, then item_id; four arrays of one length."""

    user_id: Int64Array
    item_id: Int64Array
    rating: Float32Array
    """Half stars, 0.5 to 5.0."""
    timestamp: Int64Array
    """Seconds since 1970-01-01 UTC."""


@dataclass(frozen=True)
class _Market:
    """What every user sees: item ids [n_items] and, in their order, what drives the ratings."""

    item_id: Int64Array
    genre_shares: Float32Array  # [n_items, n_genres], rows sum to 1
    popularity: Float32Array  # [n_items], mean 1
    bias: Float32Array  # [n_items]


def make_items(n_items: int, *, seed: int) -> SampleItems:
    """Draw a catalogue of ``n_items`` titles, each recognisable as its main genre.

    Raises:
        ValueError: ``n_items`` is not positive or ``seed`` is negative.
    """
    if n_items < 1:
        raise ValueError(f"n_items must be at least 1, got {n_items}")
    rng = _make_rng(seed, _ITEM_STREAM)
    genres = _draw_genres(n_items, rng)
    titles = {genre: iter_titles(genre, rng) for genre in GENRES}
    return SampleItems(
        item_id=np.cumsum(rng.geometric(0.5, n_items), dtype=np.int64),
        title=[next(titles[names[0]]) for names in genres],
        genres=["|".join(names) for names in genres],
    )


def iter_ratings(
    n_users: int, n_ratings: int, items: SampleItems, *, seed: int, chunk_rows: int = 500_000
) -> Iterator[RatingChunk]:
    """Draw exactly ``n_ratings`` ratings by users 1..n_users, no (user, item) twice.

    Every user has at least 20 ratings where the mean allows it, else at least half the mean, and
    never none. A chunk holds whole users: at least ``chunk_rows`` rows (the last one may have
    fewer) and less than one block of ``USERS_PER_BLOCK`` users more.

    Raises:
        ValueError: on the call, not on the first chunk: the sizes cannot be met.
    """
    _check_sizes(n_users, n_ratings, len(items.item_id), chunk_rows)
    counts = _draw_activity(n_users, n_ratings, len(items.item_id), seed=seed)
    market = _make_market(items, seed=seed)
    return _join_blocks(_iter_blocks(counts, market, seed=seed), chunk_rows)


def _check_sizes(n_users: int, n_ratings: int, n_items: int, chunk_rows: int) -> None:
    sizes = {"n_users": n_users, "n_ratings": n_ratings, "items": n_items, "chunk_rows": chunk_rows}
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name} must be at least 1, got {size}")
    if n_ratings < n_users:
        raise ValueError(f"{n_ratings} ratings are too few for {n_users} users: one each at least")
    if n_ratings > n_users * n_items:
        raise ValueError(
            f"{n_ratings} ratings do not fit {n_users} users x {n_items} items without repeats"
        )


def _make_rng(seed: int, *stream: int) -> np.random.Generator:
    if seed < 0:
        raise ValueError(f"seed must not be negative, got {seed}")
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=stream))


def _draw_genres(n_items: int, rng: np.random.Generator) -> list[list[str]]:
    """One to three distinct genres an item, the main one first; some genres are commoner."""
    share = np.linspace(1.0, 2.0, len(GENRES))
    main = rng.choice(len(GENRES), n_items, p=rng.permutation(share / share.sum()))
    order = rng.random((n_items, len(GENRES)))
    order[np.arange(n_items), main] = -1.0  # sorts first
    n_genres = rng.choice([1, 2, 3], n_items, p=[0.45, 0.4, 0.15])
    ranked = order.argsort(axis=1)
    return [[GENRES[g] for g in row[:n]] for row, n in zip(ranked, n_genres, strict=True)]


def _make_market(items: SampleItems, *, seed: int) -> _Market:
    rng = _make_rng(seed, _MARKET_STREAM)
    n_items = len(items.item_id)
    popularity = 1.0 / (HEAD_ITEMS + rng.permutation(n_items))  # Zipf-Mandelbrot
    return _Market(
        item_id=items.item_id,
        genre_shares=_measure_genre_shares(items.genres),
        popularity=(popularity / popularity.mean()).astype(np.float32),
        bias=BIAS_STD * rng.standard_normal(n_items, dtype=np.float32),
    )


def _measure_genre_shares(genres: list[str]) -> Float32Array:
    names = [item.split("|") for item in genres]
    column = {name: i for i, name in enumerate(sorted({n for item in names for n in item}))}
    shares = np.zeros((len(names), len(column)), dtype=np.float32)
    for row, item in enumerate(names):
        shares[row, [column[name] for name in item]] = _GENRE_SHARES[len(item) - 1]
    return shares


def _draw_activity(n_users: int, n_ratings: int, n_items: int, *, seed: int) -> Int64Array:
    """Ratings per user, int64 [n_users]: a minimum plus a log-normal rest under a cap."""
    mean = n_ratings // n_users
    lowest = MIN_RATINGS_PER_USER if mean >= MIN_RATINGS_PER_USER else max(1, mean // 2)
    highest = min(n_items, max(n_items // 4, 2 * mean + 1))
    weight = _make_rng(seed, _ACTIVITY_STREAM).lognormal(0.0, ACTIVITY_SIGMA, n_users)
    return lowest + _share_out(n_ratings - n_users * lowest, weight, cap=highest - lowest)


def _share_out(total: int, weight: Float64Array, *, cap: int) -> Int64Array:
    """Whole shares in proportion to ``weight``, none above ``cap``, that add up to ``total``."""
    low, high = 0.0, cap / weight.min()
    for _ in range(64):
        scale = (low + high) / 2
        if np.minimum(weight * scale, cap).sum() > total:
            high = scale
        else:
            low = scale
    shares = np.minimum(weight * low, cap).astype(np.int64)
    while (left := total - int(shares.sum())) > 0:
        shares[np.flatnonzero(shares < cap)[:left]] += 1
    return shares


def _iter_blocks(counts: Int64Array, market: _Market, *, seed: int) -> Iterator[RatingChunk]:
    for block, start in enumerate(range(0, len(counts), USERS_PER_BLOCK)):
        rng = _make_rng(seed, _BLOCK_STREAM, block)
        yield _draw_block(start + 1, counts[start : start + USERS_PER_BLOCK], market, rng)


def _draw_block(
    first_user_id: int, counts: Int64Array, market: _Market, rng: np.random.Generator
) -> RatingChunk:
    """The ratings of users first_user_id, first_user_id + 1, ... with ``counts`` ratings each."""
    loved = _draw_loved_genres(len(counts), market.genre_shares.shape[1], rng)
    match = loved.astype(np.float32) @ market.genre_shares.T  # [n_users, n_items], in 0..1
    weight = market.popularity * (1.0 + PULL * match)
    picked = [_draw_items(row, count, rng) for row, count in zip(weight, counts, strict=True)]
    user, item = np.repeat(np.arange(len(counts)), counts), np.concatenate(picked)
    user_bias = BIAS_STD * rng.standard_normal(len(counts), dtype=np.float32)
    level = MEAN_RATING + user_bias[user] + market.bias[item] + TASTE * (match[user, item] - 0.5)
    noise = NOISE_STD * rng.standard_normal(len(item), dtype=np.float32)
    return RatingChunk(
        user_id=first_user_id + user,
        item_id=market.item_id[item],
        rating=np.clip(np.rint(2.0 * (level + noise)) / 2.0, 0.5, 5.0).astype(np.float32),
        timestamp=_draw_timestamps(user, len(counts), rng),
    )


def _draw_loved_genres(n_users: int, n_genres: int, rng: np.random.Generator) -> BoolArray:
    """One to three genres a user, bool [n_users, n_genres]."""
    rank = rng.random((n_users, n_genres)).argsort(axis=1).argsort(axis=1)
    return rank < rng.integers(1, 3, (n_users, 1), endpoint=True)


def _draw_items(weight: Float32Array, count: int, rng: np.random.Generator) -> Int64Array:
    """``count`` distinct indices, ascending, as if drawn one by one in proportion to ``weight``.

    Item i arrives after an exponential time of rate weight[i]; the first arrivals are the sample
    (Efraimidis and Spirakis 2006). Exact, and it ends at any count, unlike drawing again.
    """
    arrival = rng.standard_exponential(len(weight), dtype=np.float32) / weight
    return np.sort(np.argpartition(arrival, count - 1)[:count])


def _draw_timestamps(user: Int64Array, n_users: int, rng: np.random.Generator) -> Int64Array:
    """A time for each row: users join evenly over the years and rate most in their first days."""
    joined = rng.integers(FIRST_TIMESTAMP, LAST_TIMESTAMP - DAY, n_users)
    span = np.minimum(DAY * rng.lognormal(2.0, 2.0, n_users), LAST_TIMESTAMP - joined)
    elapsed = span[user] * rng.random(len(user)) ** 2
    timestamps: Int64Array = joined[user] + elapsed.astype(np.int64)
    return timestamps


def _join_blocks(blocks: Iterator[RatingChunk], chunk_rows: int) -> Iterator[RatingChunk]:
    """Blocks joined until they have ``chunk_rows`` rows; the rest at the end."""
    held: list[RatingChunk] = []
    for block in blocks:
        held.append(block)
        if sum(len(part.user_id) for part in held) >= chunk_rows:
            yield _concatenate(held)
            held = []
    if held:
        yield _concatenate(held)


def _concatenate(parts: list[RatingChunk]) -> RatingChunk:
    names = [field.name for field in fields(RatingChunk)]
    return RatingChunk(
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    )
