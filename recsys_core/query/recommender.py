"""One user's list without Spark: the same fold-in and the same ranking as the nightly job.

from recsys_core.query.recommender import recommend

recommend({"Toy Story (1995)": 5, "Heat (1995)": 3.5}, model, k=10)
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from scipy.sparse import csr_matrix

from recsys_core.arrays import Csr, Float64Array
from recsys_core.errors import QueryError
from recsys_core.items.titles import TitleIndex
from recsys_core.query.saved_model import SavedModel
from recsys_core.ranking.exact_order import order_by_score
from recsys_core.ranking.model_scorer import ModelScorer
from recsys_core.ranking.similarity import rank_neighbours

ItemKey: TypeAlias = str | int
"""How a query names an item: its id, or its title."""


@dataclass(frozen=True)
class Contribution:
    """How much one of the user's own ratings adds to a recommendation's score."""

    item_id: ItemKey
    title: str | None
    rating: float
    amount: float


@dataclass(frozen=True)
class Recommendation:
    """One item of a list."""

    rank: int
    item_id: ItemKey
    title: str | None
    score: float
    because: list[Contribution] = field(default_factory=list)


@dataclass(frozen=True)
class ResolvedQuery:
    """A query in the model's terms, and what could not be used."""

    ratings: dict[int, float]
    """item_index -> rating, in order of item_index."""
    ignored: list[str]
    """A line for each rating that was left out, with the reason."""


def recommend(
    query: Mapping[Any, float], model: SavedModel, k: int = 10, *, explain: bool = False
) -> list[Recommendation]:
    """The k best unseen items for somebody with these ratings.

    Args:
        query: ratings by item id or title (``ItemKey``).
        model: of ``recsys_core.query.saved_model.decode_model``, or of
            ``jobs.runs.model_files.load_model``.
        k: length of the list, at least 1.
        explain: say for each item which ratings brought it up, by ``explain_scores``.

    Raises:
        QueryError: k < 1, a rating out of range, a title that several items have, or nothing left
            to recommend from. Items the model does not know are passed over; ``resolve_query``
            names them.
    """
    return recommend_resolved(resolve_query(query, model), model, k, explain=explain)


def recommend_resolved(
    query: ResolvedQuery, model: SavedModel, k: int, *, explain: bool = False
) -> list[Recommendation]:
    """``recommend`` for a query whose items are found already."""
    if k < 1:
        raise QueryError(f"k = {k}: must be at least 1")
    if not query.ratings:
        reasons = f": {'; '.join(query.ignored)}" if query.ignored else ""
        raise QueryError(f"the query holds no rating of an item this model knows{reasons}")
    catalog = model.catalog
    ratings = to_row(query.ratings, len(catalog))
    ranked = ModelScorer(model.model, k).rank(model.model.fold(ratings))
    items = ranked.item_index.tolist()
    because: list[list[Contribution]] = [[] for _ in items]
    if explain:
        because = explain_scores(items, ratings, model)
    return [
        Recommendation(rank, catalog.id_at(item), catalog.titles[item], score, reasons)
        for rank, (item, score, reasons) in enumerate(
            zip(items, ranked.score.tolist(), because, strict=True), 1
        )
    ]


def to_row(ratings: Mapping[int, float], n_items: int) -> Csr:
    """CSR float32 [1, n_items] of ratings by item_index."""
    items = sorted(ratings)
    values = np.array([ratings[item] for item in items], dtype=np.float32)
    return csr_matrix((values, items, [0, len(items)]), shape=(1, n_items))


def resolve_query(query: Mapping[Any, float], model: SavedModel) -> ResolvedQuery:
    """Find the items of a query.

    Raises:
        QueryError: a rating that is not a number in the model's range, a title that several items
            have, or two entries for one item.
    """
    titles = TitleIndex(model.catalog.titles)
    found: dict[int, float] = {}
    ignored: list[ItemKey] = []
    for key, rating in query.items():
        value = _check_rating(key, rating, model)
        item = find_item(key, model, titles)
        if item is None:
            ignored.append(key)
        elif item in found:
            raise QueryError(f"'{key}' is rated twice in the query")
        else:
            found[item] = value
    return ResolvedQuery(dict(sorted(found.items())), explain_unknown(ignored, model))


def _check_rating(key: ItemKey, rating: Any, model: SavedModel) -> float:
    low, high = model.facts["rating_range"]
    is_number = isinstance(rating, (int, float)) and not isinstance(rating, bool)
    if not is_number or not low <= rating <= high:
        raise QueryError(f"'{key}': rating {rating!r} is not a number from {low:g} to {high:g}")
    return float(rating)


def find_item(key: ItemKey, model: SavedModel, titles: TitleIndex) -> int | None:
    """The item_index of an id or title; None where the model has no such item.

    Raises:
        QueryError: several items have the title; it lists them.
    """
    index = model.catalog.index
    if (item := index.get(key)) is not None:
        return item
    text = str(key)
    if index.item_ids.dtype != object and re.fullmatch(r"-?[0-9]{1,19}", text):
        return index.get(int(text))  # JSON knows only text as keys
    candidates = titles.find(text)
    if len(candidates) > 1:
        names = ", ".join(
            f"{model.catalog.titles[item]} [{index.item_ids[item]}]" for item in candidates[:10]
        )
        more = f" and {len(candidates) - 10} more" if len(candidates) > 10 else ""
        raise QueryError(f"'{key}' may be any of: {names}{more}; give the id or the whole title")
    return candidates[0] if candidates else None


def explain_unknown(keys: Sequence[ItemKey], model: SavedModel) -> list[str]:
    """Why the model does not hold these ids or titles, a line each."""
    if not keys:
        return []
    excluded = model.catalog.excluded
    by_id = {str(item.item_id): item for item in excluded}
    titles = TitleIndex([item.title for item in excluded])
    lines = []
    for key in keys:
        item = by_id.get(str(key))
        if item is None and (candidates := titles.find(str(key))):
            item = excluded[candidates[0]]
        if item is None:
            lines.append(f"'{key}' is not an item of this model")
            continue
        name = f"'{key}'" if item.title in (None, key) else f"'{key}' ({item.title})"
        lines.append(
            f"{name} was left out of the model: {item.reason} (it has {item.rating_count})"
        )
    return lines


def explain_scores(
    items: Sequence[int], ratings: Csr, model: SavedModel
) -> list[list[Contribution]]:
    """For each item, the user's ratings by how much they add to its score, the largest first.

    A contribution is what the score would lose without that rating, all others kept. Of the sparse
    part it is read off the weights, for the low-rank part the fold-in is repeated without it.

    Args:
        items: item indices to explain.
        ratings: CSR [1, n_items], the user's row.
    """
    amounts = _explain_factors(items, ratings, model) + _explain_weights(items, ratings, model)
    catalog = model.catalog
    indices, values = ratings.indices.tolist(), ratings.data.tolist()

    def contribution(at: int, amount: float) -> Contribution:
        item = indices[at]
        return Contribution(catalog.id_at(item), catalog.titles[item], values[at], amount)

    return [
        [contribution(at, float(row[at])) for at in order_by_score(row).tolist()] for row in amounts
    ]


def _explain_factors(items: Sequence[int], ratings: Csr, model: SavedModel) -> Float64Array:
    """Float64 [n_explained, n_ratings]: what each rating adds by the low-rank part."""
    factors = model.model.item_factors[items].astype(np.float64)  # [n_explained, n_columns]
    whole = factors @ model.model.fold_in(ratings)[0].astype(np.float64)
    others = model.model.fold_in(_leave_one_out(ratings)).astype(np.float64)
    amounts: Float64Array = whole[:, None] - factors @ others.T
    return amounts


def _explain_weights(items: Sequence[int], ratings: Csr, model: SavedModel) -> Float64Array:
    """Float64 [n_explained, n_ratings]: x~_i S_ij of each rating i and item j."""
    weights = model.model.item_weights
    if weights is None:
        return np.zeros((len(items), ratings.nnz))
    wide = weights.weigh(ratings).toarray()[0].astype(np.float64)[ratings.indices]
    between = weights.by_target[items][:, ratings.indices].toarray()
    amounts: Float64Array = between.astype(np.float64) * wide
    return amounts


def _leave_one_out(ratings: Csr) -> Csr:
    """For one row of n ratings, n rows of n - 1: row i lacks the i-th."""
    n = ratings.nnz
    keep = ~np.eye(n, dtype=bool)
    items = np.broadcast_to(ratings.indices, (n, n))[keep]
    values = np.broadcast_to(ratings.data, (n, n))[keep]
    return csr_matrix((values, items, np.arange(n + 1) * (n - 1)), shape=(n, ratings.shape[1]))


@dataclass(frozen=True)
class SimilarItem:
    """A neighbour of an item."""

    rank: int
    item_id: ItemKey
    title: str | None
    similarity: float


def find_similar(key: ItemKey, model: SavedModel, k: int = 10) -> list[SimilarItem]:
    """The k items nearest to one: see ``recsys_core.ranking.similarity.rank_neighbours``.

    Raises:
        QueryError: k < 1, or an item that is not known or not unique.
    """
    if k < 1:
        raise QueryError(f"k = {k}: must be at least 1")
    item = find_item(key, model, TitleIndex(model.catalog.titles))
    if item is None:
        raise QueryError(explain_unknown([key], model)[0])
    ranked = rank_neighbours(model.model, k, items=np.array([item]))
    return [
        SimilarItem(rank, model.catalog.id_at(other), model.catalog.titles[other], similarity)
        for rank, (other, similarity) in enumerate(
            zip(ranked.item_index.tolist(), ranked.score.tolist(), strict=True), 1
        )
    ]


def reconstruct(ratings: Csr, model: SavedModel) -> Float64Array:
    """Scores float64 [n_items] of one user's ratings, CSR [1, n_items]; seen items included."""
    scorer = ModelScorer(model.model, 1)
    return scorer.score_places(model.model.fold(ratings), np.arange(model.model.n_items))
