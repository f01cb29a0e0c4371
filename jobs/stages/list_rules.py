"""The business rules of ``rules.*`` in terms of this night's items."""

import difflib
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pyspark.sql import SparkSession

from jobs.errors import ConfigError, InputError
from jobs.input.files import InputFile
from jobs.input.read_ratings import read_item_set
from jobs.settings.config import IdType, InputConfig, RulesConfig
from recsys_core.arrays import Float32Array, Int32Array
from recsys_core.items.genres import split_genres
from recsys_core.query.saved_model import ItemCatalog
from recsys_core.ranking.list_rules import EVERY_OTHER_GENRE, ListRules, group_items

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RuleInput:
    """What the rules name, as read; all of it before anything is trained."""

    allow: list[Any] | None = None
    """Item ids; None where all items are allowed."""
    block: list[Any] = field(default_factory=list)
    files: list[InputFile] = field(default_factory=list)


def read_rules(
    spark: SparkSession,
    config: InputConfig,
    rules: RulesConfig,
    genres: Iterable[str | None],
    item_id_type: IdType,
) -> RuleInput:
    """Read the files of the rules, and hold genre caps to the genres there are.

    Args:
        genres: of the items file, separated by '|'.

    Raises:
        ConfigError: a capped genre that no item has; ids of another type than the items'.
        InputError: a file of ids that cannot be used as a whole.
    """
    _require_genres(rules.genre_caps, genres)
    allow: list[Any] | None = None
    block: list[Any] = []
    files: list[InputFile] = []
    if rules.allow is not None:
        allow, read = read_item_set(spark, config, rules.allow, "rules.allow", item_id_type)
        files += read
    if rules.block is not None:
        block, read = read_item_set(spark, config, rules.block, "rules.block", item_id_type)
        files += read
    return RuleInput(allow, block, files)


def _require_genres(caps: Mapping[str, int], genres: Iterable[str | None]) -> None:
    if not caps:
        return
    known = sorted({name for text in genres for name in split_genres(text)})
    if not known:
        raise ConfigError(
            "rules.genre_caps is set, but no item has genres: give input.items a column of them "
            "(input.item_columns.genres)"
        )
    for name in caps:
        if name not in known and name != EVERY_OTHER_GENRE:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean '{close[0]}'? " if close else ""
            raise ConfigError(
                f"rules.genre_caps: no item has the genre '{name}'; {hint}there are: "
                f"{', '.join(known)}"
            )


def find_allowed(named: RuleInput, catalog: ItemCatalog) -> Int32Array | None:
    """Indices of the items that may be recommended, ascending; None where all may.

    Raises:
        InputError: none may.
    """
    if named.allow is None and not named.block:
        return None
    is_allowed = np.full(len(catalog), named.allow is None)
    for key, ids, allows in (("allow", named.allow or [], True), ("block", named.block, False)):
        found = [catalog.index.get(item_id) for item_id in ids]
        is_allowed[[item for item in found if item is not None]] = allows
        if None in found:
            logger.info(
                "rules.%s: %s of %s ids are not among the items of this run",
                key,
                f"{found.count(None):,}",
                f"{len(found):,}",
            )
    if not is_allowed.any():
        raise InputError(
            f"rules.allow and rules.block leave none of the {len(catalog):,} items to recommend"
        )
    return np.flatnonzero(is_allowed).astype(np.int32)


def make_rules(
    config: RulesConfig,
    k: int,
    allowed: Int32Array | None,
    catalog: ItemCatalog,
    cluster: Int32Array,
    embeddings: Float32Array,
) -> ListRules | None:
    """The rules as scoring takes them; None where there are none.

    Args:
        allowed: from ``find_allowed``.
        cluster: [n_items] labels.
        embeddings: [n_items, n_factors] ``FactorModel.item_embeddings``.
    """
    if not config.are_set:
        return None
    is_diverse = config.diversity > 0
    return ListRules(
        group_items(catalog.genres, config.genre_caps, cluster, config.cap_clusters(k)),
        allowed=allowed,
        min_score=-np.inf if config.min_score is None else config.min_score,
        diversity=config.diversity,
        pool=config.diversity_pool if is_diverse else 0,
        embeddings=embeddings if is_diverse else None,
    )


def describe_rules(
    rules: ListRules | None, named: RuleInput, effects: Mapping[str, int] | None
) -> dict[str, Any] | None:
    """What the rules did, for manifest and log; None where there are none."""
    if rules is None or effects is None:
        return None
    logger.info(
        "rules: %s of %s items allowed; %s",
        f"{rules.count_allowed():,}",
        f"{rules.groups.n_items:,}",
        ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in effects.items()),
    )
    return {
        "allowed_items": rules.count_allowed(),
        "allow_ids": None if named.allow is None else len(named.allow),
        "block_ids": len(named.block),
        **effects,
    }
