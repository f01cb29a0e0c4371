"""Count a run's tables for the report from its files on this machine, without Spark.

Tables with a row for each place of a list are read in batches, and only the columns that count.
"""

import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from jobs.errors import InputError
from jobs.report.content import assemble_report, list_earlier, score_range
from jobs.report.figures.parts import (
    MAX_SAMPLED_RANKS,
    SCORE_BINS,
    ListCounts,
    ReportData,
    RunItems,
    UserCounts,
)
from jobs.runs.model_files import load_model
from jobs.runs.places import MANIFEST
from jobs.runs.records import list_runs
from jobs.runs.run import RUN_ID, Run
from jobs.storage.local import LocalStorage
from jobs.tables.columns import (
    ITEM_ID,
    PLACE,
    RANK,
    RATING,
    REASON,
    SCORE,
    SOURCE,
    TIMESTAMP,
    TITLE,
    USER_ID,
)
from jobs.tables.published import (
    EXCLUDED,
    ITEM_CLUSTERS,
    MAX_SAMPLED_USERS,
    RECENT_RATINGS,
    RECOMMENDATIONS,
    Table,
)


def read_report(storage: LocalStorage, run: Run) -> ReportData:
    """What the report of a run on this machine shows.

    Raises:
        InputError: the run is not there, or some of it is missing or damaged.
    """
    records = list_runs(storage)
    record = next((record for record in records if record.run == run), None)
    if record is None:
        raise InputError(f"{storage.root}/{run.place} is no whole run: it has no readable manifest")
    place, manifest = Path(storage.root, run.place), record.manifest
    missing = [name for name in ("audit", "funnel", "training", "config") if name not in manifest]
    if missing:
        raise InputError(f"{place}/{MANIFEST} has no {', '.join(missing)}: an older or damaged run")
    counts = count_files(place, _find_before(storage, manifest), limits=score_range(manifest))
    return assemble_report(manifest, read_items(place), counts, list_earlier(records, run))


def _find_before(storage: LocalStorage, manifest: Mapping[str, Any]) -> Path | None:
    """The run that a run was compared with, where it is still there."""
    run_id = (manifest.get("gate") or {}).get("compared_with")
    if not run_id or not RUN_ID.fullmatch(run_id):
        return None
    place = Path(storage.root, Run.from_id(run_id).place)
    return place if (place / RECOMMENDATIONS.name).is_dir() else None


def read_items(run: Path) -> RunItems:
    """The items of a run on this machine.

    Raises:
        InputError: its model or its table of items is missing or damaged.
    """
    saved = load_model(run / "model")
    table = _open_table(run, ITEM_CLUSTERS).to_table().to_pandas()
    ordered = table.set_index(ITEM_ID).reindex(saved.catalog.item_ids).rename_axis(ITEM_ID)
    return RunItems(ordered.reset_index(), saved.model.item_embeddings)


def count_files(
    run: Path, before: Path | None, *, limits: tuple[float, float] | None
) -> ListCounts:
    """As ``jobs.report.counting.count_lists``, of runs on this machine.

    Raises:
        InputError: a table is missing or damaged.
    """
    lists = _open_table(run, RECOMMENDATIONS)
    lists_before = None if before is None else _open_table(before, RECOMMENDATIONS)
    try:
        return ListCounts(
            items=_count_items(lists, lists_before),
            places=_count_places(lists, limits),
            excluded=_count_excluded(_open_table(run, EXCLUDED)),
            sample=_sample_lists(lists),
            recent=_list_recent(run),
            users=None if lists_before is None else _count_users(lists, lists_before),
        )
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{run}: a table cannot be read: {error}") from None


def _open_table(run: Path, table: Table) -> Any:
    place = run / table.name
    try:
        return ds.dataset(place, format="parquet")
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{place} cannot be read: {error}") from None


def _read_batches(
    table: Any, columns: Sequence[str], condition: Any = None
) -> Iterator[pa.RecordBatch]:
    for batch in table.to_batches(columns=list(columns), filter=condition):
        if batch.num_rows:
            yield batch


def _as_texts(ids: Any) -> list[str]:
    texts: list[str] = pc.cast(ids, pa.string()).to_pylist()
    return texts


def _count_ids(table: Any) -> pd.Series:
    """In how many lists each item is, by its id as text."""
    parts = []
    for batch in _read_batches(table, [ITEM_ID]):
        counted = pc.value_counts(batch.column(0))
        ids, counts = counted.field("values"), counted.field("counts").to_numpy()
        parts.append(pd.Series(counts, index=_as_texts(ids)))
    joined = pd.concat(parts) if parts else pd.Series([], index=[], dtype=np.int64)
    return joined.groupby(level=0).sum()


def _count_items(lists: Any, before: Any) -> pd.DataFrame:
    sides = {"lists": _count_ids(lists)}
    if before is not None:
        sides["lists_before"] = _count_ids(before)
    counted = pd.DataFrame(sides).reindex(columns=["lists", "lists_before"])
    counted = counted.fillna(0).astype(np.int64).rename_axis(ITEM_ID)
    return counted.sort_index().reset_index()


def _count_places(lists: Any, limits: tuple[float, float] | None) -> pd.DataFrame:
    keys = [SOURCE, RANK, "score_bin"]
    parts = []
    for batch in _read_batches(lists, [SOURCE, RANK, SCORE]):
        rows = batch.to_pandas()
        rows["score_bin"] = _place_scores(rows, limits)
        parts.append(rows.groupby(keys).size())
    joined = (
        pd.concat(parts)
        if parts
        else pd.Series([], pd.MultiIndex.from_tuples([], names=keys), np.int64)
    )
    counted: pd.DataFrame = joined.groupby(level=keys).sum().rename("rows").reset_index()
    return counted.sort_values(keys, ignore_index=True)


def _place_scores(rows: pd.DataFrame, limits: tuple[float, float] | None) -> "pd.Series[int]":
    """The bin of each score; -1 where it is not the model's."""
    if limits is None:
        return pd.Series(-1, rows.index)
    low, high = limits
    places = pd.Series(0.0, rows.index)
    if low < high:
        scores = rows[SCORE].to_numpy(np.float64)
        places += np.floor((scores - low) / (high - low) * SCORE_BINS)
    places = places.clip(upper=SCORE_BINS - 1).where(rows[SOURCE] == "model", -1)
    return places.astype(np.int32)


def _count_excluded(excluded: Any) -> pd.DataFrame:
    rows = excluded.to_table(columns=["kind", REASON, "rating_count"])
    counted = rows.group_by(["kind", REASON]).aggregate(
        [([], "count_all"), ("rating_count", "sum")]
    )
    frame: pd.DataFrame = counted.to_pandas().rename(
        columns={"count_all": "entries", "rating_count_sum": "ratings"}
    )
    columns = ["kind", REASON, "entries", "ratings"]
    return frame[columns].sort_values(["kind", REASON], ignore_index=True)


def _sample_lists(lists: Any) -> pd.DataFrame:
    """The lists of the users whose ids have the lowest checksums, as Spark's ``crc32`` has them."""
    users = _read_users(lists)
    texts = _as_texts(users)
    sums = [zlib.crc32(text.encode()) for text in texts]
    order = sorted(range(len(texts)), key=lambda at: (sums[at], texts[at]))
    taken = users.take(pa.array(order[:MAX_SAMPLED_USERS], pa.int64()))
    wanted = pc.field(USER_ID).isin(taken) & (pc.field(RANK) <= MAX_SAMPLED_RANKS)
    rows = lists.to_table(columns=[USER_ID, RANK, ITEM_ID, SOURCE], filter=wanted)
    frame = pd.DataFrame(
        {
            USER_ID: _as_texts(rows[USER_ID]),
            RANK: rows[RANK].to_numpy(),
            ITEM_ID: _as_texts(rows[ITEM_ID]),
            SOURCE: rows[SOURCE].to_pylist(),
        }
    )
    return frame.sort_values([USER_ID, RANK], ignore_index=True)


def _list_recent(run: Path) -> pd.DataFrame | None:
    """None for a run of a release that did not keep ratings."""
    if not (run / RECENT_RATINGS.name).is_dir():
        return None
    columns = [USER_ID, PLACE, ITEM_ID, TITLE, RATING, TIMESTAMP]
    rows = _open_table(run, RECENT_RATINGS).to_table(columns=columns)
    frame = pd.DataFrame(
        {
            USER_ID: _as_texts(rows[USER_ID]),
            PLACE: rows[PLACE].to_numpy(),
            ITEM_ID: _as_texts(rows[ITEM_ID]),
            TITLE: rows[TITLE].to_pylist(),
            RATING: rows[RATING].to_numpy(),
            "timed": pc.is_valid(rows[TIMESTAMP]).to_numpy(),
        }
    )
    return frame.sort_values([USER_ID, PLACE], ignore_index=True)


def _read_users(lists: Any) -> pa.Array:
    """Who has a list: who has a first place in it."""
    column = lists.to_table(columns=[USER_ID], filter=pc.field(RANK) == 1)[USER_ID]
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def _count_users(lists: Any, before: Any) -> UserCounts:
    now, then = _read_users(lists), _read_users(before)
    if now.type != then.type:
        now, then = pc.cast(now, pa.string()), pc.cast(then, pa.string())
    both = pc.sum(pc.is_in(now, value_set=then)).as_py()
    return UserCounts(len(now), len(then), int(both or 0))
