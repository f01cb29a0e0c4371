"""The nightly report: one page that needs nothing else, made from ``ReportData``."""

import base64
import hashlib
import json
import logging
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from pkgutil import get_data
from typing import Any

from jobs.process.terminal import printable
from jobs.report.content import DRAWN_METRICS
from jobs.report.figures.parts import MAX_SAMPLED_RANKS, ReportData
from jobs.tables.published import MAX_RECENT_RATINGS

logger = logging.getLogger(__name__)

REPORT = "report.html"
_LIBRARY_SECONDS = 120
_SHOWN_FILES = 20
_MAX_SETTINGS = 50_000
_MAX_REASON = 200
MetricRow = tuple[str, list[float | None]]
_KINDS = {"item": "items", "rows": "rows", "user": "users"}
_RATED = {"time": "Recently rated", "rating": "Rated highest"}
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


def make_report(build: Callable[[], ReportData], keep: Callable[[bytes], None]) -> str:
    """Make a report and keep it; one that fails is told of, and holds nothing else back.

    The lists are what readers wait for: a page about them must not cost a night.

    Returns:
        For the manifest: the report's name, or ``failed: `` and why.
    """
    try:
        keep(render_report(build()))
    except Exception as error:
        # Where, not what, in the log: the message of such an error may quote ratings.
        place = traceback.extract_tb(error.__traceback__)[-1]
        logger.warning(
            "no %s: %s in %s:%d; the run is published without it, and its manifest says more",
            *(REPORT, type(error).__name__, Path(place.filename).name, place.lineno),
        )
        reason = printable(str(error).partition("\n")[0])[:_MAX_REASON]
        return f"failed: {type(error).__name__}: {reason}"
    return REPORT


def render_report(data: ReportData) -> bytes:
    """The page. Titles and ids are untrusted, and stay text wherever they stand in it."""
    # Not at the top: where one of these is missing or broken, the night goes on without a page.
    from jinja2 import Environment, FunctionLoader, StrictUndefined
    from markupsafe import Markup

    from jobs.report.charts.list_charts import draw_charts, list_series

    templates = Environment(
        loader=FunctionLoader(_read_template), autoescape=True, undefined=StrictUndefined
    )
    templates.filters |= _FILTERS
    templates.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    script, library = _read_template("report.js"), _load_library()
    page = templates.get_template("report.html.jinja").render(
        data=data,
        manifest=data.manifest,
        charts=draw_charts(data),
        series=list_series(data.history),
        sample={
            "users": [
                [user.user, user.source, user.items, *map(list, zip(*user.rated, strict=True))]
                for user in data.sampled_users
            ],
            "titles": data.sampled_items,
            "rated": data.rated_by and _RATED[data.rated_by],
        },
        style=Markup(_read_template("report.css")),
        library=Markup(library),
        script=Markup(script),
        policy=_write_policy(library, script),
        **_describe(data),
    )
    return page.encode("utf-8", "replace")


def _read_template(name: str) -> str:
    """A file beside this one, which may be in a zip."""
    data = get_data(__name__, f"templates/{name}")
    if data is None:
        raise FileNotFoundError(f"templates/{name}")
    return data.decode()


@cache
def _load_library() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script.

    It is put together by a JavaScript engine, in a process of its own: what ends or hangs an engine
    (a limit on memory, for one) must not end or hang the night.
    """
    code = (
        "import sys, vl_convert; "
        "script = vl_convert.javascript_bundle('window.vegaEmbed = vegaEmbed;'); "
        "sys.stdout.buffer.write(script.encode())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, timeout=_LIBRARY_SECONDS, check=False
    )
    if done.returncode != 0:
        lines = done.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
        raise RuntimeError(f"vl_convert ended with {done.returncode}: {lines[-1]}")
    library = done.stdout.decode()
    if "</script" in library.lower() or "\r" in library:
        raise ValueError("the chart library cannot stand in a page as it is")
    return library


def _write_policy(*scripts: str) -> str:
    """No address is ever asked for anything, and no script runs but these."""
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts]
    allowed = " ".join(f"'sha256-{one}'" for one in hashes)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _format_percent(value: float) -> str:
    return f"{100 * value:.1f}%" if value < 0.9995 else "100%"


def _format_figure(value: float) -> str:
    if isinstance(value, int) or abs(value) >= 10_000:
        return f"{value:,.0f}"
    return f"{value:,.4g}"


_FILTERS: dict[str, Callable[[Any], str]] = {
    "count": lambda value: f"{value:,}",
    "figure": _format_figure,
    "percent": _format_percent,
    "users": lambda value: "1 user" if value == 1 else f"{value:,} users",
    "whole_percent": lambda value: f"{100 * value:.0f}%",
    "signed": lambda value: f"{value:+,}",
}


def _describe(data: ReportData) -> dict[str, Any]:
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
            _format_percent(coverage.recommended / coverage.items),
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
        tiles.append(("overlap", _format_percent(data.changes.overlap), "with the run before"))
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
    )


def _list_metrics(evaluation: Mapping[str, Any]) -> dict[str, list[MetricRow]]:
    """The metrics that models are compared by, and all others: a row a metric, a value a model."""
    by_model = [
        {(value["metric"], value["k"]): float(value["value"]) for value in values}
        for values in evaluation["metrics"].values()
    ]
    names = dict.fromkeys(name for values in by_model for name in values)
    length = int(evaluation["select_by"].split("@")[1])
    tables: dict[str, list[MetricRow]] = {"main": [], "other": []}
    for metric, k in names:
        is_main = k == length and metric in DRAWN_METRICS
        row = (
            metric if k is None else f"{metric}@{k}",
            [values.get((metric, k)) for values in by_model],
        )
        tables["main" if is_main else "other"].append(row)
    return tables


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
