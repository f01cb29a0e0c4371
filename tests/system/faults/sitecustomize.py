"""Faults in the Python workers of a cluster, without a hook in the product.

Python imports this module at its start where its directory is on PYTHONPATH. What it does is named
by NIGHT_FAULT: nothing, or something at the moment a worker begins to score a partition. What
happened is left in NIGHT_FAULT_DIR, for the test to see that it did.
"""

import importlib.machinery
import json
import os
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

TARGET = "jobs.stages.score"
WAIT_SECONDS = 120


class Finder(MetaPathFinder):
    """Finds the module as Python would, to be changed once it has been executed."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if fullname != TARGET:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = FaultyLoader(spec.loader)
        return spec


class FaultyLoader(Loader):
    """Another loader, and the fault. A new object, as a zip has one loader for all its modules."""

    def __init__(self, loader: Loader) -> None:
        self.loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: Any) -> None:
        self.loader.exec_module(module)
        module.score_batches = with_fault(module.score_batches)


def with_fault(score_batches: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
    def score(*args: Any) -> Iterator[Any]:
        cause_fault()
        yield from score_batches(*args)

    return score


def cause_fault() -> None:
    fault = os.environ["NIGHT_FAULT"]
    if fault == "fail_always":
        leave_note(f"failed-{uuid.uuid4().hex}")
        raise RuntimeError("injected: fails whenever it is tried")
    if fault == "fail_once" and leave_note("claimed"):
        raise RuntimeError("injected: fails the first time")
    if fault == "wait_once" and leave_note("claimed"):
        time.sleep(WAIT_SECONDS)
        leave_note("went-on")


def leave_note(name: str) -> bool:
    """Say which process this is; False where another was first to leave this note."""
    directory = Path(os.environ["NIGHT_FAULT_DIR"])
    draft = directory / f".{uuid.uuid4().hex}"
    draft.write_text(json.dumps({"worker": os.getpid(), "daemon": os.getppid()}))
    try:
        (directory / name).hardlink_to(draft)  # whole at once, and for one process only
    except FileExistsError:
        return False
    finally:
        draft.unlink()
    return True


if os.environ.get("NIGHT_FAULT"):
    sys.meta_path.insert(0, Finder())
