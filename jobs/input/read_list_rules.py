"""Read what the rules of lists name: items by id or file, and genres."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from jobs.errors import ConfigError, InputError
from jobs.input.files import InputFile, find_input
from jobs.input.formats import open_sources
from jobs.input.quarantine import parse_usable_id
from jobs.input.source import require_column
from jobs.settings.input import IdType, InputConfig
from jobs.settings.lists import ItemSet, RulesConfig
from recsys_core.items.genres import split_genres
from recsys_core.ranking.list_rules import EVERY_OTHER_GENRE


def read_item_set(
    spark: SparkSession, config: InputConfig, item_set: ItemSet, key: str, item_id_type: IdType
) -> tuple[list[Any], list[InputFile]]:
    """The ids of ``rules.allow`` or ``rules.block``, ascending, in the type of the item ids.

    Args:
        item_set: ids, or a file with the column ``input.item_columns.item``.
        key: of the setting, for messages.

    Raises:
        ConfigError: ids of another type than the items'.
        InputError: as ``read_items``; an id that does not parse, as half a list would be no rule.
    """
    if isinstance(item_set, str):
        files = find_input(spark, item_set, key)
        ids = _read_ids(spark, config, files, item_id_type, f"{key} = '{item_set}'")
        return sorted(set(ids)), files
    wanted = str if item_id_type == "string" else int
    for given in item_set:
        if type(given) is not wanted:
            raise ConfigError(
                f"{key} = [... {given!r} ...]: item ids are "
                f"{'text' if wanted is str else 'integers'} (input.item_id_type)"
            )
    return sorted(set(item_set)), []


def _read_ids(
    spark: SparkSession,
    config: InputConfig,
    files: Sequence[InputFile],
    item_id_type: IdType,
    label: str,
) -> list[Any]:
    name, parts = config.item_columns.item, []
    for source in open_sources(spark, config, files, multi_line=True):
        require_column(source, name, "input.item_columns.item")
        item_id = parse_usable_id(source, name, item_id_type, "item")
        parts.append(source.frame.select(item_id.alias("id")))
    ids = reduce(DataFrame.unionAll, parts).toArrow().column("id")
    if ids.null_count:
        raise InputError(
            f"{label}: {ids.null_count:,} of {len(ids):,} rows have no usable {item_id_type} id; "
            "mend the file"
        )
    return list(ids.to_pylist())


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
