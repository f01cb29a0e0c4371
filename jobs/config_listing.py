"""The resolved settings as TOML, each with its description above it."""

import json
from collections.abc import Iterator

from jobs.config import Config, Section


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
        yield f"{name} = {json.dumps(value)}" if value is not None else f"# {name} is unset"
    for name, description, value in inner:
        yield ""
        yield f"# {description}"
        yield f"[{'.'.join((*path, name))}]"
        yield from _list_section(value, (*path, name))
