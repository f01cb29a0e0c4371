"""Settings as TOML: read from a file, every mistake told in one line; and listed as one."""

import difflib
import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails

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


def list_settings(config: Config) -> Iterator[str]:
    """Lines that, saved to a file, are the same configuration."""
    yield from _list_section(config, ())


def _list_section(section: Section, path: tuple[str, ...]) -> Iterator[str]:
    inner = []
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, Section):
            inner.append((name, field.description, value))
            continue
        yield f"# {field.description}"
        yield f"{name} = {_to_toml(value)}" if value is not None else f"# {name} is unset"
    for name, description, value in inner:
        yield ""
        yield f"# {description}"
        yield f"[{'.'.join((*path, name))}]"
        yield from _list_section(value, (*path, name))


def _to_toml(value: Any) -> str:
    """A value as TOML writes it; groups as inline tables, without what is unset."""
    if isinstance(value, Section):
        return _to_toml(value.model_dump(exclude_defaults=True))
    if isinstance(value, dict):
        pairs = (f"{_to_key(key)} = {_to_toml(inner)}" for key, inner in value.items())
        return "{" + ", ".join(pairs) + "}"
    return json.dumps(value)


def _to_key(key: str) -> str:
    return key if re.fullmatch("[A-Za-z0-9_-]+", key) else json.dumps(key)
