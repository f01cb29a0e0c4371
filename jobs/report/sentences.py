"""The sentences, tiles and tables of the page, as its template takes them."""

import json
from collections.abc import Mapping
from typing import Any

from jobs.report.content import ReportData
from jobs.report.counting.count_run import MAX_SAMPLED_RANKS
from jobs.tables.published import MAX_RECENT_RATINGS
from recsys_core.evaluation.metric_names import CATALOGUE_METRICS, QUALITY_METRICS

_SHOWN_FILES = 20
_MAX_SETTINGS = 50_000
MetricRow = tuple[str, list[float | None]]
_KINDS = {"item": "items", "rows": "rows", "user": "users"}
_RULE_COUNTS = {
    "allowed_items": "items that may be recommended",
    "empty_places": "places in lists that the rules leave empty",
    "empty_lists": "users whom the rules leave nothing",
    "lists_cut_by_score": "lists that end at the minimum score",
    "items_over_genre_cap": "of lists' first items, those over the cap of a genre",
    "items_over_cluster_cap": "of lists' first items, those over the share of a cluster",
    "lists_made_diverse": "lists that diversity changes",
    "items_by_diversity": "places taken by an item that is there for diversity",
}


def write_sentences(data: ReportData) -> dict[str, Any]:
    """Sentences and rows that the page states; what a manifest lacks is left out."""
    manifest = data.manifest
    evaluation = manifest.get("evaluation")
    settings = json.dumps(manifest.get("config", {}), indent=1, ensure_ascii=False)
    return {
        "state": _name_state(manifest),
        "tiles": _make_tiles(data),
        "gate_line": _describe_gate(manifest.get("gate") or {}),
        "kinds": _KINDS,
        "rule_counts": _list_rule_counts(manifest.get("rules") or {}),
        "evaluation_line": _describe_evaluation(evaluation) if evaluation else "",
        "metric_tables": _list_metrics(evaluation) if evaluation else {},
        "cluster_lines": _describe_clusters(manifest.get("clusters") or {}),
        "training_line": _describe_training(manifest["training"]),
        "max_ranks": MAX_SAMPLED_RANKS,
        "max_ratings": MAX_RECENT_RATINGS,
        "example": data.sampled_users[0].user if data.sampled_users else "1",
        "longest_stage": max([*manifest["stage_seconds"].values(), 1e-9]),
        "input_files": manifest["input_files"][:_SHOWN_FILES],
        "settings": settings[:_MAX_SETTINGS],
    }


def _list_rule_counts(rules: Mapping[str, Any]) -> list[tuple[str, int]]:
    """What the rules did, the counts of it that are not 0."""
    return [(meaning, rules[name]) for name, meaning in _RULE_COUNTS.items() if rules.get(name)]


def _name_state(manifest: Mapping[str, Any]) -> str:
    forced = (manifest.get("gate") or {}).get("forced")
    return "published by force" if forced else str(manifest.get("state", "published"))


def _make_tiles(data: ReportData) -> list[tuple[str, str, str]]:
    """The figures to see first: name, value, and what it is of."""
    audit, coverage = data.manifest["audit"], data.coverage
    tiles = [
        ("users with a list", f"{audit['users']:,}", f"of {data.manifest['funnel'][0]['users']:,}"),
        ("recommendations", f"{audit['rows']:,}", ""),
        (
            "catalogue in a list",
            format_percent(coverage.recommended / coverage.items),
            f"{coverage.recommended:,} of {coverage.items:,} items",
        ),
    ]
    evaluation = data.manifest.get("evaluation")
    if evaluation:
        name = evaluation["select_by"]
        value = data.history[-1].figures.get(name)
        gain = f"{evaluation['gain_over_popularity']:+.4f} over popularity"
        tiles.append((name, "" if value is None else f"{value:.4f}", gain))
    if data.changes is not None and data.changes.overlap is not None:
        tiles.append(("overlap", format_percent(data.changes.overlap), "with the run before"))
    return tiles


def _describe_gate(gate: Mapping[str, Any]) -> str:
    checks = gate.get("checks", ())
    failed = sum(not check["passed"] for check in checks)
    kept = f"Not kept: {failed} of {len(checks)} bounds." if failed else "Every bound is kept."
    before = gate.get("compared_with")
    compared = f" Compared with run {before}." if before else " There was no run to compare with."
    return kept + (" Published by --force." if gate.get("forced") else "") + compared


def _describe_evaluation(evaluation: Mapping[str, Any]) -> str:
    return (
        f"Measured on {evaluation['held_out_ratings']:,} ratings of {evaluation['users']:,} users "
        f"that were held out of a training of their own (split '{evaluation['split']}'). By "
        f"{evaluation['select_by']} the best is {evaluation['best']}."
        + _describe_liking(evaluation.get("liked"))
    )


def _describe_liking(liked: Mapping[str, Any] | None) -> str:
    """What 'liked' means and on how many users, or why it is left out; nothing in an older run."""
    if liked is None:
        return ""
    if liked["left_out"] is not None:
        return f" What was liked is left out: {liked['left_out']}."
    return (
        f" Liked: rated {liked['min_rating']:g} or more, which {liked['users']:,} of the users did."
    )


def _list_metrics(evaluation: Mapping[str, Any]) -> dict[str, list[MetricRow]]:
    """A row a metric, a value a model: how good lists are, what they are made of, all others."""
    by_model = [
        {(value["metric"], value["k"]): float(value["value"]) for value in values}
        for values in evaluation["metrics"].values()
    ]
    names = dict.fromkeys(name for values in by_model for name in values)
    length = int(evaluation["select_by"].split("@")[1])
    tables: dict[str, list[MetricRow]] = {"quality": [], "makeup": [], "other": []}
    shown = dict.fromkeys(QUALITY_METRICS, "quality") | dict.fromkeys(CATALOGUE_METRICS, "makeup")
    for metric, k in sorted(names, key=lambda name: _place(name[0])):
        row = (
            metric if k is None else f"{metric}@{k}",
            [values.get((metric, k)) for values in by_model],
        )
        tables[shown.get(metric, "other") if k == length else "other"].append(row)
    return tables


def _place(metric: str) -> int:
    """Where a metric stands: liked beside any. What this release does not know comes last."""
    known = (*QUALITY_METRICS, *CATALOGUE_METRICS)
    return known.index(metric) if metric in known else len(known)


def _describe_clusters(clusters: Mapping[str, Any]) -> list[str]:
    """How lasting the clusters are, and how far they are genres, as far as that was measured."""
    lines = []
    stability = clusters.get("stability") or {}
    if stability.get("adjusted_rand_index") is not None:
        lines.append(
            f"Numbered as in run {stability['compared_with']}: {stability['moved_items']:,} of "
            f"{stability['shared_items']:,} items are in another cluster than there (adjusted Rand "
            f"index {stability['adjusted_rand_index']:.3f}; 1 is the same clusters, 0 chance)."
        )
    if clusters.get("adjusted_mutual_information") is not None:
        lines.append(
            f"In common with genres: {clusters['adjusted_mutual_information']:.3f} (adjusted "
            "mutual information; 1 is the same partition, 0 chance)."
        )
    return lines


def _describe_training(training: Mapping[str, Any]) -> str:
    figures = [
        f"{name.replace('_', ' ')} {value:.6g}" for name, value in training["figures"].items()
    ]
    made = f"{training['model']} on {training['device']}, seed {training['seed']}"
    if training.get("reused_from"):
        made += f", in run {training['reused_from']} and used again"
    return f"{made}: {', '.join(figures)}." if figures else f"{made}."


def format_percent(value: float) -> str:
    """A share as text, with one decimal; 100% where it would be rounded to that."""
    return f"{100 * value:.1f}%" if value < 0.9995 else "100%"
