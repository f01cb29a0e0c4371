"""The run that readers are led to: found, and changed in a single step."""

import json
import logging
from typing import TYPE_CHECKING, Any

from jobs.errors import MachineError
from jobs.runs.places import CURRENT, CURRENT_FILE, RUNS
from jobs.runs.run import RUN_ID, Run
from jobs.storage.base import Storage
from jobs.tables.published import RECOMMENDATIONS

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

logger = logging.getLogger(__name__)


def find_current(storage: Storage) -> Run | None:
    """The run that readers are led to.

    Raises:
        MachineError: ``current`` leads elsewhere than to a run of this output.
    """
    if storage.is_directory(CURRENT):
        raise MachineError(
            f"output.path = '{storage.root}': {CURRENT} is a directory, where the job keeps "
            "a link; move it away"
        )
    linked = storage.pointee(CURRENT)
    if linked is None:
        return read_pointer(storage)
    run = _parse_place(linked)
    if run is None:
        raise MachineError(
            f"output.path = '{storage.root}': {CURRENT} leads to '{linked}', which is no run "
            "of this output; remove the link"
        )
    return run


def read_pointer(storage: Storage) -> Run | None:
    """What ``CURRENT.json`` says; None where it is missing or damaged."""
    if not storage.exists(CURRENT_FILE):
        return None
    try:
        return _parse_place(json.loads(storage.read(CURRENT_FILE))["path"])
    except (ValueError, KeyError, TypeError):
        logger.warning("%s/%s is damaged, and will be written anew", storage.root, CURRENT_FILE)
        return None


def _parse_place(place: Any) -> Run | None:
    folder, _, run_id = str(place).partition("/")
    return Run.from_id(run_id) if folder == RUNS and RUN_ID.fullmatch(run_id) else None


def switch_current(storage: Storage, run: Run) -> None:
    """Lead readers to a run that is in its place: one rename, and the pointer file after it."""
    storage.point(CURRENT, run.place)
    pointer = {**run.footer, "path": run.place}
    storage.write(CURRENT_FILE, (json.dumps(pointer, indent=2) + "\n").encode())


def lead_readers(
    spark: "SparkSession | None", storage: Storage, run: Run, table: str | None
) -> None:
    """Make a run in its place current, and move the table of the metastore to it.

    Args:
        spark: with the metastore; needed only where there is a table.
        table: ``publish.table``.

    Raises:
        JobError: the metastore refuses; the run is current all the same.
    """
    switch_current(storage, run)
    if table is not None and spark is not None:
        from jobs.runs.metastore import move_table  # which imports pyspark

        move_table(spark, table, storage.uri(find_lists(run)))


def find_lists(run: Run) -> str:
    """Where the recommendations of a run lie in the output."""
    return f"{run.place}/{RECOMMENDATIONS.name}"
