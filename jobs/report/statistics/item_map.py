"""The items on the plane of most variance of their factors."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from jobs.report.statistics.limits import shorten
from recsys_core.arrays import Float32Array, Float64Array

MAX_MAP_ITEMS = 2_000
_MAX_GENRES_TEXT = 40


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


def draw_map(table: pd.DataFrame, embeddings: Float32Array) -> ItemMap:
    """The most rated items on the plane of ``project_items``."""
    places, explained = project_items(embeddings)
    shown = table.assign(x=places[:, 0], y=places[:, 1]).sort_values(
        ["rating_count", "item_id"], ascending=[False, True]
    )
    rows = shown.head(MAX_MAP_ITEMS)
    genres = rows["genres"].fillna("").str.replace("|", ", ", regex=False).tolist()
    items = [
        MapItem(name, shorten(text, _MAX_GENRES_TEXT), int(cluster), int(ratings), int(lists), x, y)
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
