"""Settings as TOML: read from a file, every mistake told in one line; and listed as one."""

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import tomlkit
from pydantic import ValidationError
from pydantic_core import ErrorDetails
from tomlkit.items import Item, Table
from tomlkit.toml_document import TOMLDocument

from jobs.errors import ConfigError
from jobs.settings.base import Section
from jobs.settings.config import Config


def load_config(file: Path, overrides: Sequence[str] = ()) -> Config:
    """The settings of a TOML file with ``section.key=value`` overrides laid over them.

    Raises:
        ConfigError: names the file (or the override), the key, and what is allowed.
    """
    values = _read_toml(file)
    overridden = [_apply_override(values, override) for override in overrides]
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        problems = error.errors()
        message = _describe(problems[0], file, overridden)
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise ConfigError(message + more) from None


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{file}: no such configuration file") from None
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: not valid TOML: {error}") from None


def _apply_override(values: dict[str, Any], override: str) -> str:
    """Lay one ``section.key=value`` over ``values``; the dotted key."""
    dotted, equals, text = override.partition("=")
    keys = [key.strip() for key in dotted.split(".")]
    if not equals or len(keys) < 2 or not all(keys):
        raise ConfigError(f"--set {override}: expected section.key=value, as in score.k=20")
    section = values
    for key in keys[:-1]:
        inner = section.setdefault(key, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"--set {override}: '{key}' is a setting, not a section")
        section = inner
    section[keys[-1]] = _parse_value(text)
    return ".".join(keys)


def _parse_value(text: str) -> Any:
    """A TOML value where ``text`` is one, else ``text`` itself: quotes are optional on strings."""
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return parsed["value"] if list(parsed) == ["value"] else text


def _describe(problem: ErrorDetails, file: Path, overridden: Sequence[str]) -> str:
    """One line on one validation error."""
    location = [str(part) for part in problem["loc"]]
    key = ".".join(location)
    by_override = any(key == name or name.startswith(f"{key}.") for name in overridden)
    source = f"--set {key}" if by_override else f"{file}: {key}" if key else f"{file}"
    if problem["type"] == "extra_forbidden":
        return f"{source}: unknown key; {_allowed_keys(location)}"
    if problem["type"] == "missing":
        return f"{source}: missing; set it in the file or with --set {key}=..."
    message = problem["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    given = problem["input"]
    value = "" if isinstance(given, Mapping) else f" = {given!r}"
    return f"{source}{value}: {message}"


def _allowed_keys(location: Sequence[str]) -> str:
    section = _section_at(location[:-1])
    names = list(section.model_fields)
    close = difflib.get_close_matches(location[-1], names, n=1)
    hint = f"did you mean '{close[0]}'? " if close else ""
    return f"{hint}allowed: {', '.join(names)}"


def _section_at(location: Sequence[str]) -> type[Section]:
    section: type[Section] = Config
    for key in location:
        inner = section_type(section.model_fields[key].annotation)
        assert inner is not None
        section = inner
    return section


def section_type(annotation: Any) -> type[Section] | None:
    """The section class behind a field's annotation; None for a plain setting."""
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, Section):
            return candidate
    return None


def list_settings(section: Section) -> str:
    """TOML that, saved to a file, is the same section: each setting below its description."""
    document = tomlkit.document()
    _add_settings(document, section)
    return tomlkit.dumps(document)


def _add_settings(table: TOMLDocument | Table, section: Section) -> None:
    inner = []
    for name, field in type(section).model_fields.items():
        value, description = getattr(section, name), tomlkit.comment(field.description or "")
        if isinstance(value, Section):
            inner.append((name, description, value))
            continue
        table.add(description)
        if value is None:
            table.add(tomlkit.comment(f"{name} is unset"))
        else:
            table.add(name, _to_item(value))
    for name, description, value in inner:
        table.add(tomlkit.nl())
        table.add(description)
        below = tomlkit.table()
        _add_settings(below, value)
        table.add(name, below)
        below.trivia.indent = ""  # else a line is left free below the description


def _to_item(value: Any) -> Item:
    """Groups become inline tables, without what is unset."""
    if isinstance(value, Section):
        value = value.model_dump(exclude_defaults=True)
    if not isinstance(value, dict):
        item: Item = tomlkit.item(value)
        return item
    table = tomlkit.inline_table()
    for key, inner in value.items():
        table.add(key, _to_item(inner))
    return table
