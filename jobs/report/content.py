"""Put together what the nightly report shows (``jobs/report/parts``).

The tables of a run are counted where they lie, by ``jobs/report/counting`` with Spark or by
``jobs/report/read_run`` without it. Both give the same ``ListCounts``, and all else is computed
here.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd

from jobs.report.figures.clusters import describe_clusters, draw_map, measure_coverage, rank_items
from jobs.report.figures.parts import (
    SCORE_BINS,
    Changes,
    ExcludedReason,
    LengthBin,
    ListCounts,
    RankedItem,
    ReportData,
    RunItems,
    RunPoint,
    SampledUser,
    ScoreBin,
    shorten,
    thin,
)
from jobs.runs.records import RunRecord
from jobs.runs.run import Run

DRAWN_METRICS = ("ndcg", "recall", "precision", "map", "mrr", "hit_rate", "coverage")
"""Those from 0 to 1, where more is better."""
_MAX_RUNS = 60
_MAX_LOSSES = 500
_MAX_LENGTHS = 50
_MAX_REASONS = 50
_MAX_SAMPLE_TEXT = 300_000
"""Characters of the sampled users' ids and of the titles of all they have in their lists and have
rated; users beyond them are left out."""
_MOVERS = 10


def assemble_report(
    manifest: Mapping[str, Any],
    items: RunItems,
    counts: ListCounts,
    earlier: Sequence[RunRecord],
) -> ReportData:
    """Put together what the report shows.

    Args:
        manifest: of the run, with the results of its gate.
        earlier: the kept runs before it, in any order.
    """
    table = _add_lists(items.table, counts.items)
    audit = manifest["audit"]
    sampled_items, sampled_users = _list_sample(counts, table)
    return ReportData(
        manifest=manifest,
        history=_list_history(manifest, earlier),
        losses=thin(list(enumerate(manifest["training"]["losses"])), _MAX_LOSSES),
        scores=_count_scores(counts.places, score_range(manifest)),
        lengths=_count_lengths(counts.places, audit["users_without_list"]),
        sources=dict(audit["source_users"]),
        coverage=measure_coverage(table, audit["users"]),
        map=draw_map(table, items.embeddings),
        clusters=describe_clusters(table),
        n_clusters=int(table["cluster"].nunique()),
        excluded=_list_excluded(counts.excluded),
        changes=_find_changes(manifest, table, counts),
        sampled_users=sampled_users,
        sampled_items=sampled_items,
        rated_by=_name_order(counts.recent),
    )


def list_earlier(records: Sequence[RunRecord], run: Run) -> list[RunRecord]:
    """The published runs that were started before ``run``."""
    return [
        record
        for record in records
        if record.state == "published" and record.run.started <= run.started and record.run != run
    ]


def score_range(manifest: Mapping[str, Any]) -> tuple[float, float] | None:
    """Lowest and highest score of the model's rows; None where it has none."""
    low, high = manifest["audit"]["min_score"], manifest["audit"]["max_score"]
    return None if low is None or high is None else (low, high)


def _add_lists(table: pd.DataFrame, items: pd.DataFrame) -> pd.DataFrame:
    """The items of the run with the number of lists that hold each, and a name."""
    counts = items.set_index("item_id")
    ids = table["item_id"].astype(str)
    names = table["title"].where(table["title"].notna(), ids)
    found = counts.reindex(ids, fill_value=0)
    return table.assign(
        item_id=ids.to_numpy(),
        name=[shorten(name) for name in names.tolist()],
        lists=found["lists"].to_numpy(),
        lists_before=found["lists_before"].to_numpy(),
    )


# --- Over time ----------------------------------------------------------------------------------


def _list_history(manifest: Mapping[str, Any], earlier: Sequence[RunRecord]) -> list[RunPoint]:
    manifests = {record.run_id: record.manifest for record in earlier}
    manifests[manifest["run_id"]] = manifest
    points = [_describe_run(run_id, manifests[run_id]) for run_id in manifests]
    return sorted(points, key=lambda point: (point.started, point.run_id))[-_MAX_RUNS:]


def _describe_run(run_id: str, manifest: Mapping[str, Any]) -> RunPoint:
    """The figures that a manifest has; an older one may lack some."""
    funnel = manifest.get("funnel") or [{}]
    audit = manifest.get("audit") or {}
    checks = {check["bound"]: check["value"] for check in _checks(manifest)}
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


def _checks(manifest: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return list((manifest.get("gate") or {}).get("checks", ()))


def _pick_metrics(manifest: Mapping[str, Any], model: str) -> dict[str, float]:
    """The metrics of a model at the list length that models are compared by."""
    evaluation = manifest.get("evaluation")
    if evaluation is None:
        return {}
    length = int(evaluation["select_by"].split("@")[1])
    return {
        f"{value['metric']}@{length}": float(value["value"])
        for value in evaluation["metrics"].get(model, ())
        if value["k"] == length and value["metric"] in DRAWN_METRICS
    }


# --- Lists --------------------------------------------------------------------------------------


def _count_scores(places: pd.DataFrame, limits: tuple[float, float] | None) -> list[ScoreBin]:
    if limits is None:
        return []
    low, high = limits
    known = places[places["score_bin"] >= 0]
    first = known["rank"] == 1
    width = (high - low) / SCORE_BINS

    def count(rows: pd.DataFrame) -> list[int]:
        by_bin = rows.groupby("score_bin")["rows"].sum()
        return [int(n) for n in by_bin.reindex(range(SCORE_BINS), fill_value=0).tolist()]

    return [
        ScoreBin(low + place * width, low + (place + 1) * width, ones, others)
        for place, (ones, others) in enumerate(
            zip(count(known[first]), count(known[~first]), strict=True)
        )
    ]


def _count_lengths(places: pd.DataFrame, without_list: int) -> list[LengthBin]:
    """Users by the length of their list; a list of n has one row of each rank up to n."""
    at_least = places.groupby("rank")["rows"].sum().sort_index()
    longest = int(at_least.index.max()) if len(at_least) else 0
    reached = at_least.reindex(range(1, longest + 2), fill_value=0).to_numpy()
    users = np.concatenate([[without_list], reached[:-1] - reached[1:]])
    step = -(-longest // _MAX_LENGTHS) or 1
    starts = [0, *range(1, longest + 1, step)]
    ends = [0, *(min(start + step - 1, longest) for start in starts[1:])]
    return [
        LengthBin(start, end, int(users[start : end + 1].sum()))
        for start, end in zip(starts, ends, strict=True)
        if start or without_list
    ]


def _list_sample(counts: ListCounts, table: pd.DataFrame) -> tuple[list[str], list[SampledUser]]:
    """Names of the sampled users' items, and the users with items as places in them."""
    names = dict(zip(table["item_id"].tolist(), table["name"].tolist(), strict=True))
    ratings = _list_ratings(counts.recent, names)
    places: dict[str, int] = {}
    users: list[SampledUser] = []
    room = _MAX_SAMPLE_TEXT
    for (user, source), rows in counts.sample.sort_values("rank").groupby(["user_id", "source"]):
        item_ids = rows["item_id"].tolist()
        shown = shorten(str(user))
        rated = ratings.get(str(user), [])
        all_ids = [*item_ids, *(item_id for item_id, _ in rated)]
        new = {item_id: names.get(item_id, shorten(item_id)) for item_id in all_ids}
        room -= len(shown) + sum(len(new[item_id]) for item_id in new.keys() - places.keys())
        if room < 0:
            break
        for item_id in all_ids:
            places.setdefault(item_id, len(places))
        listed = [places[item_id] for item_id in item_ids]
        valued = [(places[item_id], rating) for item_id, rating in rated]
        users.append(SampledUser(shown, str(source), listed, valued))
    users.sort(key=lambda sampled: (len(sampled.user), sampled.user))  # 2 comes before 10
    return [names.get(item_id, shorten(item_id)) for item_id in places], users


def _list_ratings(
    recent: pd.DataFrame | None, names: dict[str, str]
) -> dict[str, list[tuple[str, float]]]:
    """By user the rated items and ratings; ``names`` gets those of items outside the catalogue."""
    rated: dict[str, list[tuple[str, float]]] = {}
    if recent is None:
        return rated
    columns = ("user_id", "item_id", "title", "rating")
    for user, item_id, title, rating in zip(
        *(recent.sort_values("place")[name].tolist() for name in columns), strict=True
    ):
        if isinstance(title, str):
            names.setdefault(item_id, shorten(title))
        # Six digits: a page has no use for more, and the input could have any number of them.
        rated.setdefault(user, []).append((item_id, float(f"{rating:.6g}")))
    return rated


def _name_order(recent: pd.DataFrame | None) -> Literal["time", "rating"] | None:
    if recent is None:
        return None
    return "time" if recent["timed"].any() else "rating"


# --- Left out, and changed ----------------------------------------------------------------------


def _list_excluded(excluded: pd.DataFrame) -> list[ExcludedReason]:
    ordered = excluded.sort_values(["kind", "ratings", "reason"], ascending=[True, False, True])
    return [
        ExcludedReason(
            kind, shorten(reason), None if kind == "rows" else int(entries), int(ratings)
        )
        for kind, reason, entries, ratings in ordered.head(_MAX_REASONS).itertuples(index=False)
    ]


def _find_changes(
    manifest: Mapping[str, Any], table: pd.DataFrame, counts: ListCounts
) -> Changes | None:
    if counts.users is None:
        return None
    overlap = {check["bound"]: check["value"] for check in _checks(manifest)}.get("min_overlap")
    moved = _list_all_items(table, counts.items)
    moved["change"] = moved["lists"] - moved["lists_before"]

    def pick(rows: pd.DataFrame, *, ascending: bool) -> list[RankedItem]:
        ordered = rows.sort_values(["change", "item_id"], ascending=[ascending, True])
        assert counts.users is not None
        return rank_items(ordered.head(_MOVERS), counts.users.now)

    return Changes(
        str(manifest["gate"]["compared_with"]),
        counts.users,
        overlap,
        pick(moved[moved["change"] > 0], ascending=False),
        pick(moved[moved["change"] < 0], ascending=True),
    )


def _list_all_items(table: pd.DataFrame, items: pd.DataFrame) -> pd.DataFrame:
    """Items of the lists of both runs; one that has left the catalogue stands as its id."""
    names = table.set_index("item_id")["name"]
    known = names.reindex(items["item_id"]).to_numpy()
    named = [
        name if isinstance(name, str) else shorten(item_id)
        for name, item_id in zip(known, items["item_id"].tolist(), strict=True)
    ]
    return items.assign(name=named)
