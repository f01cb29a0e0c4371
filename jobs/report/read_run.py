"""What the report of a run on this machine shows, read from its files without Spark."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from jobs.errors import InputError
from jobs.report.content import ReportData, RunItems, assemble_report
from jobs.report.counting.count_run import count_run, sample_users
from jobs.report.counting.counts import ListCounts
from jobs.report.counting.file_tables import FileTables, open_table
from jobs.report.statistics.history import list_earlier
from jobs.report.statistics.lists import score_range
from jobs.runs.model_files import load_model
from jobs.runs.places import MANIFEST
from jobs.runs.records import list_runs
from jobs.runs.run import RUN_ID, Run
from jobs.storage.local import LocalStorage
from jobs.tables.columns import ITEM_ID
from jobs.tables.published import ITEM_CLUSTERS, RECOMMENDATIONS


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
    table = open_table(run, ITEM_CLUSTERS).to_table().to_pandas()
    ordered = table.set_index(ITEM_ID).reindex(saved.catalog.item_ids).rename_axis(ITEM_ID)
    return RunItems(ordered.reset_index(), saved.model.item_embeddings)


def count_files(
    run: Path, before: Path | None, *, limits: tuple[float, float] | None
) -> ListCounts:
    """The counts of runs on this machine.

    Raises:
        InputError: a table is missing or damaged.
    """
    tables, tables_before = FileTables(run), None if before is None else FileTables(before)
    try:
        return count_run(tables, tables_before, limits=limits, users=sample_users(tables))
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{run}: a table cannot be read: {error}") from None
