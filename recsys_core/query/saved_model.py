"""A trained model as bytes: arrays in safetensors, everything else in JSON, no code in either.

``model.json`` holds the sha256 of ``model.safetensors``; the run's manifest holds those of both.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from recsys_core.errors import ModelFormatError
from recsys_core.items.catalog import ExcludedItem, ItemCatalog
from recsys_core.items.index import ItemIndex
from recsys_core.model_form.item_model import ItemModel
from recsys_core.models.registry import MODELS

FORMAT = "recsys-nightly-model"
VERSION = 1
ARRAYS_FILE = "model.safetensors"
FACTS_FILE = "model.json"
FILES = (ARRAYS_FILE, FACTS_FILE)


_FACTORS = "factors."
"""Prefix of the model's own arrays, apart from the catalog's."""


@dataclass(frozen=True)
class SavedModel:
    """A model, its items, and plain facts about its training."""

    model: ItemModel
    catalog: ItemCatalog
    facts: dict[str, Any]
    """JSON data: run id, settings, rating range, losses, figures."""


def encode_model(saved: SavedModel) -> dict[str, bytes]:
    """The contents of ``FILES``. Equal models give equal bytes."""
    catalog = saved.catalog
    arrays = {f"{_FACTORS}{name}": array for name, array in saved.model.to_arrays().items()}
    arrays["rating_count"] = catalog.rating_count
    arrays["mean_rating"] = catalog.mean_rating
    ids_are_text = catalog.item_ids.dtype == object
    if not ids_are_text:
        arrays["item_ids"] = catalog.item_ids
    tensors = save({name: np.ascontiguousarray(array) for name, array in sorted(arrays.items())})
    facts = {
        "format": FORMAT,
        "version": VERSION,
        "kind": saved.model.kind,
        "arrays_sha256": hashlib.sha256(tensors).hexdigest(),
        "item_ids": catalog.item_ids.tolist() if ids_are_text else None,
        "titles": catalog.titles,
        "genres": catalog.genres,
        "excluded_items": [vars(item) for item in catalog.excluded],
        "facts": saved.facts,
    }
    text = json.dumps(facts, ensure_ascii=False, allow_nan=False, indent=1)
    return {ARRAYS_FILE: tensors, FACTS_FILE: text.encode()}


def decode_model(files: Mapping[str, bytes]) -> SavedModel:
    """The model of ``encode_model``'s bytes.

    Raises:
        ModelFormatError: damaged, truncated, of another program, or of a newer version; the message
            begins with the file's name.
    """
    facts = _read_facts(files[FACTS_FILE])
    tensors = files[ARRAYS_FILE]
    if hashlib.sha256(tensors).hexdigest() != facts.get("arrays_sha256"):
        raise ModelFormatError(f"{ARRAYS_FILE}: damaged: its sha256 is not the one in {FACTS_FILE}")
    try:
        arrays = load(tensors)
        return _assemble(facts, arrays)
    except (SafetensorError, KeyError, ValueError, TypeError, IndexError) as error:
        raise ModelFormatError(f"{FACTS_FILE}: does not describe a whole model: {error}") from None


def _read_facts(data: bytes) -> dict[str, Any]:
    try:
        facts = json.loads(data)
    except (ValueError, RecursionError):
        raise ModelFormatError(f"{FACTS_FILE}: damaged: not valid JSON") from None
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        raise ModelFormatError(
            f"{FACTS_FILE}: not a model of this program (format is not '{FORMAT}')"
        )
    version = facts.get("version")
    if type(version) is not int or version != VERSION:  # JSON's true equals 1
        raise ModelFormatError(
            f"{FACTS_FILE}: format version {version!r}, this program reads {VERSION}; "
            "use the release that wrote the model, or train again"
        )
    kind = facts.get("kind")
    if not isinstance(kind, str) or kind not in MODELS:
        raise ModelFormatError(f"{FACTS_FILE}: unknown model {kind!r}; known: {', '.join(MODELS)}")
    return facts


def _assemble(facts: dict[str, Any], arrays: dict[str, Any]) -> SavedModel:
    own = {
        name.removeprefix(_FACTORS): array
        for name, array in arrays.items()
        if name.startswith(_FACTORS)
    }
    model = MODELS[facts["kind"]].model.from_arrays(own)
    ids = facts["item_ids"]
    item_ids = arrays["item_ids"] if ids is None else np.array(ids, dtype=object)
    catalog = ItemCatalog(
        ItemIndex(item_ids),
        _texts(facts, "titles"),
        _texts(facts, "genres"),
        arrays["rating_count"],
        arrays["mean_rating"],
        [ExcludedItem(**item) for item in facts["excluded_items"]],
    )
    _require_sizes(model, catalog)
    return SavedModel(model, catalog, dict(facts["facts"]))


def _texts(facts: dict[str, Any], name: str) -> list[str | None]:
    texts = facts[name]
    if not isinstance(texts, list) or not all(
        isinstance(text, (str, type(None))) for text in texts
    ):
        raise ValueError(f"{name} are not a list of texts")
    return texts


def _require_sizes(model: ItemModel, catalog: ItemCatalog) -> None:
    n_items = len(model.item_factors)
    if model.item_factors.ndim != 2:
        raise ValueError(f"item factors have {model.item_factors.ndim} dimensions, expected 2")
    if model.count_not_finite():
        raise ValueError("item factors or weights are not finite")
    for name in ("index", "titles", "genres", "rating_count", "mean_rating"):
        if len(getattr(catalog, name)) != n_items:
            raise ValueError(f"{len(getattr(catalog, name))} {name} for {n_items} item factors")
