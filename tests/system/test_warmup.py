"""The archive of Spark's classes: built once, taken where it is whole, passed over where not."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from paths import ROOT

SAMPLE = ROOT / "conf" / "sample.toml"

# Answers as the real one does when asked for its version, so that archives get the same name.
# Instead of starting Spark it notes the options, and makes an archive where one is asked for.
FAKE_JAVA = """#!/usr/bin/env bash
[ "$1" != -version ] || exec "{java}" -version
printf '%s\\n' "$SPARK_SUBMIT_OPTS" >>"{options}"
[[ $SPARK_SUBMIT_OPTS =~ ArchiveClassesAtExit=\\"([^\\"]*)\\" ]] &&
  echo classes >"${{BASH_REMATCH[1]}}"
printf '\\0\\ntrue\\0'
"""


def submit(*arguments: str, cwd: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [str(ROOT / "spark-submit.sh"), *arguments],
        cwd=cwd,
        env={**os.environ, "SPARK_SUBMIT_OPTS": "", **environment},
        capture_output=True,
        text=True,
        timeout=280,
        stdin=subprocess.DEVNULL,
        check=False,
    )


@dataclass(frozen=True)
class Machine:
    """A cache directory and a Java that starts nothing."""

    directory: Path

    @property
    def cache(self) -> Path:
        return self.directory / "my cache"

    @property
    def archive(self) -> Path:
        (archive,) = self.cache.glob("recsys-nightly/*.jsa")
        return archive

    def submit(
        self, *arguments: str, **environment: str
    ) -> "tuple[subprocess.CompletedProcess[str], list[str]]":
        """What a command did, and the options of each JVM it would have started."""
        options = self.directory / "options"
        options.write_text("")
        places = {"JAVA_HOME": str(self.directory), "XDG_CACHE_HOME": str(self.cache)}
        done = submit(*arguments, cwd=self.directory, **{**places, **environment})
        return done, options.read_text().splitlines()

    def start_night(self, **environment: str) -> str:
        done, options = self.submit(
            "nightly", "--set", "input.ratings=none.csv", "--config", str(SAMPLE), **environment
        )
        assert (done.returncode, done.stderr) == (0, "")
        (only,) = options
        return only


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """A machine on which `warmup` has run."""
    machine = Machine(tmp_path_factory.mktemp("machine"))
    # The one spark-submit.sh takes too.
    home = os.environ.get("JAVA_HOME")
    java = f"{home}/bin/java" if home else shutil.which("java")
    fake = machine.directory / "bin" / "java"
    fake.parent.mkdir()
    fake.write_text(FAKE_JAVA.format(java=java, options=machine.directory / "options"))
    fake.chmod(0o755)
    done, options = machine.submit("warmup", "--runs", "1", SPARK_SUBMIT_OPTS="-Dmine=1")
    assert done.returncode == 0, done.stderr
    assert "session start: " in done.stdout
    assert "times as fast" in done.stdout
    night, without, with_it = options
    assert "-XX:ArchiveClassesAtExit=" in night
    assert "Archive" not in without
    assert f'-XX:SharedArchiveFile="{machine.archive}"' in with_it
    assert all("-Dmine=1" in given for given in options)
    return machine


def test_the_archive_is_named_after_its_versions_and_nothing_else_is_left(warm: Machine) -> None:
    assert warm.archive.name.startswith("spark-")
    assert "-java-" in warm.archive.name
    assert {path.name for path in warm.archive.parent.iterdir()} == {
        warm.archive.name,
        f"{warm.archive.name}.cksum",
    }


def test_a_second_warmup_does_nothing(warm: Machine) -> None:
    done, options = warm.submit("warmup")
    assert (done.returncode, done.stderr, options) == (0, "", [])
    assert done.stdout == f"there already: {warm.archive} (--force builds it anew)\n"


def test_a_night_takes_the_archive_and_keeps_the_users_options(warm: Machine) -> None:
    options = warm.start_night(SPARK_SUBMIT_OPTS="-Dmine=1")
    assert f'-XX:SharedArchiveFile="{warm.archive}"' in options
    assert "-Dmine=1" in options


def test_a_night_leaves_alone_an_archive_of_the_users(warm: Machine) -> None:
    given = "-XX:SharedArchiveFile=mine.jsa"
    assert warm.start_night(SPARK_SUBMIT_OPTS=given) == given


def test_a_night_passes_over_an_archive_that_was_cut_off(warm: Machine) -> None:
    whole = warm.archive.read_bytes()
    warm.archive.write_bytes(whole[:3])  # Java 17 would crash on it
    try:
        assert warm.start_night() == ""
    finally:
        warm.archive.write_bytes(whole)


def test_without_a_cache_directory_warmup_says_so_and_a_night_goes_without(warm: Machine) -> None:
    file = warm.directory / "options"  # no directory can be made below a file
    done, options = warm.submit("warmup", XDG_CACHE_HOME=str(file))
    assert (done.returncode, done.stdout, options) == (3, "", [])
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: {file}/recsys-nightly: cannot be written (")
    assert line.endswith("set XDG_CACHE_HOME to a directory that can")
    assert warm.start_night(XDG_CACHE_HOME=str(file)) == ""


@pytest.mark.long
def test_the_jvm_passes_over_an_archive_that_is_none(warm: Machine) -> None:
    # The fake Java's few bytes, with the right name and checksum: a real JVM is given them.
    options = ["--config", str(SAMPLE), "--set", "input.ratings=none.csv"]
    small = ["--conf", "spark.driver.memory=1g"]
    done = submit("nightly", *options, *small, cwd=warm.directory, XDG_CACHE_HOME=str(warm.cache))
    assert done.returncode == 4
    output = done.stdout + done.stderr
    assert "error: input.ratings = 'none.csv': no such file" in output
    assert "archive" not in output
    assert "[cds" not in output


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_a_real_archive_holds_what_a_night_loads(tmp_path: Path) -> None:
    cache = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    built = submit("warmup", "--runs", "1", cwd=tmp_path, **cache)
    assert built.returncode == 0, built.stderr
    loaded = tmp_path / "loaded.txt"
    done = submit(cwd=tmp_path, SPARK_SUBMIT_OPTS=f"-Xlog:class+load:file={loaded}", **cache)
    assert done.returncode == 0, done.stderr
    assert "SparkContext" not in done.stdout + done.stderr  # log4j has found its file
    assert loaded.read_text().count("shared objects file (top)") > 10_000
    # Another class path: the archive does not fit, and nobody hears of it.
    other = tmp_path / "other"
    other.mkdir()
    (other / "file").touch()
    done = submit("--conf", f"spark.driver.extraClassPath={other}", cwd=tmp_path, **cache)
    assert done.returncode == 0, done.stderr
    assert "archive" not in done.stdout + done.stderr
