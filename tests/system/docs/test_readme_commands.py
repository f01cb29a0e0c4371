"""Every command in the README is run: by this file, or by what this file names. So are those at the
head of files in ``conf/``.

Commands are taken as a shell takes them: each code block is run by bash, with programs in place of
the real ones that note what they were called with. Commands that answer without Spark, a comparison
of models, and the night of ``conf/nightly.toml`` are then run here. ``ELSEWHERE`` says of each of
the others which test or step of CI runs it, and looks at that. Whatever is in neither fails.
"""

import ast
import logging
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from benchmarks.bench import main as bench
from click.testing import CliRunner, Result
from nights import SampleNight
from paths import ROOT
from pyspark.sql import SparkSession
from readme_text import README, list_blocks, list_commands_of_settings, list_spans

from jobs.cli.main import main
from jobs.machine.preflight import WORKER_PACKAGES
from jobs.process import log
from jobs.settings.config import Config
from jobs.settings.toml import load_config

SCRIPT = (ROOT / "spark-submit.sh").read_text(encoding="utf-8")
SCRIPTS_OWN = ("test", "lint", "bench", "shell")
"""Commands that the script knows and the command line behind it does not."""
NAMES = {*(name for name, one in main.commands.items() if not one.hidden), *SCRIPTS_OWN}
PROGRAMS = ("spark-submit.sh", "bin/python3", "executor-env/bin/pip", "executor-env/bin/venv-pack")
MOVIELENS = (
    "--set input.ratings=ml-latest-small/ratings.csv --set input.items=ml-latest-small/movies.csv"
)


# --- What the README tells people to run ----------------------------------------------------------


def note_commands(script: str) -> list[tuple[str, ...]]:
    """The words of each command of a shell script, as the shell hands them over."""
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        for name in PROGRAMS:
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            note = (
                f"printf '%s\\x1f' {shlex.quote(name)} \"$@\" >>{place}/noted; echo >>{place}/noted"
            )
            (place / name).write_text(f"#!{shutil.which('bash')}\n{note}\n")
            (place / name).chmod(0o755)
        done = subprocess.run(
            ["bash", "-euc", script],
            cwd=place,
            env={"PATH": f"{place}/bin"},
            capture_output=True,
            text=True,
            check=False,
            executable=shutil.which("bash"),
        )
        assert done.returncode == 0, f"{script}\n{done.stderr}"
        lines = (place / "noted").read_text().splitlines()
    return [tuple(line.split("\x1f")[:-1]) for line in lines]


def is_command(span: str) -> bool:
    first, _, rest = span.partition(" ")
    return span.startswith(("./spark-submit.sh", "executor-env/")) or bool(first in NAMES and rest)


@cache
def list_commands() -> list[tuple[str, ...]]:
    """Each command once: its program, and the words after it."""
    found = [
        words
        for language, text in list_blocks()
        if language == "bash"
        for words in note_commands(text)
    ]
    for span in filter(is_command, list_spans()):
        whole = span if "/" in span.split()[0] else f"./spark-submit.sh {span}"
        found += note_commands(whole)
    for line in list_commands_of_settings():
        found += note_commands(line)
    return [*dict.fromkeys(found)]


def shorten(words: tuple[str, ...]) -> str:
    """A command in one line, as in ``ELSEWHERE``."""
    program, *rest = words
    line = shlex.join(rest if program == "spark-submit.sh" else words)
    return line.replace(MOVIELENS, "$DATA")


def is_elsewhere(words: tuple[str, ...]) -> bool:
    return shorten(words) in ELSEWHERE


def split_options(words: list[str]) -> list[str]:
    """What the script passes on to the job, by its own function: all but Spark's options."""
    body = re.search(r"^take_spark_options\(\) \{.*?^\}", SCRIPT, re.DOTALL | re.MULTILINE)
    assert body is not None
    call = r"""take_spark_options "$@"; printf '%s\x1f' ${job_options[@]+"${job_options[@]}"}"""
    done = subprocess.run(
        ["bash", "-euc", f"{body[0]}\n{call}", "bash", *words],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split("\x1f")[:-1]


# --- Who runs what is not run here ----------------------------------------------------------------


@dataclass(frozen=True)
class Elsewhere:
    """A test, a fixture or a file that runs a command, and what must stand in it."""

    by: str
    holds: tuple[str, ...]
    why: str = ""
    """Why what runs is not the command itself."""


THIS = "tests/system/docs/test_readme_commands.py"
SUBMIT = "tests/system/test_spark_submit.py"
NOTEBOOKS = "tests/system/test_notebooks.py"
EXECUTORS = Elsewhere(f"{THIS}::test_executors_get_their_packages", ("executor-env",))
BENCHMARK = "minutes, for whoever measures; a short benchmark goes through the same command"
ELSEWHERE = {
    "": Elsewhere(
        f"{SUBMIT}::test_without_arguments_it_publishes_the_sample",
        ("spark-submit.sh", "output/sample/current/recommendations"),
    ),
    "--help": Elsewhere(f"{SUBMIT}::test_help_names_every_command", ("spark-submit.sh", "--help")),
    "lint": Elsewhere(".ci/run", ("./spark-submit.sh lint",)),
    "test": Elsewhere(".ci/run", ("./spark-submit.sh test",)),
    "test -m long": Elsewhere("pyproject.toml", ("-m 'not long'", '"long: minutes')),
    "fetch movielens-small": Elsewhere(
        "tests/jobs/datasets/test_fetch.py::test_a_data_set_is_fetched_checked_and_unpacked",
        ("fetch", "movielens-small"),
        why="from a server on this machine in place of the publisher's",
    ),
    "nightly --config conf/movielens.toml $DATA": Elsewhere(
        "tests/conftest.py::movielens_night", ("movielens.toml", "input.ratings=", "input.items=")
    ),
    "nightly --config conf/nightly.toml --master yarn "
    "--archives 'executor-env.tar.gz#env'": Elsewhere(
        "tests/system/clusters.py::Cluster",
        ("--master",),
        why="on a standalone cluster, as there is no YARN here",
    ),
    "nightly --config conf/notebook_nmf.toml $DATA": Elsewhere(
        f"{NOTEBOOKS}::test_the_first_notebook", ("notebook_nmf.toml", "input.ratings=")
    ),
    "nightly --config conf/worksheet_nmf.toml $DATA": Elsewhere(
        f"{NOTEBOOKS}::worksheet", ("worksheet_nmf.toml", "input.ratings=")
    ),
    "nightly --config conf/notebook_torch.toml $DATA": Elsewhere(
        f"{NOTEBOOKS}::test_the_torch_clusters", ("notebook_torch.toml", "input.ratings=")
    ),
    "bin/python3 -m venv executor-env": EXECUTORS,
    "executor-env/bin/pip install -c conf/constraints.txt numpy scipy pandas pyarrow numba "
    "threadpoolctl venv-pack": EXECUTORS,
    "executor-env/bin/venv-pack --prefix executor-env -o executor-env.tar.gz": EXECUTORS,
    "executor-env/bin/pip install --no-deps .": EXECUTORS,
    "shell conf/examples/queries/questions_pandas.py output/sample": Elsewhere(
        "tests/system/docs/test_readme.py::test_data_frames_answer_as_duckdb_does",
        ("*.py", "output/sample"),
    ),
    "bench mf_vs_notebook": Elsewhere(
        f"{NOTEBOOKS}::test_mf_trains_at_least_eight_times_as_fast_as_the_notebook",
        ("benchmarks.mf_training",),
    ),
    **{
        command: Elsewhere(
            "tests/system/test_bench.py::test_a_benchmark_is_timed_and_written",
            ("topk_3706_vs_matmul", "--json"),
            why=BENCHMARK,
        )
        for command in (
            "bench",
            "bench lists_vs_peers",
            "bench lists_vs_published",
            "bench training_scale",
        )
    },
}


def list_strings(file: Path, name: str) -> set[str]:
    """The strings and imports in a definition, and in what it uses of its own file."""
    definitions: dict[str, ast.AST] = {}
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            definitions[node.name] = node
        elif isinstance(node, ast.Assign):
            definitions |= {ast.unparse(target): node for target in node.targets}
    assert name in definitions, f"{file.name} has no {name} any more"
    found: set[str] = set()
    seen, left = set[str](), [name]
    while left:
        seen.add(left[-1])
        nodes = [*ast.walk(definitions[left.pop()])]
        docstrings = [node.value for node in nodes if isinstance(node, ast.Expr)]
        for node in nodes:
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found |= set() if node in docstrings else {node.value}
            elif isinstance(node, ast.ImportFrom):
                found.add(str(node.module))
            used = getattr(node, "id", getattr(node, "arg", None))
            if isinstance(used, str) and used in definitions and used not in seen:
                left.append(used)
    return found


@pytest.mark.parametrize("command", ELSEWHERE)
def test_what_is_said_to_run_a_command_holds_it(command: str) -> None:
    assert command in map(shorten, list_commands()), "the README has no such command any more"
    one = ELSEWHERE[command]
    path, _, name = one.by.partition("::")
    file = ROOT / path
    strings = list_strings(file, name) if name else {file.read_text(encoding="utf-8")}
    for text in one.holds:
        assert any(text in string for string in strings), f"{one.by} has no {text!r} any more"


@pytest.mark.parametrize("words", [*filter(is_elsewhere, list_commands())], ids=shorten)
def test_the_command_line_takes_what_is_run_elsewhere(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    program, name, *rest = *words, *[""] * (2 - len(words))
    if program != "spark-submit.sh" or name in ("", "lint", "--help"):
        return
    if name == "test":
        return
    if name == "shell":
        assert Path(rest[0]).is_file()
        return
    if name == "bench":
        bench.make_context("bench", rest)
        return
    given = main.commands["check" if name == "nightly" else name].make_context(
        name, split_options(rest)
    )
    if "config_file" in given.params:
        load_config(given.params["config_file"], given.params["overrides"])


# --- What is run here -----------------------------------------------------------------------------

PRINTS = {
    "nightly": r"Published [\d,]+ recommendations|broadcast",
    "evaluate": "lists of 10, 120 users",
    "tune": "best settings: output/tuning/best.toml",
    "show": "user 42: 10 recommendations|item Toy Story",
    "recommend": r"^ +1 ",
    "similar": r"^ +5 ",
    "inspect": "user 1",
    "personas": "disney fan",
    "config": r"(?s)# Recommendations for each user.\nk = 10\n.*^\[gate\]\n.*^min_overlap = 0.05",
    "runs": "current",
    "rollback": "current is run 2026-11-21-",
    "report": "wrote night.html",
}
"""What each command says, among other things."""
NIGHT = "nightly --config conf/nightly.toml --run-date 2026-11-21"


def is_run_here(words: tuple[str, ...]) -> bool:
    program, name, *_ = *words, ""
    return program == "spark-submit.sh" and name in PRINTS and not is_elsewhere(words)


def test_nothing_is_left_that_nobody_runs() -> None:
    left = [one for one in list_commands() if not is_elsewhere(one) and not is_run_here(one)]
    assert [*map(shorten, left)] == [], "README.md: say in ELSEWHERE what runs it, or run it here"
    assert {language for language, _ in list_blocks()} <= {"", "bash", "python", "sql"}
    plain = [line for language, text in list_blocks() if not language for line in text.splitlines()]
    synopsis = [line for line in plain if line.lstrip("$ ").startswith("./")]
    assert [line for line in synopsis if "[COMMAND]" not in line] == [], "not in a block of bash"


@pytest.fixture(scope="module")
def place(sample_night: SampleNight, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory to run commands in, where the sample lies under the names of real ratings."""
    place = tmp_path_factory.mktemp("place")
    shutil.copytree(ROOT / "conf", place / "conf")
    (place / "output").mkdir()
    (place / "ml-latest-small").symlink_to(sample_night.data)
    settings = place / "conf" / "nightly.toml"
    text = settings.read_text(encoding="utf-8")
    for path, here in {
        "/data/ratings/*.parquet": sample_night.data / "ratings.csv",
        "/data/items.csv": sample_night.data / "movies.csv",
        "/data/recommendations": place / "output" / "nightly",
    }.items():
        assert f'"{path}"' in text
        text = text.replace(path, str(here))
    settings.write_text(text, encoding="utf-8")
    return place


Ask = Callable[[Sequence[str]], Result]


@pytest.fixture(scope="module")
def ask(spark: SparkSession, place: Path) -> Ask:
    """Runs a command in the place; one that takes Spark gets the session of the tests."""

    def run(words: Sequence[str]) -> Result:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(place)
            patch.setattr(type(spark), "stop", lambda _: None)
            patch.setattr(log, "set_up_logging", lambda *_: None)
            patch.setattr(logging.root, "handlers", [])  # an earlier test's may write JSON
            return CliRunner().invoke(main, [*words], catch_exceptions=False)

    return run


@pytest.fixture(scope="module")
def production(ask: Ask, place: Path) -> Result:
    """The night of ``conf/nightly.toml``."""
    done = ask(NIGHT.split())
    (place / "output" / "sample").symlink_to(place / "output" / "nightly")
    return done


@pytest.fixture(scope="module")
def movielens(movielens_night: SampleNight, place: Path) -> None:
    """The night of ``conf/movielens.toml``, which stands in for those of the notebooks too: their
    models are of the same movies, and take longer."""
    for name in ("movielens", "notebook_nmf", "worksheet_nmf", "n2", "n20", "n55", "n200"):
        (place / "output" / name).symlink_to(movielens_night.output)


@pytest.mark.parametrize("words", [*filter(is_run_here, list_commands())], ids=shorten)
def test_the_command_is_run(
    words: tuple[str, ...], ask: Ask, place: Path, request: pytest.FixtureRequest
) -> None:
    given = [*words[1:]]
    if any("output/" in word for word in given):
        request.getfixturevalue("movielens")
    elif "RUN_ID" in given:
        (run_id,) = re.findall(r"/runs/(\S+)\n", request.getfixturevalue("production").stdout)
        given = [run_id if word == "RUN_ID" else word for word in given]
    # The JVM was started elsewhere, and looks for relative paths there.
    given = [word.replace("=ml-latest-small/", f"={place}/ml-latest-small/") for word in given]
    done = request.getfixturevalue("production") if shorten(words) == NIGHT else ask(given)
    assert done.exit_code == 0, done.output
    assert re.search(PRINTS[words[1]], done.stdout, re.MULTILINE), done.stdout


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_executors_get_their_packages(tmp_path: Path) -> None:
    """The block of the README up to the night, as it stands; takes the packages from PyPI."""
    block = next(text for _, text in list_blocks() if "venv executor-env" in text)
    for name in ("conf", "jobs", "recsys_core"):
        shutil.copytree(ROOT / name, tmp_path / name)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for code in (
        "\n".join(line for line in block.splitlines() if line.startswith(("python3", "executor-"))),
        next(span for span in list_spans() if span.startswith("executor-env/bin/pip")),
        "mkdir env && tar xzf executor-env.tar.gz -C env",
        f"env/bin/python -c 'import {', '.join(WORKER_PACKAGES)}'",
        f"executor-env/bin/python -P -c 'import recsys_core, {', '.join(WORKER_PACKAGES)}'",
    ):
        done = subprocess.run(
            ["bash", "-euc", code], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{code}\n{done.stderr}"


# --- What the README says of commands and settings ------------------------------------------------


def options_of(*names: str) -> set[str]:
    """The options of commands, those of Spark that the script knows among them."""
    own = {"bench": bench}
    found = {"--help"}
    for name in names:
        command = own.get(name, main.commands.get(name))
        found |= {option for one in getattr(command, "params", ()) for option in one.opts}
    return found


SPARKS = {"--master", "--conf", "--archives", "--deploy-mode"}


def test_the_table_names_every_command_with_options_it_takes() -> None:
    table = README.split("| command | what it does |\n|---|---|\n")[1].split("\n\n")[0]
    listed = []
    for row in table.splitlines():
        first, second = row.strip("|").split("|", 1)
        names = [span.split()[0] for span in re.findall(r"`([^`]+)`", first)]
        options = set(re.findall(r"--[a-z-]+", second))
        assert options <= options_of(*names), row
        listed += names
    assert sorted(listed) == sorted(NAMES)
    for name in SCRIPTS_OWN:
        assert re.search(rf"^  {name}\)", SCRIPT, re.MULTILINE), name


def test_the_options_in_the_text_are_there() -> None:
    assert all(
        re.search(rf"^ +{option}\b|\| {option}\b", SCRIPT, re.MULTILINE) for option in SPARKS
    )
    known = options_of(*NAMES) | SPARKS
    spans = [span for span in list_spans() if span.startswith("--")]
    assert len(spans) > 10
    for span in spans:
        assert set(re.findall(r"--[a-z-]+", span)) <= known, span


def test_the_settings_in_the_text_are_there() -> None:
    settings = [
        span
        for span in list_spans()
        if re.fullmatch(r"[a-z]+(\.[a-z_]+)+( = .+)?", span)
        and span.split(".")[0] in Config.model_fields
    ]
    overrides = [
        override.replace("=N", "=2")
        for span in list_spans()
        for override in re.findall(r"--set (\S+)", span)
        if not override.startswith("section.key=")
    ]
    assert len(settings) > 15
    assert len(overrides) >= 3
    given = [*filter(lambda setting: " = " in setting, settings), *overrides]
    # Of a model whose factors can be published, as one of the settings asks for.
    config = load_config(ROOT / "conf" / "nightly.toml", ["train.model=als", *given])
    for setting in settings:
        value: Any = config
        for key in setting.split(" = ")[0].split("."):
            assert hasattr(value, key), setting
            value = getattr(value, key)
