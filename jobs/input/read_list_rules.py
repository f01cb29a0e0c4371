"""Read what the rules of lists name: items by id or file, and genres."""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.errors import ConfigError, InputError
from jobs.input.files import InputFile
from jobs.input.formats import find_input, open_sources, require_column
from jobs.input.quarantine import parse_id
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
    wanted = str if item_id_type == "string" else int
    if not isinstance(item_set, str):
        for given in item_set:
            if type(given) is not wanted:
                raise ConfigError(
                    f"{key} = [... {given!r} ...]: item ids are "
                    f"{'text' if wanted is str else 'integers'} (input.item_id_type)"
                )
        return sorted(set(item_set)), []
    files = find_input(spark, item_set, key)
    parts = []
    for source in open_sources(spark, config, files, multi_line=True):
        require_column(source, config.item_columns.item, "input.item_columns.item")
        item_id, refusal = parse_id(source, config.item_columns.item, item_id_type, "item")
        parts.append(
            source.frame.select(F.when(~source.malformed & refusal.isNull(), item_id).alias("id"))
        )
    ids = reduce(DataFrame.unionAll, parts).toArrow().column("id")
    if ids.null_count:
        raise InputError(
            f"{key} = '{item_set}': {ids.null_count:,} of {len(ids):,} rows have no usable "
            f"{item_id_type} id; mend the file"
        )
    return sorted(set(ids.to_pylist())), files


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
