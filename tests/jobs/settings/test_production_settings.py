"""``conf/nightly.toml`` shows every setting, set or as a comment with its real default."""

import re
import tomllib
from collections.abc import Iterator
from functools import reduce
from typing import Any, get_origin

import pytest
from paths import ROOT

from jobs.settings.base import Section
from jobs.settings.config import Config
from jobs.settings.toml import load_config, section_type

FILE = ROOT / "conf" / "nightly.toml"
TEXT = FILE.read_text(encoding="utf-8")
COMMENTED = re.compile(r"^# (?=\[[a-z_.]+\]|[a-z_0-9]+ = )", re.MULTILINE)
ENTRY = re.compile(r"^(# )?(?:\[([a-z_.]+)\]|([a-z_0-9]+) = .*?)( +# .+)?$")


def list_keys(section: type[Section], path: tuple[str, ...] = ()) -> Iterator[str]:
    """Every setting with its sections, in the order of ``config``: first a section's own."""
    inner = []
    for name, field in section.model_fields.items():
        below = section_type(field.annotation)
        key = ".".join((*path, name))
        if below is None:
            yield key
        elif get_origin(field.annotation) is dict:  # what `tune` searches: one setting, and a table
            TABLES.add(key)
            inner.append([key])
        else:
            inner.append([*list_keys(below, (*path, name))])
    for keys in inner:
        yield from keys


TABLES: set[str] = set()
KEYS = [*list_keys(Config)]


def list_entries() -> Iterator[tuple[str, bool, str]]:
    """Each setting of the file in its order: name, whether it is set, and its comment."""
    section = ""
    for line in TEXT.splitlines():
        found = ENTRY.match(line)
        if found is None:
            continue
        commented, header, key, comment = found.groups()
        section = header or section
        if header in TABLES:
            yield header, not commented, comment or ""
        elif key and section not in TABLES:
            yield f"{section}.{key}", not commented, comment or ""


ENTRIES = [*list_entries()]


def value_of(config: Any, key: str) -> Any:
    return reduce(getattr, key.split("."), config)


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """The file with every comment that is a setting taken at its word."""
    file = tmp_path_factory.mktemp("conf") / "everything.toml"
    file.write_text(COMMENTED.sub("", TEXT), encoding="utf-8")
    return load_config(file)


def test_every_setting_is_there_once_in_the_order_of_the_model() -> None:
    shown = [key for key, _, _ in ENTRIES]
    assert set(KEYS) - set(shown) == set(), "conf/nightly.toml lacks settings of jobs/settings"
    assert set(shown) - set(KEYS) == set(), "conf/nightly.toml has what is no setting"
    assert shown == KEYS


def test_with_all_comments_taken_away_it_is_a_configuration(everything: Config) -> None:
    unset = [key for key, is_set, comment in ENTRIES if not is_set and "unset" in comment]
    assert len(unset) > 3
    assert [key for key in unset if value_of(everything, key) is None] == []


def test_the_defaults_that_are_shown_are_the_real_ones(everything: Config) -> None:
    required = {"input": {"ratings": "any"}, "output": {"path": "any"}}
    defaults = Config.model_validate(required)
    for key, is_set, comment in ENTRIES:
        if is_set:
            continue
        default = value_of(defaults, key)
        if default is None:
            assert comment.strip().startswith("# unset: "), (
                f"{key} has no default: say what unset means"
            )
        else:
            assert value_of(everything, key) == default, key
            assert "unset" not in comment, key


def test_a_comment_says_what_each_default_is_for() -> None:
    shown = [(key, comment) for key, is_set, comment in ENTRIES if not is_set]
    assert [key for key, comment in shown if key not in TABLES and len(comment) < 10] == []


def test_what_is_set_is_what_is_read() -> None:
    values = tomllib.loads(TEXT)
    for key, is_set, _ in ENTRIES:
        found = reduce(lambda table, name: (table or {}).get(name), key.split("."), values)
        assert (found is not None) == is_set, key
