"""What lists may hold: the rules of ``rules.*`` in terms of this night's items."""

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np

from jobs.errors import InputError
from jobs.input.read_list_rules import RuleInput
from jobs.settings.lists import RulesConfig
from recsys_core.arrays import Float32Array, Int32Array
from recsys_core.items.catalog import ItemCatalog
from recsys_core.ranking.list_rules import ListRules, group_items

logger = logging.getLogger(__name__)


def find_allowed(named: RuleInput, catalog: ItemCatalog) -> Int32Array | None:
    """Indices of the items that may be recommended, ascending; None where all may.

    Raises:
        InputError: none may.
    """
    if named.allow is None and not named.block:
        return None
    is_allowed = np.full(len(catalog), named.allow is None)
    for key, ids, allows in (("allow", named.allow or [], True), ("block", named.block, False)):
        is_allowed[_find_items(key, ids, catalog)] = allows
    if not is_allowed.any():
        raise InputError(
            f"rules.allow and rules.block leave none of the {len(catalog):,} items to recommend"
        )
    return np.flatnonzero(is_allowed).astype(np.int32)


def _find_items(key: str, ids: list[Any], catalog: ItemCatalog) -> list[int]:
    """The indices of the ids that are items of this run; says how many are not."""
    found = [catalog.index.get(item_id) for item_id in ids]
    if None in found:
        logger.info(
            "rules.%s: %s of %s ids are not among the items of this run",
            key,
            f"{found.count(None):,}",
            f"{len(found):,}",
        )
    return [item for item in found if item is not None]


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
        embeddings: [n_items, n_factors] ``ItemModel.item_embeddings``.
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
