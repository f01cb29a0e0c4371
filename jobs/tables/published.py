"""Every published table, once: its name, its key and its columns."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TableColumn:
    """A published column. ``type`` is Spark DDL; None for ids, which keep the caller's type."""

    name: str
    type: str | None
    comment: str


@dataclass(frozen=True)
class Table:
    """A published table: ``key`` columns identify a row, ``columns`` are in their file order."""

    name: str
    key: tuple[str, ...]
    columns: tuple[TableColumn, ...]


RECOMMENDATIONS = Table(
    "recommendations",
    ("user_id", "rank"),
    (
        TableColumn("user_id", None, "User id, as in the input."),
        TableColumn("rank", "int", "Place in the user's list; 1 is the best."),
        TableColumn("item_id", None, "Item id, as in the input; never one the user has rated."),
        TableColumn("score", "float", "Model score, or number of ratings; comparable in a list."),
        TableColumn("source", "string", "What made the row: 'model' or 'popularity'."),
    ),
)

TITLED_RECOMMENDATIONS = Table(
    RECOMMENDATIONS.name,
    RECOMMENDATIONS.key,
    (
        *RECOMMENDATIONS.columns,
        TableColumn("title", "string", "Title; null where the items file has none."),
    ),
)
"""The same table where ``publish.titles`` is set."""

ITEM_CLUSTERS = Table(
    "item_clusters",
    ("item_id",),
    (
        TableColumn("item_id", None, "Item id, as in the input."),
        TableColumn("title", "string", "Title; null where the items file has none."),
        TableColumn("genres", "string", "Genres separated by '|'; null where there are none."),
        TableColumn("cluster", "int", "Cluster label, at least 0; kept from run to run."),
        TableColumn(
            "cluster_name",
            "string",
            "Genres that set it apart, and a well-known title at its centre.",
        ),
        TableColumn(
            "distance",
            "double",
            "Euclidean distance to the cluster's centroid; with cluster.metric cosine of factors "
            "scaled to length one, so at most 2.",
        ),
        TableColumn("rating_count", "bigint", "Ratings of the item after cleaning."),
        TableColumn("mean_rating", "double", "Mean of those, in rating units; null without any."),
    ),
)

SIMILAR_ITEMS = Table(
    "similar_items",
    ("item_id", "rank"),
    (
        TableColumn("item_id", None, "Item id, as in the input."),
        TableColumn("rank", "int", "Place among the item's neighbours; 1 is the nearest."),
        TableColumn("similar_item_id", None, "The neighbour's item id."),
        TableColumn(
            "similarity",
            "float",
            "Cosine of the two items' factors, -1 to 1; of a model with weights between items, "
            "what the similar one adds to the item's score, above 0.",
        ),
    ),
)

USER_FACTORS = Table(
    "user_factors",
    ("user_id",),
    (
        TableColumn("user_id", None, "User id, as in the input."),
        TableColumn("factors", "array<float>", "Score = inner product with the item's factors."),
    ),
)

ITEM_FACTORS = Table(
    "item_factors",
    ("item_id",),
    (
        TableColumn("item_id", None, "Item id, as in the input."),
        TableColumn("factors", "array<float>", "Bias terms, where the model has any, come last."),
    ),
)

SCORED_USERS = Table(
    "scored_users",
    ("user_id",),
    (
        TableColumn("user_id", None, "User id, as in the input."),
        TableColumn("rating_count", "bigint", "Ratings the user was folded in from."),
        TableColumn("ratings_hash", "bigint", "Of those; comparable in runs of one model."),
    ),
)

RECENT_RATINGS = Table(
    "recent_ratings",
    ("user_id", "place"),
    (
        TableColumn("user_id", None, "User id, as in the input."),
        TableColumn("place", "int", "1 is the latest; the highest where ratings have no time."),
        TableColumn("item_id", None, "Item id, as in the input; also one that is not in the run."),
        TableColumn("title", "string", "Title; null where the items file has none."),
        TableColumn("rating", "double", "The rating that counts, in rating units."),
        TableColumn("timestamp", "bigint", "Seconds since 1970; null where the input has none."),
    ),
)
MAX_SAMPLED_USERS = 1_000
"""Users whom ``RECENT_RATINGS`` and the report show: of those with a list, the ones whose ids have
the lowest checksums."""
MAX_RECENT_RATINGS = 10
"""Rows of each of them in ``RECENT_RATINGS``."""

EXCLUDED = Table(
    "excluded",
    ("kind", "id", "reason"),
    (
        TableColumn("kind", "string", "'user', 'item', or 'rows': input rows, by reason."),
        TableColumn("id", "string", "The user's or item's id, as text; null for 'rows'."),
        TableColumn("reason", "string", "Why it is not in the run."),
        TableColumn("rating_count", "bigint", "Its valid, distinct ratings; or the rows lost."),
    ),
)

EVALUATION = Table(
    "evaluation",
    ("model", "metric", "k"),
    (
        TableColumn("model", "string", "Model, or baseline: 'popularity', 'item_mean'."),
        TableColumn(
            "metric", "string", "Such as ndcg, of what was liked alone liked_ndcg, or rmse."
        ),
        TableColumn("k", "int", "Length of the lists; null for metrics of predictions."),
        TableColumn("value", "double", "Over all users measured."),
        TableColumn("low", "double", "Lower end of the 95% bootstrap interval over users."),
        TableColumn("high", "double", "Upper end; null for coverage and gini, no means of users."),
    ),
)

QUARANTINE = Table(
    "quarantine",
    (),
    (
        TableColumn("raw", "string", "The row as it was read."),
        TableColumn("file", "string", "The file it came from."),
        TableColumn("reason", "string", "Why it was refused."),
    ),
)
