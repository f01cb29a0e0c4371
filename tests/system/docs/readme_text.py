"""The README, and the commands of the settings that come with it, in pieces."""

import re
from functools import cache

from paths import CONF, ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@cache
def list_blocks() -> list[tuple[str, str]]:
    """The language and text of each code block."""
    return _BLOCK.findall(README)


@cache
def drop_blocks() -> str:
    """The README without its code blocks."""
    return _BLOCK.sub("", README)


@cache
def list_spans() -> list[str]:
    """What is set as code within the text."""
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", drop_blocks())]


@cache
def list_commands_of_settings() -> list[str]:
    """The commands at the head of files in ``conf/``, each on a line of its own."""
    command = re.compile(r"^# +(\./spark-submit\.sh .+)$", re.MULTILINE)
    files = sorted(CONF.glob("*.toml"))
    return [line for file in files for line in command.findall(file.read_text(encoding="utf-8"))]
