"""A publish that is killed with SIGKILL before each of its steps in turn, without Spark.

A step is a call from Python into C that can change a file: those of ``jobs.runs`` and
``jobs.storage.local`` change in no other way.
"""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

N_ROWS = 5

# A process that forks a child for each line it reads: "ROOT NIGHT STEP". The child publishes the
# night, and dies before that step; -1 is none. Forked, as the imports take a second.
PUBLISH = """
import os, signal, sys
from datetime import UTC, date, datetime
from pathlib import Path
import pyarrow as pa
import pyarrow.parquet as pq
from jobs.runs.current import switch_current
from jobs.runs.lock import hold_output, prepare_output
from jobs.runs.retention import remove_old_runs
from jobs.runs.run import Run
from jobs.runs.staged import StagedRun
from jobs.runs.status import RunStatus
from jobs.storage.local import LocalStorage, local_path
from jobs.tables.published import RECOMMENDATIONS

N_ROWS = 5
READS = (
    "fspath fstat stat lstat is_dir scandir listdir read readlink fileno getpid urandom fsync"
).split()

def publish(root, night):  # as run_nightly and release_run do
    storage = LocalStorage(Path(root))
    storage.check_writable()
    run = Run.start(date(2026, 11, night), datetime.now(UTC))
    status = RunStatus(storage, run)
    with hold_output(storage, run.run_id):
        prepare_output(storage)
        status.start()
        staged = StagedRun(storage, run)
        try:
            table = local_path(staged.table_uri(RECOMMENDATIONS))
            table.mkdir(parents=True)
            pq.write_table(pa.table({"night": [night] * N_ROWS}), table / "part-0.parquet")
            staged.keep({**run.footer, "state": "published", "night": night})
            switch_current(storage, run)
            remove_old_runs(storage, keep_runs=1, keep_hours=0, now=datetime.now(UTC))
        finally:
            staged.discard()
        status.finish("published", 0)

def die_before(step):
    left = step
    def count(frame, event, function):
        nonlocal left
        if event == "c_call" and may_change_files(function):
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1
    if step >= 0:
        sys.setprofile(count)

def may_change_files(function):
    owner = getattr(function, "__self__", None)
    modules = {getattr(function, "__module__", None), type(owner).__module__}
    return function.__name__ not in READS and not modules.isdisjoint({"posix", "fcntl", "_io"})

for line in sys.stdin:
    root, night, step = line.split()
    child = os.fork()
    if child == 0:
        die_before(int(step))
        publish(root, int(night))
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Publisher:
    """Publishes nights in processes of their own."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def publish(self, root: Path, night: int, *, step: int = -1) -> int:
        """Exit code of a publish that is killed before this step, if it has so many."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(root, night, step, file=self._process.stdin, flush=True)
        return int(self._process.stdout.readline())


@pytest.fixture(scope="module")
def publisher() -> Iterator[Publisher]:
    with subprocess.Popen(
        [sys.executable, "-c", PUBLISH], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield Publisher(process)
        assert process.stdin is not None
        process.stdin.close()


def read_night(run: Path) -> int:
    """The night of a run that is whole; fails for one that is not."""
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["run_id"] == run.name
    rows = pq.read_table(run / "recommendations").to_pydict()
    assert rows == {"night": [manifest["night"]] * N_ROWS}
    return int(manifest["night"])


def nights_shown(root: Path) -> tuple[int | None, int | None]:
    """What readers of ``current`` and of ``CURRENT.json`` see; None where it is not there."""
    link, pointer = root / "current", root / "CURRENT.json"
    linked = read_night(link.resolve(strict=True)) if link.is_symlink() else None
    pointed = None
    if pointer.exists():
        pointed = read_night(root / json.loads(pointer.read_text())["path"])
    return linked, pointed


def left_behind(root: Path) -> list[Path]:
    """What a publish that has ended well leaves of itself or of the dead: nothing."""
    hidden = [path for path in root.rglob(".*") if path.name not in (".staging", ".lock")]
    return [*hidden, *(root / ".staging").glob("*")]


@pytest.mark.parametrize("nights_before", [0, 2])
def test_whenever_a_publish_is_killed_readers_see_a_whole_run(
    publisher: Publisher, tmp_path: Path, nights_before: int
) -> None:
    allowed = (nights_before or None, nights_before + 1)
    seen = set()
    step = 0
    for night in range(1, nights_before + 1):
        assert publisher.publish(tmp_path / "before", night) == 0
    while True:
        root = tmp_path / str(step)
        if nights_before:
            shutil.copytree(tmp_path / "before", root, symlinks=True)
        code = publisher.publish(root, nights_before + 1, step=step)
        shown = nights_shown(root)
        assert set(shown) <= set(allowed), f"before step {step}: {shown}"
        seen.add(shown)
        if code == 0:
            break
        assert code == -signal.SIGKILL
        assert publisher.publish(root, nights_before + 2) == 0
        assert nights_shown(root) == (nights_before + 2,) * 2
        assert left_behind(root) == [], f"after a death before step {step}"
        step += 1
    assert shown == (nights_before + 1,) * 2
    # Deaths before the switch, between its two halves, and after it.
    before, after = allowed
    assert seen == {(before, before), (after, before), (after, after)}
    assert step > 30
