"""Files of the output path, wherever it is: what publishing needs of a storage.

Each operation is whole or not at all where the store can do that.
"""

import contextlib
import json
import re
from collections.abc import Mapping
from typing import Any, Protocol

LOCK_FILE = ".lock"
_TEMPORARY = re.compile(r"\.(.+)\.[0-9a-f]{32}")
"""Names that a file has until it is whole; what is left of one belongs to a dead writer."""


class Storage(Protocol):
    """Files below one root; every ``path`` is relative to it, with '/' between its parts."""

    root: str

    def uri(self, path: str) -> str:
        """What Spark reads and writes ``path`` by."""

    def check_writable(self) -> None:
        """Create the root and prove it can be written. MachineError where it cannot."""

    def require_own(self, *names: str) -> None:
        """MachineError where a directory of the root is a link: writes would leave the root."""

    def lock(self, holder: Mapping[str, Any]) -> contextlib.AbstractContextManager[None]:
        """Hold the root for one writer; released by the writer's death too.

        Raises:
            LockedError: somebody else holds it; says who, by their ``holder``.
        """

    def exists(self, path: str) -> bool: ...

    def is_directory(self, path: str) -> bool:
        """Whether it is a directory itself, and no link to one."""

    def list(self, path: str) -> list[str]:
        """Names below a directory, sorted; none where there is no such directory."""

    def read(self, path: str) -> bytes: ...

    def write(self, path: str, data: bytes) -> None:
        """Put a file in place whole, over what stood there; makes its directory."""

    def move(self, source: str, target: str) -> None:
        """Rename a directory; the target must not exist."""

    def delete(self, path: str) -> None:
        """Remove a file or a tree; nothing happens where there is none."""

    def point(self, link: str, target: str) -> None:
        """Make ``link`` lead to ``target`` in one step, where the store has links."""

    def pointee(self, link: str) -> str | None:
        """Where ``link`` leads; None where there is no such link or the store has none."""


def sweep_temporaries(storage: Storage, directory: str = "") -> None:
    """Remove what writers that died left of files they had not finished. Needs the lock."""
    for name in storage.list(directory):
        if _TEMPORARY.fullmatch(name):
            storage.delete(f"{directory}/{name}" if directory else name)


def describe_holder(root: str, written: bytes) -> str:
    """One line on who holds the lock, from what they wrote into it."""
    try:
        held = dict(json.loads(written))
    except (ValueError, TypeError):
        held = {}
    who = ", ".join(
        f"{key} {held[key]}" for key in ("run", "process", "host", "since") if key in held
    )
    return (
        f"output.path = '{root}' is in use by another run ({who or 'it has not said which'}); "
        "wait for it, or end it: its lock ends with it"
    )
