"""What the nightly report shows, as plain data of a bounded size.

The tables of a run are counted where they lie, by ``jobs/report_counts`` with Spark or by
``jobs/report_files`` without it. Both give the same ``ListCounts``, and all else is computed here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from jobs.cluster import list_top_titles
from jobs.run_id import Run
from jobs.runs import RunRecord
from recsys_core.arrays import Float32Array, Float64Array, Int64Array

SCORE_BINS = 40
MAX_SAMPLED_RANKS = 10
MAX_MAP_ITEMS = 2_000
MAX_CLUSTERS = 30
DRAWN_METRICS = ("ndcg", "recall", "precision", "map", "mrr", "hit_rate", "coverage")
"""Those from 0 to 1, where more is better."""
_MAX_RUNS = 60
_MAX_LOSSES = 500
_MAX_LENGTHS = 50
_MAX_REASONS = 50
_MAX_CURVE_POINTS = 100
_MAX_TEXT = 80
"""Characters of a title or id that are shown: nothing in an input may swell the page."""
_MAX_GENRES_TEXT = 40
_MAX_SAMPLE_TEXT = 300_000
"""Characters of the sampled users' ids and of the titles of all they have in their lists and have
rated; users beyond them are left out."""
_TOP_ITEMS = 15
_MOVERS = 10
_LEADING_GENRES = 3
_LEADING_SHARE = 0.05
"""A leading genre is on at least this share of a cluster's items: one rare title is no genre."""


@dataclass(frozen=True)
class UserCounts:
    """Users with a list, in this run and in the one before it."""

    now: int
    before: int
    both: int


@dataclass(frozen=True)
class ListCounts:
    """A run's tables, counted: small however many users there are. Ids are texts."""

    items: pd.DataFrame
    """item_id, lists, lists_before: items in any list of this run or of the one before it."""
    places: pd.DataFrame
    """source, rank, score_bin, rows; the bin is -1 where the score is not the model's."""
    excluded: pd.DataFrame
    """kind, reason, entries, ratings."""
    sample: pd.DataFrame
    """user_id, rank, item_id, source: the tops of some users' lists."""
    recent: pd.DataFrame | None
    """user_id, place, item_id, title, rating, timed: what these users rated last, and whether it is
    known when; None for a run that did not keep it."""
    users: UserCounts | None
    """None where there is no run to compare with."""


@dataclass(frozen=True)
class RunItems:
    """The items of a run, in order of item_index."""

    table: pd.DataFrame
    """The columns of ``ITEM_CLUSTERS``."""
    embeddings: Float32Array
    """[n_items, n_factors]."""


@dataclass(frozen=True)
class RunPoint:
    """The figures of one of the kept runs that are drawn over time."""

    run_id: str
    started: str
    figures: dict[str, float]
    """Figures that the run has; those of the evaluation by metric, as ``ndcg@10``."""
    baseline: dict[str, float]
    """The metrics of popularity, by the same names."""


@dataclass(frozen=True)
class ScoreBin:
    """How many places of the lists have a score in a range."""

    low: float
    high: float
    first: int
    """Of rank 1."""
    other: int


@dataclass(frozen=True)
class LengthBin:
    """How many users have a list of a length in a range."""

    shortest: int
    longest: int
    users: int


@dataclass(frozen=True)
class RankedItem:
    """An item by the number of lists that hold it."""

    name: str
    lists: int
    lists_before: int
    share: float
    """Of the lists."""

    @property
    def change(self) -> int:
        return self.lists - self.lists_before


@dataclass(frozen=True)
class Coverage:
    """How the places of the lists fall on the catalogue."""

    items: int
    recommended: int
    gini: float
    """0: every item is in equally many lists; 1: one item has all places."""
    first_ten: float
    """Share of the places that the ten most recommended items have."""
    first_tenth: float
    """Share of the places that the most recommended tenth of the items has."""
    curve: list[tuple[float, float]]
    """Share of the catalogue, the most recommended first, and the share of places it has."""
    top: list[RankedItem]


@dataclass(frozen=True)
class MapItem:
    """An item of the map."""

    name: str
    genres: str
    cluster: int
    ratings: int
    lists: int
    x: float
    y: float


@dataclass(frozen=True)
class ItemMap:
    """The item factors' two directions of most variance."""

    items: list[MapItem]
    """The most rated ones."""
    explained: float
    """Share of the variance that the two directions hold."""


@dataclass(frozen=True)
class GenreShare:
    """How common a genre is in a cluster, and in the catalogue."""

    name: str
    share: float
    catalogue_share: float


@dataclass(frozen=True)
class ClusterCard:
    """One cluster."""

    cluster: int
    name: str
    items: int
    ratings: int
    genres: list[GenreShare]
    titles: list[str]


@dataclass(frozen=True)
class ExcludedReason:
    """What one reason left out."""

    kind: str
    reason: str
    entries: int | None
    """Users or items; None for rows."""
    ratings: int


@dataclass(frozen=True)
class Changes:
    """This run beside the one it was compared with."""

    run_id: str
    users: UserCounts
    overlap: float | None
    """Mean share of a user's list that was in the list before; None without a user in both."""
    risen: list[RankedItem]
    fallen: list[RankedItem]


@dataclass(frozen=True)
class SampledUser:
    """The top of one user's list; items are places in ``ReportData.sampled_items``."""

    user: str
    source: str
    items: list[int]
    rated: list[tuple[int, float]]
    """Item and rating, in order of ``ReportData.rated_by``."""


@dataclass(frozen=True)
class ReportData:
    """All that the report shows."""

    manifest: Mapping[str, Any]
    history: list[RunPoint]
    """The oldest first, this run last."""
    losses: list[tuple[int, float]]
    scores: list[ScoreBin]
    lengths: list[LengthBin]
    sources: dict[str, int]
    """Users by what made their list."""
    coverage: Coverage
    map: ItemMap
    clusters: list[ClusterCard]
    n_clusters: int
    excluded: list[ExcludedReason]
    changes: Changes | None
    sampled_users: list[SampledUser]
    sampled_items: list[str]
    rated_by: Literal["time", "rating"] | None
    """What puts the users' ratings in order; None where the run did not keep them."""


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
        losses=_thin(list(enumerate(manifest["training"]["losses"])), _MAX_LOSSES),
        scores=_count_scores(counts.places, score_range(manifest)),
        lengths=_count_lengths(counts.places, audit["users_without_list"]),
        sources=dict(audit["source_users"]),
        coverage=_measure_coverage(table, audit["users"]),
        map=_draw_map(table, items.embeddings),
        clusters=_describe_clusters(table),
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


def _shorten(text: str, limit: int = _MAX_TEXT) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def _thin(values: list[Any], limit: int) -> list[Any]:
    """At most ``limit`` of the values, evenly spread, the first and the last among them."""
    if len(values) <= limit:
        return values
    places = np.linspace(0, len(values) - 1, limit).round().astype(int)
    return [values[place] for place in places.tolist()]


def _add_lists(table: pd.DataFrame, items: pd.DataFrame) -> pd.DataFrame:
    """The items of the run with the number of lists that hold each, and a name."""
    counts = items.set_index("item_id")
    ids = table["item_id"].astype(str)
    names = table["title"].where(table["title"].notna(), ids)
    found = counts.reindex(ids, fill_value=0)
    return table.assign(
        item_id=ids.to_numpy(),
        name=[_shorten(name) for name in names.tolist()],
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


def _measure_coverage(table: pd.DataFrame, n_lists: int) -> Coverage:
    lists = np.sort(table["lists"].to_numpy(np.int64))[::-1]
    shares = np.arange(1, len(lists) + 1) / len(lists)
    places = np.cumsum(lists) / max(1, lists.sum())
    corners = _thin(list(range(len(lists))), _MAX_CURVE_POINTS)
    curve = [(0.0, 0.0), *((float(shares[at]), float(places[at])) for at in corners)]
    top = table.sort_values(["lists", "item_id"], ascending=[False, True]).head(_TOP_ITEMS)
    return Coverage(
        items=len(table),
        recommended=int((lists > 0).sum()),
        gini=_measure_gini(lists),
        first_ten=float(places[:10][-1]),
        first_tenth=float(places[: -(-len(lists) // 10)][-1]),
        curve=curve,
        top=_rank_items(top, n_lists),
    )


def _measure_gini(descending: Int64Array) -> float:
    """The Gini coefficient of counts; 0 where all are 0."""
    n, total = len(descending), int(descending.sum())
    if total == 0:
        return 0.0
    weights = n - 1 - 2 * np.arange(n)
    return float((weights * descending).sum() / (n * total))


def _rank_items(rows: pd.DataFrame, n_lists: int) -> list[RankedItem]:
    return [
        RankedItem(name, int(lists), int(before), lists / max(1, n_lists))
        for name, lists, before in zip(
            rows["name"].tolist(),
            rows["lists"].tolist(),
            rows["lists_before"].tolist(),
            strict=True,
        )
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
        shown = _shorten(str(user))
        rated = ratings.get(str(user), [])
        all_ids = [*item_ids, *(item_id for item_id, _ in rated)]
        new = {item_id: names.get(item_id, _shorten(item_id)) for item_id in all_ids}
        room -= len(shown) + sum(len(new[item_id]) for item_id in new.keys() - places.keys())
        if room < 0:
            break
        for item_id in all_ids:
            places.setdefault(item_id, len(places))
        listed = [places[item_id] for item_id in item_ids]
        valued = [(places[item_id], rating) for item_id, rating in rated]
        users.append(SampledUser(shown, str(source), listed, valued))
    users.sort(key=lambda sampled: (len(sampled.user), sampled.user))  # 2 comes before 10
    return [names.get(item_id, _shorten(item_id)) for item_id in places], users


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
            names.setdefault(item_id, _shorten(title))
        # Six digits: a page has no use for more, and the input could have any number of them.
        rated.setdefault(user, []).append((item_id, float(f"{rating:.6g}")))
    return rated


def _name_order(recent: pd.DataFrame | None) -> Literal["time", "rating"] | None:
    if recent is None:
        return None
    return "time" if recent["timed"].any() else "rating"


# --- Items --------------------------------------------------------------------------------------


def _draw_map(table: pd.DataFrame, embeddings: Float32Array) -> ItemMap:
    places, explained = project_items(embeddings)
    shown = table.assign(x=places[:, 0], y=places[:, 1]).sort_values(
        ["rating_count", "item_id"], ascending=[False, True]
    )
    rows = shown.head(MAX_MAP_ITEMS)
    genres = rows["genres"].fillna("").str.replace("|", ", ", regex=False).tolist()
    items = [
        MapItem(
            name, _shorten(text, _MAX_GENRES_TEXT), int(cluster), int(ratings), int(lists), x, y
        )
        for name, text, cluster, ratings, lists, x, y in zip(
            rows["name"].tolist(),
            genres,
            *(rows[column].tolist() for column in ("cluster", "rating_count", "lists")),
            *(rows[column].round(4).tolist() for column in ("x", "y")),
            strict=True,
        )
    ]
    return ItemMap(items, explained)


def project_items(embeddings: Float32Array) -> tuple[Float64Array, float]:
    """Coordinates [n_items, 2] on the two directions of most variance, and its share in them.

    Lengths are made 1 first, as neighbours are by angle: else a few much rated items take all the
    room, and the others lie on one point.
    """
    rows = embeddings.astype(np.float64)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    rows -= rows.mean(axis=0)
    values, vectors = np.linalg.eigh(rows.T @ rows)
    directions = vectors[:, ::-1][:, :2]
    # A direction's sign is arbitrary: fixed, so that two reports of one run are the same.
    strongest = np.abs(directions).argmax(axis=0)
    directions = directions * np.sign(directions[strongest, np.arange(directions.shape[1])])
    places = np.zeros((len(rows), 2))
    places[:, : directions.shape[1]] = rows @ directions
    total = float(values.sum())
    return places, float(values[::-1][:2].sum() / total) if total > 0 else 1.0


def _describe_clusters(table: pd.DataFrame) -> list[ClusterCard]:
    """The largest clusters."""
    titles = list_top_titles(table)
    genres = table["genres"].dropna().str.split("|").explode().to_frame()
    genres = genres[genres["genres"] != ""].join(table["cluster"])
    n_known = max(1, genres.index.nunique())
    overall = genres["genres"].value_counts() / n_known
    sizes = table.groupby("cluster").agg(items=("item_id", "size"), ratings=("rating_count", "sum"))
    largest = sizes.sort_values("items", ascending=False, kind="stable").head(MAX_CLUSTERS)
    names = _name_clusters(table)
    cards = []
    for cluster, n_items, n_ratings in largest.itertuples():
        own = genres[genres["cluster"] == cluster]
        shares = own["genres"].value_counts() / max(1, own.index.nunique())
        cards.append(
            ClusterCard(
                int(cluster),
                _shorten(names.get(cluster, f"Cluster {cluster}")),
                int(n_items),
                int(n_ratings),
                _lead_genres(shares, overall),
                [_shorten(title) for title in titles[cluster]],
            )
        )
    return cards


def _name_clusters(table: pd.DataFrame) -> dict[int, str]:
    """Empty for runs that did not name them."""
    if "cluster_name" not in table:
        return {}
    named = table.drop_duplicates("cluster")
    return dict(zip(named["cluster"].tolist(), named["cluster_name"].tolist(), strict=True))


def _lead_genres(shares: pd.Series, overall: pd.Series) -> list[GenreShare]:
    """The most over-represented genres of a cluster."""
    catalogue = dict(zip(overall.index.tolist(), overall.tolist(), strict=True))
    found = [
        GenreShare(_shorten(name), share, catalogue[name])
        for name, share in zip(shares.index.tolist(), shares.tolist(), strict=True)
        if share >= max(_LEADING_SHARE, catalogue[name])
    ]
    found.sort(key=lambda genre: (-genre.share / genre.catalogue_share, genre.name))
    return found[:_LEADING_GENRES]


# --- Left out, and changed ----------------------------------------------------------------------


def _list_excluded(excluded: pd.DataFrame) -> list[ExcludedReason]:
    ordered = excluded.sort_values(["kind", "ratings", "reason"], ascending=[True, False, True])
    return [
        ExcludedReason(
            kind, _shorten(reason), None if kind == "rows" else int(entries), int(ratings)
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
        return _rank_items(ordered.head(_MOVERS), counts.users.now)

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
        name if isinstance(name, str) else _shorten(item_id)
        for name, item_id in zip(known, items["item_id"].tolist(), strict=True)
    ]
    return items.assign(name=named)
