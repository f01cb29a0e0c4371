"""The command ``report``."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from nights import SampleNight
from report_pages import (
    RUN_ID,
    before_making,
    make_manifest,
)

from jobs.cli.main import main
from jobs.report.page import REPORT
from jobs.storage.local import LocalStorage


def ask(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, ["report", *arguments])
    return done.exit_code, done.output


def test_the_command_makes_the_page_of_a_published_run(
    sample_night: SampleNight, tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    run_id = sample_night.manifest["run_id"]
    output = f"output.path={sample_night.output}"
    code, said = ask("--set", output, "--run", run_id, "--output", str(page))
    assert code == 0, said
    published = (sample_night.output / "current" / REPORT).read_bytes()
    assert before_making(page.read_bytes()) == before_making(published)
    by_directory = ask("--run", str(sample_night.output / "current"), "--output", str(page))
    assert by_directory == (0, said)
    assert before_making(page.read_bytes()) == before_making(published)


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (["--run", RUN_ID], 2, f"'{RUN_ID}' is no run in "),
        (["--run", "../../etc"], 2, "--run ../../etc: neither a run's id nor its directory"),
        (["--set", "output.path=hdfs://host/out"], 2, "report reads runs on this machine's disk"),
        (["--set", "output.path=nowhere"], 2, "no run is current in nowhere"),
        (["--output", "no/such/page.html"], 1, "no/such/page.html: cannot be written: No such"),
    ],
)
def test_what_the_command_cannot_do_is_one_line(
    sample_night: SampleNight, arguments: list[str], code: int, expected: str
) -> None:
    found, said = ask("--set", f"output.path={sample_night.output}", *arguments)
    assert (found, said.count("\n")) == (code, 1)
    assert expected in said


def test_a_damaged_run_is_one_line(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)
    for manifest, expected in (
        (b"{", "is no whole run: it has no readable manifest"),
        (b"{}", "has no audit, funnel, training, config: an older or damaged run"),
        (json.dumps(make_manifest()).encode(), "recommendations cannot be read: "),
    ):
        storage.write(f"runs/{RUN_ID}/manifest.json", manifest)
        code, said = ask("--set", f"output.path={tmp_path}", "--run", RUN_ID)
        assert (code, said.count("\n")) == (4, 1)
        assert expected in said
