"""The resolved settings as TOML, each with its description above it."""

import json
import re
from collections.abc import Iterator
from typing import Any

from jobs.settings.config import Config, Section


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
