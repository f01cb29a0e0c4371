"""Drop what should not train a model, and account for every row.

The rules, in order; each applies once, to what the one before it left:

    valid      rows that ``jobs/input/read_ratings`` refused are quarantined
    unique     of several ratings by one user of one item the latest counts; where times are equal
               or missing, the highest rating (file order is not defined in Spark)
    popular    items with fewer than ``min_item_ratings`` ratings go
    liked      items with a mean rating below ``min_item_mean_rating`` go
    active     users with fewer than ``min_user_ratings`` of the remaining ratings go

Where a model is used again its items are given: the rules 'popular' and 'liked' then choose none,
ratings of other items go, and an item of the model stays whatever its ratings.

The first two are settled by ``jobs/ratings/gather``, which also gathers the ratings into a row for
each user; everything here and in scoring runs on those rows. ``CleanRatings.ratings.explain()``
shows one Exchange, below the caches.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pyspark import Broadcast, StorageLevel
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from jobs.errors import InputError
from jobs.ratings.gather import DUPLICATES, ITEMS, RATINGS, RowAccount, is_refusal
from jobs.ratings.user_rows import cut_pieces, make_lists, number_users, whole_users
from jobs.settings.clean import CleanConfig
from jobs.tables.columns import (
    ITEM_ID,
    ITEM_INDEX,
    PIECE_NUMBER,
    RATING,
    REASON,
    SEEN,
    TIMES,
    USER_ID,
)
from jobs.tables.spark import id_type_name
from recsys_core.arrays import Float64Array, Int32Array
from recsys_core.items.index import ItemIndex

_UNIQUE, _POPULAR, _LIKED = "unique", "popular", "liked"  # ratings of a user after these rules
QUARANTINED = "quarantined"
"""Why a user or item is left out of whom no row was valid."""
_STAGE = "stage"  # of an item: how many item rules it passes, 0 to 2
_MEAN_DECIMALS = 9
"""Means are rounded before they are compared: a sum's last digits depend on the partitioning."""


@dataclass(frozen=True)
class FunnelStep:
    """What is left after one rule."""

    step: str
    rule: str
    rows: int
    users: int
    items: int


@dataclass(frozen=True)
class CleanRatings:
    """Ratings fit for training, and who was left out."""

    ratings: DataFrame
    """Cached rows of a user, partitioned by user: user_id, piece, item_index (array of int,
    ascending, rows of ``items``), rating (array of float); and, in piece 0, how many unique,
    popular and liked ratings the user has. The arrays of a user who was left out are empty; seen
    (array of int, rows of ``items``) then says which items it has rated, and is empty elsewhere.
    Where the account holds times, they go along (times, array of double)."""
    items: pd.DataFrame
    """item_id (ascending), rating_count, mean_rating of ``ratings``; the count is 0, and the mean
    NaN, where all users of an item were left out, or a given item has no rating."""
    funnel: list[FunnelStep]
    excluded: DataFrame
    """kind, id, reason, rating_count: all users and items of the input that are left out, and the
    number of rows that are, by reason (kind 'rows', without an id)."""
    excluded_items: pd.DataFrame
    """item_id, reason, rating_count: the items among them, on the driver."""


@dataclass(frozen=True)
class GivenItems:
    """Items that are chosen already."""

    index: ItemIndex
    origin: str
    """What they are the items of, for people: 'the model of run X'."""


def clean_ratings(
    rows: RowAccount, config: CleanConfig, given: GivenItems | None = None
) -> CleanRatings:
    """Apply the rules of this module.

    Args:
        given: the items, of the type of the ratings' items; None where the rules choose them.

    Raises:
        InputError: no row is valid, or the rules leave none; says which rule and how many there
            were before it.
    """
    items = _count_items(rows.frame)
    _require_rows(int(items["rows"].sum()), int(items["valid"].sum()), rows.refused)
    if given is None:
        items[_STAGE] = _pass_item_rules(items, config)
    else:
        items = _add_unrated(items, given.index)
        items[_STAGE] = items[ITEM_ID].isin(given.index.item_ids).astype("int32") * 2
    words = _word_item_rules(config, given)
    kept = _keep_ratings(rows.frame, items, config).persist(StorageLevel.MEMORY_AND_DISK)
    users = _count_users(rows, kept, items)
    survivors = _count_survivors(kept, items, config)
    stays = _find_staying(items, survivors, given)
    funnel = _make_funnel(items, users, int(stays.sum()), config, words)
    _require_survivors(funnel, words)
    dropped = _excluded_items(items, stays, words)
    lost = _lost_rows(funnel, rows.refused, config, words)
    excluded = _list_excluded(dropped, lost, kept, config)
    return CleanRatings(kept, survivors, funnel, excluded, dropped)


# --- Counting -----------------------------------------------------------------------------------


def _count(condition: Column) -> Column:
    return F.count(F.when(condition, True))


_ITEM_COUNTS = ("rows", "valid", "rating_count", "rating_sum")


def _count_items(account: DataFrame) -> pd.DataFrame:
    """item_id (ascending, null first), rows, valid, rating_count, mean_rating; to the driver."""
    id_type = account.schema[ITEM_ID].dataType.simpleString()
    schema = f"{ITEM_ID} {id_type}, " + ", ".join(f"{name} double" for name in _ITEM_COUNTS)
    parts = account.mapInArrow(_count_partition, schema).toArrow()
    counts: pd.DataFrame = _sum_counts(parts).to_pandas(integer_object_nulls=True)
    counts = counts.astype(dict.fromkeys(_ITEM_COUNTS[:-1], "int64"))
    counts["mean_rating"] = (
        counts["rating_sum"] / counts["rating_count"].where(counts["rating_count"] > 0)
    ).round(_MEAN_DECIMALS)
    return counts.sort_values(ITEM_ID, na_position="first", ignore_index=True)


def _count_partition(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    total: pa.Table | None = None
    for batch in batches:
        refusals = batch.column(ITEM_ID).filter(pc.is_null(batch.column(PIECE_NUMBER)))
        repeated = batch.column(DUPLICATES).flatten()
        unique, ratings = (batch.column(name).flatten() for name in (ITEMS, RATINGS))
        parts = [
            _to_counts(refusals, (1, 0, 0), None),
            _to_counts(repeated, (1, 1, 0), None),
            _to_counts(unique, (1, 1, 1), ratings),
        ]
        total = _sum_counts(pa.concat_tables([*parts, *([total] if total is not None else [])]))
    if total is not None:
        yield from total.to_batches()


def _to_counts(item_id: pa.Array, each: tuple[int, int, int], ratings: pa.Array | None) -> pa.Table:
    """Each of these rows as what it adds to the counts of its item."""
    n = len(item_id)
    if ratings is None:
        ratings = pa.array(np.zeros(n))
    ones = [pa.array(np.full(n, float(value))) for value in each]
    return pa.Table.from_arrays([item_id, *ones, ratings], [ITEM_ID, *_ITEM_COUNTS])


def _sum_counts(counts: pa.Table) -> pa.Table:
    summed = counts.group_by(ITEM_ID, use_threads=False).aggregate(
        [(name, "sum") for name in _ITEM_COUNTS]
    )
    return summed.select([ITEM_ID, *(f"{name}_sum" for name in _ITEM_COUNTS)]).rename_columns(
        [ITEM_ID, *_ITEM_COUNTS]
    )


def require_few_refused(refused: dict[str, int], n_rows: int, max_fraction: float) -> None:
    """Stop before training where too much of the input is bad.

    Raises:
        InputError: more than ``max_fraction`` of the rows are quarantined; says both.
    """
    n_refused = sum(refused.values())
    if n_rows and n_refused > max_fraction * n_rows:
        reasons = ", ".join(f"{reason} ({count:,})" for reason, count in list(refused.items())[:3])
        raise InputError(
            f"{n_refused:,} of {n_rows:,} input rows are quarantined ({n_refused / n_rows:.1%}), "
            f"more than clean.max_bad_fraction = {max_fraction:g} allows: {reasons}; mend the "
            "input, or raise the setting"
        )


def _require_rows(n_rows: int, n_valid: int, refused: dict[str, int]) -> None:
    if n_rows == 0:
        raise InputError("input.ratings holds a header and no rows")
    if n_valid == 0:
        reasons = ", ".join(f"{reason} ({count:,})" for reason, count in list(refused.items())[:3])
        raise InputError(f"none of the {n_rows:,} rows of input.ratings is valid: {reasons}")


# --- The rules ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _ItemRuleWords:
    """What people are told of the two item rules: (popular, liked) each."""

    rules: tuple[str, str]
    reasons: tuple[str, str]
    """Why an item is left out."""
    lost: tuple[str, str]
    """Why its rows are."""
    advice: str
    """What to do where nothing is left."""


def _word_item_rules(config: CleanConfig, given: GivenItems | None) -> _ItemRuleWords:
    if given is None:
        few = f"fewer than {config.min_item_ratings} ratings"
        disliked = f"mean rating below {config.min_item_mean_rating:g}"
        return _ItemRuleWords(
            (
                f"items with at least {config.min_item_ratings} ratings",
                f"items with a mean rating of at least {config.min_item_mean_rating:g}",
            ),
            (few, disliked),
            (f"item with {few}", f"item with a {disliked}"),
            "relax clean.*",
        )
    strange = f"not an item of {given.origin}"
    not_held = f"clean.min_item_mean_rating is not applied to {given.origin}"
    return _ItemRuleWords(
        (f"items of {given.origin}; clean.min_item_ratings is not applied", not_held),
        (strange, not_held),
        (strange, not_held),
        "train a new model, or relax clean.*",
    )


def _add_unrated(items: pd.DataFrame, index: ItemIndex) -> pd.DataFrame:
    """``items`` with a row for each item of the index that has none in the input."""
    missing = index.item_ids[~pd.Series(index.item_ids).isin(items[ITEM_ID]).to_numpy()]
    if not len(missing):
        return items
    unrated = pd.DataFrame({ITEM_ID: missing, **dict.fromkeys(_ITEM_COUNTS, 0)})
    unrated = unrated.assign(mean_rating=np.nan).astype(items.dtypes.drop(ITEM_ID).to_dict())
    both = pd.concat([items, unrated])
    return both.sort_values(ITEM_ID, na_position="first", ignore_index=True)


def _pass_item_rules(items: pd.DataFrame, config: CleanConfig) -> pd.Series:
    """How many of the two item rules each item passes, in order."""
    popular = items["rating_count"] >= config.min_item_ratings
    liked = items["mean_rating"].astype("float64") >= config.min_item_mean_rating
    known = items[ITEM_ID].notna()
    return (known & popular).astype("int32") + (known & popular & liked).astype("int32")


@dataclass(frozen=True)
class _ItemRules:
    """What the executors need to know of the items: parallel arrays, those with ratings."""

    item_id: pa.Array
    stage: Int32Array
    index: Int32Array
    """Number among the items of stage 2, in order of item_id."""
    min_user_ratings: int


def _keep_ratings(account: DataFrame, items: pd.DataFrame, config: CleanConfig) -> DataFrame:
    is_rated = (items["rating_count"] > 0).to_numpy()
    rated = items[is_rated]
    stage = rated[_STAGE].to_numpy(dtype=np.int32)
    index = (np.cumsum(items[_STAGE].to_numpy() == 2, dtype=np.int32) - 1)[is_rated]
    has_names = id_type_name(account.schema[ITEM_ID].dataType) == "string"
    item_id = pa.array(rated[ITEM_ID].tolist(), pa.string() if has_names else pa.int64())
    rules = _ItemRules(item_id, stage, index, config.min_user_ratings)
    broadcast: Broadcast[_ItemRules] = account.sparkSession.sparkContext.broadcast(rules)

    def keep_partition(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for block in whole_users(batches):
            yield _keep_block(block, broadcast.value)

    user_type = account.schema[USER_ID].dataType.simpleString()
    schema = (
        f"{USER_ID} {user_type}, {PIECE_NUMBER} int, {ITEM_INDEX} array<int>, "
        f"{RATING} array<float>, {_UNIQUE} int, {_POPULAR} int, {_LIKED} int, {SEEN} array<int>"
    )
    times = [TIMES] if TIMES in account.columns else []
    if times:
        schema += f", {TIMES} array<double>"
    users = account.where(~is_refusal()).select(USER_ID, PIECE_NUMBER, ITEMS, RATINGS, *times)
    return users.mapInArrow(keep_partition, schema)


def _keep_block(rows: pa.RecordBatch, rules: _ItemRules) -> pa.RecordBatch:
    """The rows of ``CleanRatings.ratings`` for those of ``RowAccount.frame``."""
    items, ratings = (rows.column(name) for name in (ITEMS, RATINGS))
    row_user = number_users(rows)
    user = np.repeat(row_user, items.value_lengths().to_numpy())
    n_users = int(row_user[-1]) + 1
    place = pc.index_in(items.flatten(), value_set=rules.item_id).to_numpy()
    stage = rules.stage[place]
    unique, popular, liked = (
        np.bincount(user[stage >= least], minlength=n_users) for least in range(3)
    )
    active = (liked >= rules.min_user_ratings)[user]
    kept, seen = (stage == 2) & active, (stage == 2) & ~active
    owner, piece, length = cut_pieces(np.bincount(user[kept], minlength=n_users))
    first_rows = np.searchsorted(row_user, np.arange(n_users))
    counts = {_UNIQUE: unique, _POPULAR: popular, _LIKED: liked}
    n_seen = np.where(piece == 0, np.bincount(user[seen], minlength=n_users)[owner], 0)
    return pa.RecordBatch.from_pydict(
        {
            USER_ID: rows.column(USER_ID).take(pa.array(first_rows[owner])),
            PIECE_NUMBER: pa.array(piece, pa.int32()),
            ITEM_INDEX: make_lists(length, pa.array(rules.index[place[kept]])),
            RATING: make_lists(
                length, pa.array(ratings.flatten().to_numpy()[kept].astype(np.float32))
            ),
            **{
                name: pa.array(np.where(piece == 0, count[owner], 0), pa.int32())
                for name, count in counts.items()
            },
            SEEN: make_lists(n_seen, pa.array(rules.index[place[seen]])),
            **{
                name: make_lists(length, rows.column(name).flatten().filter(pa.array(kept)))
                for name in (TIMES,)
                if name in rows.schema.names
            },
        }
    )


def _count_users(
    account: RowAccount, kept: DataFrame, items: pd.DataFrame
) -> dict[str, tuple[int, int]]:
    """(rows, users) of each funnel step; a user counts where any of its rows is in the step."""
    first = F.col(PIECE_NUMBER) == 0
    steps = (_UNIQUE, _POPULAR, _LIKED)
    sums = kept.agg(
        *(F.sum(name).alias(f"{name}_rows") for name in steps),
        *(_count(F.col(name) > 0).alias(f"{name}_users") for name in steps),
        F.sum(F.size(ITEM_INDEX)).alias("active_rows"),
        _count(first & (F.size(ITEM_INDEX) > 0)).alias("active_users"),
    ).collect()[0]
    totals = {
        name: (int(sums[f"{name}_rows"] or 0), int(sums[f"{name}_users"]))
        for name in (*steps, "active")
    }
    return {
        "input": (int(items["rows"].sum()), account.n_users),  # rows without a user too
        "valid": (int(items["valid"].sum()), account.n_valid_users),
        **totals,
    }


def _make_funnel(
    items: pd.DataFrame,
    users: dict[str, tuple[int, int]],
    n_survivors: int,
    config: CleanConfig,
    words: _ItemRuleWords,
) -> list[FunnelStep]:
    known, rated = items[ITEM_ID].notna(), items["rating_count"] > 0
    n_items = {
        "input": (known & (items["rows"] > 0)).sum(),
        "valid": (known & (items["valid"] > 0)).sum(),
        "unique": rated.sum(),
        "popular": (rated & (items[_STAGE] >= 1)).sum(),
        "liked": (rated & (items[_STAGE] >= 2)).sum(),
        "active": n_survivors,
    }
    rules = {
        "input": "rows read",
        "valid": "rows that parse, with a rating in range",
        "unique": "latest rating of each user and item",
        "popular": words.rules[0],
        "liked": words.rules[1],
        "active": f"users with at least {config.min_user_ratings} ratings",
    }
    return [FunnelStep(step, rules[step], *users[step], int(n_items[step])) for step in rules]


def _require_survivors(funnel: list[FunnelStep], words: _ItemRuleWords) -> None:
    for before, step in pairwise(funnel):
        if step.rows == 0:
            raise InputError(
                f"no rating is left after the rule '{step.rule}': {before.rows:,} ratings, "
                f"{before.users:,} users and {before.items:,} items came to it; {words.advice}"
            )


def _count_survivors(kept: DataFrame, items: pd.DataFrame, config: CleanConfig) -> pd.DataFrame:
    """item_id, rating_count, mean_rating of the items of stage 2 in the kept ratings."""
    columns = [ITEM_ID, "rating_count", "mean_rating"]
    liked = items.loc[items[_STAGE] == 2, columns].reset_index(drop=True)
    if config.min_user_ratings > 1:
        # Users have left, and with them ratings: count again.
        counted = kept.mapInArrow(_count_indices, f"{ITEM_INDEX} int, n double, total double")
        sums = counted.toArrow().to_pandas().groupby(ITEM_INDEX)[["n", "total"]].sum()
        sums = sums.reindex(liked.index, fill_value=0)
        liked["rating_count"] = sums["n"]
        liked["mean_rating"] = (sums["total"] / sums["n"].where(sums["n"] > 0)).round(6)
    return liked.astype({"rating_count": "int64", "mean_rating": "float64"})


def _count_indices(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    n, total = np.zeros(0), np.zeros(0)
    for batch in batches:
        index = batch.column(ITEM_INDEX).flatten().to_numpy()
        rating = batch.column(RATING).flatten().to_numpy()
        n = _add(np.bincount(index).astype(np.float64), n)
        total = _add(np.bincount(index, weights=rating).astype(np.float64), total)
    items = np.flatnonzero(n)
    yield pa.RecordBatch.from_pydict(
        {ITEM_INDEX: pa.array(items, pa.int32()), "n": n[items], "total": total[items]}
    )


def _add(left: Float64Array, right: Float64Array) -> Float64Array:
    """The sum of two arrays, the shorter of them filled up with zeros."""
    longer, shorter = (left, right) if len(left) > len(right) else (right, left)
    longer = longer.copy()
    longer[: len(shorter)] += shorter
    return longer


def _find_staying(
    items: pd.DataFrame, survivors: pd.DataFrame, given: GivenItems | None
) -> pd.Series:
    """Of each row of ``items``, whether it is an item of the input that stays in the run.

    A given item stays in it without a rating by the users kept; one of whom no row was valid did
    not come in.
    """
    if given is not None:
        return (items[_STAGE] == 2) & (items["rating_count"] > 0)
    return items[ITEM_ID].isin(survivors.loc[survivors["rating_count"] > 0, ITEM_ID])


def _excluded_items(items: pd.DataFrame, stays: pd.Series, words: _ItemRuleWords) -> pd.DataFrame:
    """item_id, reason, rating_count of the items of the input that do not stay."""
    dropped = items[items[ITEM_ID].notna() & (items["rows"] > 0) & ~stays]
    reasons = {**dict(enumerate(words.reasons)), 2: "no rating by the users kept"}
    rated = dropped["rating_count"] > 0
    return pd.DataFrame(
        {
            ITEM_ID: dropped[ITEM_ID],
            REASON: dropped[_STAGE].map(reasons).where(rated, QUARANTINED),
            "rating_count": dropped["rating_count"].astype("int64"),
        }
    )


def _lost_rows(
    funnel: list[FunnelStep], refused: dict[str, int], config: CleanConfig, words: _ItemRuleWords
) -> pd.DataFrame:
    """reason, rating_count: the rows each rule took; with those kept they are all of the input."""
    lost = {f"{QUARANTINED}: {reason}": count for reason, count in refused.items()}
    reasons = {
        "unique": "duplicate: a later or higher rating of the same item counts",
        "popular": words.lost[0],
        "liked": words.lost[1],
        "active": f"user with fewer than {config.min_user_ratings} ratings of the items kept",
    }
    for before, step in pairwise(funnel):
        if step.step in reasons:
            lost[reasons[step.step]] = before.rows - step.rows
    rows = [(reason, count) for reason, count in lost.items() if count]
    return pd.DataFrame(rows, columns=[REASON, "rating_count"])


def _list_excluded(
    items: pd.DataFrame, lost: pd.DataFrame, kept: DataFrame, config: CleanConfig
) -> DataFrame:
    """The excluded items, the users that no rating is left of, and the rows lost."""
    inactive = F.lit(f"fewer than {config.min_user_ratings} ratings of the items kept")
    reason = (
        F.when(F.col(_UNIQUE) == 0, QUARANTINED)
        .when(F.col(_LIKED) == 0, "no rating of the items kept")
        .otherwise(inactive)
    )
    users = kept.where((F.col(PIECE_NUMBER) == 0) & (F.size(ITEM_INDEX) == 0)).select(
        F.lit("user").alias("kind"),
        F.col(USER_ID).cast("string").alias("id"),
        reason.alias(REASON),
        F.col(_UNIQUE).cast("bigint").alias("rating_count"),
    )
    named = items.assign(kind="item", id=items[ITEM_ID].astype(str))
    columns = ["kind", "id", REASON, "rating_count"]
    rows = pd.concat([lost.assign(kind="rows", id=None)[columns], named[columns]])
    schema = "kind string, id string, reason string, rating_count bigint"
    return kept.sparkSession.createDataFrame(rows, schema=schema).unionAll(users)
