"""Look inside a saved model as the notebooks do: P, Q, R, the error, a user, the factors."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import csv

from jobs.errors import ConfigError, InputError
from jobs.process.terminal import printable
from jobs.ratings.cleaning_rules import order_ratings
from recsys_core.arrays import Float64Array
from recsys_core.query.recommender import reconstruct, to_row
from recsys_core.query.saved_model import SavedModel

_TOP_ITEMS = 5
_SHOWN_RATINGS = 15


def describe_saved_model(saved: SavedModel) -> Iterator[str]:
    """Shapes, figures, and for each factor the items that weigh most in it."""
    facts = saved.facts
    n_items, n_factors = len(saved.catalog), _count_factors(saved)
    n_users, n_ratings = facts["n_users"], facts["n_ratings"]
    yield f"model {saved.model.kind}, trained in run {printable(facts['run_id'])}"
    filled = n_ratings / (n_users * n_items)
    yield f"R  {n_users} users x {n_items} items, {n_ratings:,} ratings ({filled:.2%} filled)"
    if n_factors:
        yield f"P  {n_users} x {n_factors}  (user factors, folded in when asked for)"
        yield f"Q  {n_factors} x {n_items}  (item factors)"
    if saved.model.item_weights is not None:
        n_weights = saved.model.item_weights.matrix.nnz
        yield f"S  {n_items} x {n_items}, {n_weights:,} weights  (what a rating adds to a score)"
    for name, value in facts["figures"].items():
        yield f"{printable(name).replace('_', ' ')}: {value:.6g}"
    if facts["losses"]:
        yield f"loss: {facts['losses'][0]:.4f} at first, {facts['losses'][-1]:.4f} at last"
    if n_factors:
        yield ""
        yield "items that weigh most in each factor:"
        yield from _list_factors(saved)


def _count_factors(saved: SavedModel) -> int:
    """Without those of biases; 0 where the model has no low-rank part."""
    has_factors = saved.model.item_factors.shape[1] > 0
    return int(saved.model.item_embeddings.shape[1]) if has_factors else 0


def _list_factors(saved: SavedModel) -> Iterator[str]:
    factors = saved.model.item_embeddings
    for factor in range(factors.shape[1]):
        top = np.argsort(-factors[:, factor], kind="stable")[:_TOP_ITEMS]
        names = "; ".join(f"{_name(saved, item)} {factors[item, factor]:.2f}" for item in top)
        yield f"  {factor:3d}  {names}"


def _name(saved: SavedModel, item: int) -> str:
    return printable(saved.catalog.titles[item] or saved.catalog.id_at(item))


def describe_user(saved: SavedModel, ratings: dict[int, float], user: str) -> Iterator[str]:
    """A user's sparse row, its dense factors, and the row beside its reconstruction."""
    row = to_row(ratings, len(saved.catalog))
    scores = reconstruct(row, saved)
    yield f"user {printable(user)}: {row.nnz} ratings in R"
    shown = list(ratings.items())[:_SHOWN_RATINGS]
    yield f"  sparse row: {' '.join(f'{item}:{value:g}' for item, value in shown)} ..."
    if saved.model.item_factors.shape[1]:
        factors = saved.model.fold_in(row)[0]
        dense = np.array2string(factors, precision=3, max_line_width=100, threshold=64)
        yield f"  dense factors: {dense}"
    yield "  rated  reconstructed"
    for item, rating in shown:
        yield f"  {rating:5.1f}  {scores[item]:13.3f}  {_name(saved, item)}"
    if row.nnz > _SHOWN_RATINGS:
        yield f"  ... and {row.nnz - _SHOWN_RATINGS} more"


def read_user_ratings(saved: SavedModel, user: str) -> dict[int, float]:
    """item_index -> rating of one user, ascending, from the files the model was trained on.

    Cleaned as in the nightly job: rows out of range passed over, the latest rating of an item wins.

    Raises:
        InputError: the files are not on this machine, or changed their columns.
        ConfigError: the user has no rating of an item in the model.
    """
    rows = pd.concat([_read_rows(file, saved.facts["columns"], user) for file in _files(saved)])
    rows["rating"] = pd.to_numeric(rows["rating"], errors="coerce")
    # By their text: a quarantined row may hold what is no id at all.
    index_of = {str(item): index for index, item in enumerate(saved.catalog.item_ids.tolist())}
    rows["item"] = rows["item"].str.strip().map(index_of)
    rows = rows[rows["item"].notna() & rows["rating"].between(*saved.facts["rating_range"])]
    if rows.empty:
        raise ConfigError(f"--user {user}: no rating of an item in this model")
    items, ratings = rows["item"].to_numpy(np.int64), rows["rating"].to_numpy()
    order, counts = order_ratings(
        np.zeros(len(rows), np.int32), pa.array(items), ratings, _read_times(rows["timestamp"])
    )
    latest = order[counts]
    return dict(zip(items[latest].tolist(), ratings[latest].tolist(), strict=True))


def _files(saved: SavedModel) -> list[Path]:
    files = [Path(uri.removeprefix("file:")) for uri in saved.facts["rating_files"]]
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise InputError(
            f"--user reads the ratings the model was trained on; not here: {missing[0]}"
        )
    return files


def _read_rows(file: Path, columns: dict[str, Any], user: str) -> pd.DataFrame:
    """user, item, rating, timestamp of one user, all as text or null."""
    names = {key: columns[key] for key in ("user", "item", "rating", "timestamp") if columns[key]}
    try:
        if file.suffix in (".parquet", ".pq"):
            table = pq.read_table(file, columns=[*names.values()])
        else:
            table = _read_csv(file, [*names.values()], columns["separator"])
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{file}: cannot be read as it was for training: {error}") from None
    rows = pa.table({key: table.column(name).cast(pa.string()) for key, name in names.items()})
    theirs: pd.DataFrame = rows.filter(pc.equal(rows.column("user"), user)).to_pandas()
    return theirs.reindex(columns=["user", "item", "rating", "timestamp"])


def _read_csv(file: Path, names: list[str], separator: str) -> pa.Table:
    """These columns as text; rows with another number of fields than the header are passed over."""
    return csv.read_csv(
        file,
        parse_options=csv.ParseOptions(delimiter=separator, invalid_row_handler=lambda row: "skip"),
        convert_options=csv.ConvertOptions(
            include_columns=names, column_types=dict.fromkeys(names, pa.string())
        ),
    )


def _read_times(texts: pd.Series) -> Float64Array:
    """Seconds since 1970 from numbers and times as text; -inf for what is neither."""
    number = pd.to_numeric(texts, errors="coerce")
    time = pd.to_datetime(texts.where(number.isna()), errors="coerce", utc=True, format="ISO8601")
    seconds = (time - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(seconds=1)
    return number.fillna(seconds).fillna(-np.inf).to_numpy(np.float64)
