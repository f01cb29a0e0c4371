"""The figures of the kept runs, one by one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jobs.runs.records import RunRecord
from jobs.runs.run import Run
from recsys_core.evaluation.metric_names import UNIT_METRICS

_MAX_RUNS = 60


@dataclass(frozen=True)
class RunPoint:
    """The figures of one of the kept runs that are drawn over time."""

    run_id: str
    started: str
    figures: dict[str, float]
    """Figures that the run has; those of the evaluation by metric, as ``ndcg@10``."""
    baseline: dict[str, float]
    """The metrics of popularity, by the same names."""


def list_earlier(records: Sequence[RunRecord], run: Run) -> list[RunRecord]:
    """The published runs that were started before ``run``."""
    return [
        record
        for record in records
        if record.state == "published" and record.run.started <= run.started and record.run != run
    ]


def list_history(manifest: Mapping[str, Any], earlier: Sequence[RunRecord]) -> list[RunPoint]:
    """The latest runs with their figures, the oldest first and this one last."""
    manifests = {record.run_id: record.manifest for record in earlier}
    manifests[manifest["run_id"]] = manifest
    points = [_describe_run(run_id, manifests[run_id]) for run_id in manifests]
    return sorted(points, key=lambda point: (point.started, point.run_id))[-_MAX_RUNS:]


def _describe_run(run_id: str, manifest: Mapping[str, Any]) -> RunPoint:
    """The figures that a manifest has; an older one may lack some."""
    funnel = manifest.get("funnel") or [{}]
    audit = manifest.get("audit") or {}
    checks = {check["bound"]: check["value"] for check in list_checks(manifest)}
    figures = {
        "ratings read": funnel[0].get("rows"),
        "ratings kept": funnel[-1].get("rows"),
        "users with a list": audit.get("users"),
        "share of the catalogue in a list": checks.get("min_item_coverage"),
        "overlap with the run before": checks.get("min_overlap"),
    }
    model = (manifest.get("training") or {}).get("model")
    return RunPoint(
        run_id,
        Run.from_id(run_id).started.isoformat(),
        {name: value for name, value in figures.items() if value is not None}
        | _pick_metrics(manifest, str(model)),
        _pick_metrics(manifest, "popularity"),
    )


def _pick_metrics(manifest: Mapping[str, Any], model: str) -> dict[str, float]:
    """The metrics of a model at the list length that models are compared by."""
    evaluation = manifest.get("evaluation")
    if evaluation is None:
        return {}
    length = int(evaluation["select_by"].split("@")[1])
    return {
        f"{value['metric']}@{length}": float(value["value"])
        for value in evaluation["metrics"].get(model, ())
        if value["k"] == length and value["metric"] in UNIT_METRICS
    }


def list_checks(manifest: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The bounds of the gate and how the run stands to each; none in an older manifest."""
    return list((manifest.get("gate") or {}).get("checks", ()))
