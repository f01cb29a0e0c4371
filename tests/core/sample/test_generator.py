"""The planted structure of the sample is there, and no chunk size changes it."""

import re
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans
from sklearn.decomposition import NMF
from sklearn.metrics import adjusted_mutual_info_score

from recsys_core.sample.generator import (
    FIRST_TIMESTAMP,
    LAST_TIMESTAMP,
    USERS_PER_BLOCK,
    RatingChunk,
    SampleItems,
    iter_ratings,
    make_items,
)

N_USERS, N_ITEMS, N_RATINGS = 600, 1_000, 60_000
COLUMNS = ("user_id", "item_id", "rating", "timestamp")


def draw(
    n_users: int, n_ratings: int, items: SampleItems, *, seed: int = 0, chunk_rows: int = 500_000
) -> RatingChunk:
    """All the chunks as one."""
    chunks = list(iter_ratings(n_users, n_ratings, items, seed=seed, chunk_rows=chunk_rows))
    return RatingChunk(*(np.concatenate([getattr(c, name) for c in chunks]) for name in COLUMNS))


def are_equal(left: RatingChunk, right: RatingChunk) -> bool:
    return all(np.array_equal(getattr(left, name), getattr(right, name)) for name in COLUMNS)


@pytest.fixture(scope="module")
def items() -> SampleItems:
    return make_items(N_ITEMS, seed=0)


@pytest.fixture(scope="module")
def ratings(items: SampleItems) -> RatingChunk:
    return draw(N_USERS, N_RATINGS, items)


@pytest.fixture(scope="module")
def matrix(items: SampleItems, ratings: RatingChunk) -> np.ndarray:
    """Users x items, 0 where there is no rating."""
    dense = np.zeros((N_USERS, N_ITEMS), dtype=np.float32)
    dense[ratings.user_id - 1, np.searchsorted(items.item_id, ratings.item_id)] = ratings.rating
    return dense


def test_items_have_gapped_ids_and_one_to_three_distinct_genres(items: SampleItems) -> None:
    assert items.item_id.dtype == np.int64
    assert len(items.item_id) == len(items.title) == len(items.genres) == N_ITEMS
    assert items.item_id[0] >= 1
    assert np.all(np.diff(items.item_id) > 0)
    assert items.item_id[-1] > N_ITEMS
    names = [genres.split("|") for genres in items.genres]
    assert {len(item) for item in names} == {1, 2, 3}
    assert all(len(set(item)) == len(item) for item in names)
    assert 10 <= len({item[0] for item in names}) <= 12


def test_titles_are_unique_and_end_in_a_year_at_100_000_items() -> None:
    titles = make_items(100_000, seed=3).title
    assert len(set(titles)) == len(titles)
    assert all(re.search(r" \((19|20)\d\d\)$", title) for title in titles)
    assert any(re.search(r" II, The \(\d{4}\)$", title) for title in titles)


def test_titles_tell_the_genre_and_some_have_an_article(items: SampleItems) -> None:
    cowboy = [g for t, g in zip(items.title, items.genres, strict=True) if "Sheriff" in t]
    assert len(cowboy) > 3
    assert all(genres.startswith("Western") for genres in cowboy)
    with_article = sum(", The (" in title for title in items.title)
    assert 0.3 * N_ITEMS < with_article < 0.7 * N_ITEMS


def test_no_title_belongs_to_two_genres() -> None:
    items = make_items(20_000, seed=1)
    genres_of: dict[str, set[str]] = {}
    for title, genres in zip(items.title, items.genres, strict=True):
        name = re.sub(r"(, The)? \(\d{4}\)$", "", title)
        genres_of.setdefault(name, set()).add(genres.split("|")[0])
    assert all(len(found) == 1 for found in genres_of.values())


def test_exact_rows_types_and_order(items: SampleItems, ratings: RatingChunk) -> None:
    dtypes = [getattr(ratings, name).dtype for name in COLUMNS]
    assert dtypes == [np.int64, np.int64, np.float32, np.int64]
    assert all(len(getattr(ratings, name)) == N_RATINGS for name in COLUMNS)
    assert np.array_equal(np.unique(ratings.user_id), np.arange(1, N_USERS + 1))
    assert np.all(np.isin(ratings.item_id, items.item_id))
    key = ratings.user_id * (items.item_id[-1] + 1) + ratings.item_id
    assert np.all(np.diff(key) > 0)  # sorted, and no pair twice


def test_ratings_are_half_stars_and_use_the_whole_scale(ratings: RatingChunk) -> None:
    assert np.array_equal(np.unique(ratings.rating), np.arange(1, 11) / 2)
    assert 3.2 < ratings.rating.mean() < 3.9


def test_timestamps_follow_the_time_a_user_joined(ratings: RatingChunk) -> None:
    assert ratings.timestamp.min() >= FIRST_TIMESTAMP
    assert ratings.timestamp.max() <= LAST_TIMESTAMP
    starts = np.searchsorted(ratings.user_id, np.arange(1, N_USERS + 1))
    first = np.minimum.reduceat(ratings.timestamp, starts)
    last = np.maximum.reduceat(ratings.timestamp, starts)
    assert np.all(last > first)
    assert np.corrcoef(first, last)[0, 1] > 0.8


def test_items_and_users_have_long_tails(matrix: np.ndarray) -> None:
    of_item = np.sort((matrix > 0).sum(axis=0))[::-1]
    of_user = (matrix > 0).sum(axis=1)
    assert of_item[: N_ITEMS // 10].sum() > 0.3 * N_RATINGS
    assert of_item[-1] <= 20  # a minimum of 20 ratings leaves items out
    assert of_user.min() >= 20
    assert of_user.mean() > 1.2 * np.median(of_user)
    assert of_user.max() <= N_ITEMS // 3


def test_clusters_of_item_factors_are_the_planted_genres(
    items: SampleItems, matrix: np.ndarray
) -> None:
    factors = NMF(20, init="nndsvd", max_iter=100, tol=1e-3).fit(matrix).components_.T
    found = KMeans(10, random_state=42, n_init=3).fit_predict(factors)
    main_genre = np.array([genres.split("|")[0] for genres in items.genres])
    shuffled = np.random.default_rng(0).permutation(main_genre)
    assert adjusted_mutual_info_score(main_genre, found) > 0.4
    assert abs(adjusted_mutual_info_score(shuffled, found)) < 0.05


def test_users_rate_the_genre_they_rate_most_higher(items: SampleItems, matrix: np.ndarray) -> None:
    genres = np.array([genres.split("|")[0] for genres in items.genres])
    names = np.unique(genres)
    counts = np.stack([(matrix[:, genres == name] > 0).sum(axis=1) for name in names], axis=1)
    favourite = genres[None, :] == names[counts.argmax(axis=1)][:, None]
    rated = matrix > 0
    assert matrix[rated & favourite].mean() - matrix[rated & ~favourite].mean() > 0.4


def hide_a_fifth(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The matrix without a random fifth of its ratings, and where those are."""
    hidden = (matrix > 0) & (np.random.default_rng(9).random(matrix.shape) < 0.2)
    return np.where(hidden, 0, matrix), hidden


def measure_ndcg_at_10(scores: np.ndarray, train: np.ndarray, hidden: np.ndarray) -> float:
    top = np.argsort(-np.where(train > 0, -np.inf, scores), axis=1)[:, :10]
    discount = 1 / np.log2(np.arange(2, 12))
    gain = (np.take_along_axis(hidden, top, axis=1) * discount).sum(axis=1)
    ideal = np.cumsum(discount)[np.clip(hidden.sum(axis=1), 1, 10) - 1]
    return float((gain / ideal)[hidden.any(axis=1)].mean())


def test_factorization_clearly_beats_popularity(matrix: np.ndarray) -> None:
    train, hidden = hide_a_fifth(matrix)
    model = NMF(20, init="nndsvd", max_iter=100, tol=1e-3)
    of_model = measure_ndcg_at_10(model.fit_transform(train) @ model.components_, train, hidden)
    popularity = np.broadcast_to((train > 0).sum(axis=0), train.shape)
    assert of_model > 1.5 * measure_ndcg_at_10(popularity, train, hidden)


def test_one_seed_means_one_sample_and_zero_is_a_seed(items: SampleItems) -> None:
    again = make_items(N_ITEMS, seed=0)
    assert again.title == items.title
    assert again.genres == items.genres
    assert np.array_equal(again.item_id, items.item_id)
    assert make_items(N_ITEMS, seed=1).title != items.title
    assert are_equal(draw(90, 3_000, items), draw(90, 3_000, again))
    assert not are_equal(draw(90, 3_000, items), draw(90, 3_000, items, seed=1))


def test_every_seed_and_every_block_of_users_is_another_draw(items: SampleItems) -> None:
    # Exactly 20 ratings each: nothing but the stream of a block tells two blocks apart.
    timestamps = {draw(5, 100, items, seed=seed).timestamp.tobytes() for seed in range(8)}
    assert len(timestamps) == 8
    n_rows = 20 * USERS_PER_BLOCK
    two_blocks = draw(2 * USERS_PER_BLOCK, 2 * n_rows, items).item_id
    assert not np.array_equal(two_blocks[:n_rows], two_blocks[n_rows:])


@pytest.mark.parametrize("chunk_rows", [1, 7_000, 60_000])
def test_chunk_size_changes_nothing(
    chunk_rows: int, items: SampleItems, ratings: RatingChunk
) -> None:
    assert are_equal(draw(N_USERS, N_RATINGS, items, chunk_rows=chunk_rows), ratings)


def test_a_chunk_is_never_more_than_asked_for_and_one_block(items: SampleItems) -> None:
    sizes, users = [], []
    for chunk in iter_ratings(2_000, 100_000, items, seed=0, chunk_rows=15_000):
        sizes.append(len(chunk.user_id))
        users.append((chunk.user_id[0], chunk.user_id[-1]))
    blocks = draw(2_000, 100_000, items).user_id - 1
    largest_block = np.bincount(blocks // USERS_PER_BLOCK).max()
    assert len(sizes) > 3
    assert max(sizes) < 15_000 + largest_block
    assert min(sizes[:-1]) >= 15_000
    assert all(a[1] + 1 == b[0] for a, b in pairwise(users))


def test_chunks_are_drawn_one_at_a_time(items: SampleItems) -> None:
    """Only the first chunk of five hundred million ratings; all would take an hour."""
    chunk = next(iter_ratings(1_000_000, 500_000_000, items, seed=0, chunk_rows=1))
    assert chunk.user_id[-1] == USERS_PER_BLOCK


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(1, 60), st.integers(0, 5), st.data())
def test_any_possible_size_is_met_exactly(
    n_users: int, n_items: int, seed: int, data: st.DataObject
) -> None:
    n_ratings = data.draw(st.integers(n_users, n_users * n_items))
    drawn = draw(n_users, n_ratings, make_items(n_items, seed=seed), seed=seed)
    pairs = set(zip(drawn.user_id.tolist(), drawn.item_id.tolist(), strict=True))
    assert len(drawn.user_id) == len(pairs) == n_ratings
    lowest = np.bincount(drawn.user_id, minlength=n_users + 1)[1:].min()
    mean = n_ratings // n_users
    assert lowest >= (20 if mean >= 20 else max(1, mean // 2))


@pytest.mark.parametrize(
    ("n_users", "n_ratings", "chunk_rows", "message"),
    [
        (0, 10, 10, "n_users must be at least 1, got 0"),
        (10, 0, 10, "n_ratings must be at least 1, got 0"),
        (10, 20, 0, "chunk_rows must be at least 1, got 0"),
        (10, 9, 10, "too few for 10 users"),
        (10, 51, 10, "do not fit 10 users x 5 items"),
    ],
)
def test_impossible_sizes_are_refused_on_the_call(
    n_users: int, n_ratings: int, chunk_rows: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        iter_ratings(n_users, n_ratings, make_items(5, seed=0), seed=0, chunk_rows=chunk_rows)


def test_an_empty_catalogue_and_a_negative_seed_are_refused() -> None:
    with pytest.raises(ValueError, match="n_items must be at least 1, got 0"):
        make_items(0, seed=0)
    with pytest.raises(ValueError, match="seed must not be negative"):
        make_items(5, seed=-1)
    empty = replace(make_items(1, seed=0), item_id=np.array([], dtype=np.int64))
    with pytest.raises(ValueError, match="items must be at least 1, got 0"):
        iter_ratings(1, 1, empty, seed=0)
