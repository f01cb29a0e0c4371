"""A night killed with SIGKILL in one of its stages, and the same command again; and SIGTERM.

Minutes each: ``./spark-submit.sh test -m long tests/system/test_killed_nights.py``. What dies
inside publishing is in ``test_publish_kills.py``, at every step.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from signal import SIGTERM

import pytest
from clusters import QUICK_START, Night, hash_rows, processes_of, start_night, wait_for

from jobs.datasets.sample import write_sample
from jobs.runs.status import read_status
from jobs.storage.local import LocalStorage

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]


@dataclass
class Place:
    """An output with one run, which came of a night that was left in peace."""

    sample: Path
    output: Path
    rows: str

    def start(self, directory: Path) -> Night:
        return start_night(
            directory,
            self.sample,
            self.output,
            "--master=local[2]",
            "--conf=spark.sql.shuffle.partitions=2",
            f"--conf=spark.driver.extraJavaOptions={QUICK_START}",
        )

    @property
    def current(self) -> Path:
        return (self.output / "current").resolve(strict=True)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    directory = tmp_path_factory.mktemp("killed")
    write_sample(directory / "sample", users=300, items=200, ratings=9_000, seed=1)
    place = Place(directory / "sample", directory / "out", "")
    night = place.start(directory / "first")
    assert night.wait() == 0, night.output
    place.rows = hash_rows(place.current / "recommendations")
    return place


@pytest.mark.parametrize(
    ("logged", "stage"),
    [
        ("INFO run ", "reading"),
        ("index: done", "training"),
        ("train: done", "scoring"),
        ("score: done", "writing"),
        ("cluster: done", "auditing"),
        ("audit: done", "publishing"),
    ],
    ids=lambda value: value.replace(" ", "-").strip("-:"),
)
def test_a_killed_night_changes_nothing_and_the_next_one_needs_no_help(
    place: Place, tmp_path: Path, logged: str, stage: str
) -> None:
    before, pointer = place.current, (place.output / "CURRENT.json").read_bytes()
    night = place.start(tmp_path / "night")
    night.wait_for(lambda: logged in night.output, stage)
    night.kill()
    assert night.process.returncode == -9
    assert place.current == before
    assert (place.output / "CURRENT.json").read_bytes() == pointer
    assert hash_rows(before / "recommendations") == place.rows
    wait_for(lambda: not processes_of(tmp_path), "end of the Python workers", 30)

    again = place.start(tmp_path / "night")
    assert again.wait() == 0, again.output
    assert place.current != before
    assert json.loads((place.output / "CURRENT.json").read_text())["path"] == (
        f"runs/{place.current.name}"
    )
    assert hash_rows(place.current / "recommendations") == place.rows
    assert not [*(place.output / ".staging").glob("*")]
    assert not processes_of(tmp_path)


@pytest.mark.parametrize("all_of_it", [False, True], ids=["the driver", "its JVM too"])
def test_a_night_that_is_told_to_stop_says_so(
    place: Place, tmp_path: Path, all_of_it: bool
) -> None:
    before = place.current
    night = place.start(tmp_path / "night")
    night.wait_for(lambda: "train: done" in night.output, "scoring")
    status = read_status(LocalStorage(place.output))
    assert status is not None
    assert status["state"] == "running"
    if all_of_it:
        os.killpg(night.process.pid, SIGTERM)
    else:
        os.kill(status["pid"], SIGTERM)
    assert night.wait() in (143, -SIGTERM)
    wait_for(lambda: not processes_of(tmp_path), "end of all processes", 30)
    ended = read_status(LocalStorage(place.output), status["run_id"])
    assert ended is not None
    assert (ended["state"], ended["message"]) == ("failed", "stopped by SIGTERM")
    assert place.current == before
    assert not [*(place.output / ".staging").glob("*")]
