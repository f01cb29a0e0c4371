"""The runs of an output as a table for the terminal."""

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from jobs.process.terminal import printable
from jobs.runs.records import RunRecord


def tabulate_runs(records: Sequence[RunRecord]) -> Table:
    """One line a run: date, id, state, which is current, and what it holds."""
    table = Table(box=None, pad_edge=False)
    for name in ("date", "run", "state", "model"):
        table.add_column(name, no_wrap=True)
    for name in ("users", "rows", "items", "overlap", "seconds"):
        table.add_column(name, justify="right", no_wrap=True)
    for record in records:
        state: str = "current" if record.is_current else record.state
        if record.manifest.get("gate", {}).get("forced"):
            state += ", forced"
        table.add_row(
            record.run.run_date.isoformat(),
            record.run_id,
            state,
            printable(record.manifest.get("training", {}).get("model", "?")),
            *_describe_figures(record),
        )
    return table


def _describe_figures(record: RunRecord) -> list[str]:
    audit = record.manifest.get("audit", {})
    checks = {check["bound"]: check for check in record.manifest.get("gate", {}).get("checks", ())}
    overlap = checks.get("min_overlap", {}).get("value")
    seconds = sum(record.manifest.get("stage_seconds", {}).values())
    counts = [_count(audit.get(name)) for name in ("users", "rows", "distinct_items")]
    return [*counts, "" if overlap is None else f"{overlap:.2f}", f"{seconds:.0f}"]


def _count(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else "?"
