"""The archive of Spark's classes: built by one night on a sample, and measured.

A JVM that finds the classes already parsed and verified in an archive starts a Spark session in
about half the time. ``spark-submit.sh`` names the archive and gives it to later runs.
"""

import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import click

from jobs.datasets.sample import write_sample
from jobs.errors import JobError, MachineError
from jobs.process.checkout import ROOT


def warm_up(archive: Path, *, force: bool, runs: int) -> None:
    """Build the archive, unless it is there, and print how much faster a session starts.

    Raises:
        JobError: no archive was made; one that was there before is as it was.
    """
    if not force and _is_whole(archive):
        click.echo(f"there already: {archive} (--force builds it anew)")
        return
    _build(archive)
    click.echo(f"built {archive} ({archive.stat().st_size / 2**20:.0f} MiB)")
    options = f"-XX:SharedArchiveFile={_quote(archive)} -Xshare:auto -Xlog:cds*=off"
    without, with_it = _time_in_turn(
        lambda: _start_session(""), lambda: _start_session(options), runs
    )
    click.echo(
        f"session start: {without:.1f} s without the archive, {with_it:.1f} s with it: "
        f"{without / with_it:.1f} times as fast"
    )


def _build(archive: Path) -> None:
    """Make the archive under another name, and move it into place when it is whole."""
    try:
        archive.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=archive.parent, prefix=".building-") as directory:
            _build_in(Path(directory), archive)
    except OSError as error:
        raise MachineError(
            f"{archive.parent}: cannot be written ({error.strerror}): "
            "set XDG_CACHE_HOME to a directory that can"
        ) from None


def _build_in(directory: Path, archive: Path) -> None:
    click.echo("building the archive of Spark's classes, by a night on a sample", err=True)
    made = directory / "classes.jsa"
    _run_night(directory, made)
    if not made.is_file():
        raise MachineError(
            "this Java makes no class-data archive: take an OpenJDK build whose "
            "`java -version` says 'sharing'"
        )
    checksum = directory / "checksum"
    checksum.write_text(_checksum(made))
    # Between the two the checksum does not fit, and runs go without.
    made.replace(archive)
    checksum.replace(_checksum_file(archive))


def _run_night(directory: Path, made: Path) -> None:
    """Run the whole job on a sample: its JVM writes down at its end what it has loaded."""
    sample = directory / "sample"
    write_sample(sample, users=600, items=1_000, ratings=60_000, seed=0)
    settings = {
        "input.ratings": sample / "ratings.csv",
        "input.items": sample / "movies.csv",
        "output.path": directory / "output",
    }
    command = [str(ROOT / "spark-submit.sh"), "nightly", "--master", "local[2]"]
    command += ["--config", str(ROOT / "conf" / "sample.toml")]
    command += [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    _run(command, f"-XX:ArchiveClassesAtExit={_quote(made)} -Xlog:cds*=off")


def _start_session(options: str) -> None:
    spark_submit = Path(os.environ["SPARK_HOME"]) / "bin" / "spark-submit"
    properties = ROOT / "conf" / "spark-defaults.conf"
    command = [str(spark_submit), "--master", "local[2]", "--properties-file", str(properties)]
    _run([*command, str(Path(__file__))], options)


def _run(command: list[str], options: str) -> None:
    """Run a command that starts a JVM with these options, after those the user has set."""
    given = os.environ.get("SPARK_SUBMIT_OPTS", "")
    done = subprocess.run(
        command,
        env={**os.environ, "SPARK_SUBMIT_OPTS": f"{given} {options}".strip()},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        click.echo(done.stdout, err=True)
        raise JobError(
            f"{Path(command[0]).name} ended with exit code {done.returncode}; "
            "its messages are above"
        )


def _time_in_turn(
    first: Callable[[], None], second: Callable[[], None], runs: int
) -> tuple[float, float]:
    """Median seconds of each; in turn, so that a busy machine slows both down."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(runs):
        for action, taken in zip((first, second), seconds, strict=True):
            started = time.perf_counter()
            action()
            taken.append(time.perf_counter() - started)
    return median(seconds[0]), median(seconds[1])


def _checksum(file: Path) -> str:
    """As ``cksum`` prints it: what later runs compare with, in the shell."""
    with file.open("rb") as content:
        return subprocess.run(
            ["cksum"], stdin=content, stdout=subprocess.PIPE, text=True, check=True
        ).stdout


def _checksum_file(archive: Path) -> Path:
    return archive.with_name(f"{archive.name}.cksum")


def _is_whole(archive: Path) -> bool:
    try:
        return _checksum_file(archive).read_text() == _checksum(archive)
    except OSError:
        return False


def _quote(file: Path) -> str:
    """As Spark's launcher reads SPARK_SUBMIT_OPTS."""
    return f'"{file}"'  # a path with a quote in it gets no archive


if __name__ == "__main__":
    from pyspark.sql import SparkSession

    session = SparkSession.builder.getOrCreate()
    session.range(1).count()
    session.stop()
