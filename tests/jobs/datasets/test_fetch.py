"""``fetch`` against a real server on this machine, with the faults that real ones have."""

import csv
import hashlib
import io
import resource
import shlex
import signal
import socket
import stat
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from jobs.cli.main import main
from jobs.datasets import fetch
from jobs.datasets.public import DATA_SETS
from jobs.settings.toml import load_config

ARCHIVE = "/ml-latest-small.zip"
MD5 = f"{ARCHIVE}.md5"
FOLDER = "ml-latest-small"
ROWS = np.random.default_rng(0).integers(1, 10_000, (50_000, 2))
RATINGS = b"userId,movieId,rating,timestamp\r\n" + b"".join(
    b"%d,%d,4.0,964982703\r\n" % (user, item) for user, item in ROWS
)
MOVIES = b"movieId,title,genres\r\n" + b"".join(
    b"%d,Toy Story (1995),Adventure|Comedy\r\n" % item for item in range(3_000)
)
GOOD = {"ratings.csv": RATINGS, "movies.csv": MOVIES, "README.txt": b"licence"}


def make_zip(files: dict[str, bytes], *, folder: str = f"{FOLDER}/", mode: int = 0) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in files.items():
            info = zipfile.ZipInfo(f"{folder}{name}")
            info.external_attr = mode << 16
            archive.writestr(info, data)
    return content.getvalue()


GOOD_ZIP = make_zip(GOOD)


@dataclass
class Site:
    """What the server has, and how it misbehaves; ``asked`` is what it was asked for."""

    files: dict[str, bytes] = field(default_factory=dict)
    status: dict[str, tuple[int, str]] = field(default_factory=dict)
    cut_after: int | None = None
    stops_midway: bool = False
    is_midway: threading.Event = field(default_factory=threading.Event)
    may_go_on: threading.Event = field(default_factory=threading.Event)
    asked: list[str] = field(default_factory=list)
    url: str = ""

    def put(self, content: bytes, *, md5: bool = True) -> None:
        self.files = {ARCHIVE: content}
        if md5:
            line = f"MD5 ({ARCHIVE[1:]}) = {hashlib.md5(content).hexdigest()}\n"
            self.files[MD5] = line.encode()


class Handler(BaseHTTPRequestHandler):
    site: Site

    def do_GET(self) -> None:
        site = self.site
        site.asked.append(self.path)
        if self.path in site.status:
            self.send_response(*site.status[self.path])
            self.end_headers()
        elif self.path not in site.files:
            self.send_error(404)
        else:
            self.answer(site.files[self.path])

    def answer(self, content: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.path == ARCHIVE and self.site.cut_after is not None:
            content = content[: self.site.cut_after]
        if self.path == ARCHIVE and self.site.stops_midway:
            self.site.stops_midway = False
            self.wfile.write(content[: len(GOOD_ZIP) // 2])
            self.site.is_midway.set()
            self.site.may_go_on.wait(60)
            content = content[len(GOOD_ZIP) // 2 :]
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("no_proxy", "*")
    return tmp_path


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A server with a good data set, which ``fetch movielens-small`` goes to."""
    site = Site()
    site.put(GOOD_ZIP)
    handler = type("SiteHandler", (Handler,), {"site": site})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        site.url = f"http://127.0.0.1:{server.server_port}"
        aim(monkeypatch, site.url)
        yield site
        site.may_go_on.set()
        server.shutdown()
        thread.join()


def aim(monkeypatch: pytest.MonkeyPatch, url: str, name: str = "movielens-small") -> None:
    """Let ``fetch`` go to this server."""
    aimed = replace(DATA_SETS[name], archive_url=f"{url}{ARCHIVE}", md5_url=f"{url}{MD5}")
    monkeypatch.setitem(DATA_SETS, name, aimed)


def run(*options: str, name: str = "movielens-small") -> list[str]:
    """The lines of a fetch that goes well."""
    done = CliRunner().invoke(main, ["fetch", name, *options], catch_exceptions=False)
    assert (done.exit_code, done.stderr) == (0, "")
    return done.stdout.splitlines()


def fail(code: int, *options: str) -> str:
    """The one line of a fetch that fails with this exit code, and leaves nothing new."""
    before = names_in(Path())
    done = CliRunner().invoke(main, ["fetch", "movielens-small", *options], catch_exceptions=False)
    assert done.exit_code == code
    assert names_in(Path()) == before
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    return done.stderr.removeprefix("error: ").rstrip("\n")


FETCH = """
import sys
from dataclasses import replace

from jobs.cli.main import main
from jobs.datasets.public import DATA_SETS

known = DATA_SETS["movielens-small"]
DATA_SETS["movielens-small"] = replace(known, archive_url=sys.argv[1], md5_url=None)
main(["fetch", "movielens-small"])
"""


def start_fetch(site: Site, *, before: str = "") -> "subprocess.Popen[str]":
    """The same in a process of its own, which runs the statements of ``before`` first."""
    command = [sys.executable, "-c", before + FETCH, f"{site.url}{ARCHIVE}"]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True)


def names_in(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))


def assert_whole(output: Path = Path(FOLDER)) -> None:
    assert {name: (output / name).read_bytes() for name in names_in(output)} == GOOD


# --- Going well -----------------------------------------------------------------------------------


def test_a_data_set_is_fetched_checked_and_unpacked(site: Site, directory: Path) -> None:
    lines = run()
    assert_whole()
    assert [path.name for path in directory.iterdir()] == [FOLDER]  # and nothing beside it
    assert lines[0].startswith("licence: research use")
    assert lines[1].startswith("citation: F. Maxwell Harper")
    assert lines[2:4] == [
        "checked: MD5, as published; names, columns and sizes of the files",
        "wrote ml-latest-small",
    ]
    assert len(lines) == 5


@pytest.mark.parametrize("name", DATA_SETS)
def test_the_printed_command_reads_what_was_fetched(
    name: str, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    aim(monkeypatch, site.url, name)
    known = DATA_SETS[name]
    small = {
        key: replace(getattr(known, key), n_bytes=range(1, 99)) for key in ("ratings", "items")
    }
    monkeypatch.setitem(DATA_SETS, name, replace(known, **small))  # type: ignore[arg-type]
    site.put(make_zip({t.file: f"{','.join(t.columns)}\n1\n".encode() for t in small.values()}))
    command = shlex.split(run("--output", "my data", name=name)[-1])
    assert Path(command[0]).is_file()
    assert command[1:3] == ["nightly", "--config"]
    config = load_config(Path(command[3]), command[5::2])
    assert command[4::2] == ["--set"] * len(command[5::2])
    for path, columns in (
        (config.input.ratings, (config.input.columns.user, config.input.columns.item)),
        (str(config.input.items), (config.input.item_columns.item, "title")),
    ):
        assert path.startswith("my data/")
        with Path(path).open() as file:
            assert set(columns) <= set(next(csv.reader(file)))


def test_in_the_project_the_command_is_as_short_as_in_the_readme(
    site: Site, monkeypatch: pytest.MonkeyPatch, directory: Path
) -> None:
    monkeypatch.setattr(fetch, "ROOT", directory)
    assert run()[-1] == (
        "./spark-submit.sh nightly --config conf/movielens.toml "
        "--set input.ratings=ml-latest-small/ratings.csv "
        "--set input.items=ml-latest-small/movies.csv"
    )


def test_the_help_names_every_data_set_and_its_directory() -> None:
    printed = " ".join(CliRunner().invoke(main, ["fetch", "-h"]).stdout.split())
    assert "ml-latest-small or ml-25m or goodbooks-10k" in printed
    (argument,) = (item for item in main.commands["fetch"].params if item.name == "data_set")
    assert list(argument.type.choices) == list(DATA_SETS)  # type: ignore[attr-defined]


def test_data_that_are_there_are_left_alone(site: Site) -> None:
    first = run()
    site.asked.clear()
    before = Path(FOLDER, "ratings.csv").stat().st_mtime_ns
    assert run() == ["there already: ml-latest-small", first[-1]]
    assert site.asked == []
    assert Path(FOLDER, "ratings.csv").stat().st_mtime_ns == before


def test_an_empty_directory_and_a_link_to_one_are_filled(site: Site) -> None:
    Path("place").mkdir()
    Path("link").symlink_to("place")
    run("--output", "link")
    assert Path("link").is_symlink()
    assert_whole(Path("place"))


def test_an_archive_without_a_folder_is_unpacked_all_the_same(site: Site) -> None:
    site.put(make_zip(GOOD, folder=""))
    run("--output", "deep/down")
    assert_whole(Path("deep/down"))


def test_without_a_published_md5_it_says_what_was_checked(site: Site) -> None:
    site.put(GOOD_ZIP, md5=False)
    assert any("as no MD5 is published" in line for line in run())
    assert_whole()


@pytest.mark.parametrize("line", ["{}  ml-latest-small.zip\n", "{}", "MD5 (x.zip) = {}\r\n"])
def test_checksums_are_read_as_publishers_write_them(site: Site, line: str) -> None:
    site.files[MD5] = line.format(hashlib.md5(GOOD_ZIP).hexdigest().upper()).encode()
    assert any("MD5, as published" in text for text in run())


def test_a_bar_is_shown_on_a_terminal_only(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECSYS_TERMINAL", "1")
    done = CliRunner().invoke(main, ["fetch", "movielens-small"], catch_exceptions=False)
    assert "100%" in done.stderr
    assert len(done.stdout.splitlines()) == 5


def test_the_addresses_are_the_publishers() -> None:
    small, large, books = DATA_SETS.values()
    for data_set, name in ((small, "ml-latest-small"), (large, "ml-25m")):
        url = f"https://files.grouplens.org/datasets/movielens/{name}.zip"
        assert (data_set.archive_url, data_set.md5_url) == (url, f"{url}.md5")
        assert data_set.directory == name
    assert books.archive_url.startswith("https://github.com/zygmuntz/goodbooks-10k/releases/")
    assert books.md5_url is None


@pytest.mark.real
def test_the_real_ratings_go_through(site: Site, real_data: Path) -> None:
    original = real_data / FOLDER
    site.put(make_zip({file.name: file.read_bytes() for file in original.iterdir()}))
    run()
    assert names_in(Path(FOLDER)) == names_in(original)
    for file in original.iterdir():
        assert Path(FOLDER, file.name).read_bytes() == file.read_bytes()


# --- Broken connections ---------------------------------------------------------------------------


def test_a_cut_download_starts_anew(site: Site) -> None:
    site.cut_after = len(GOOD_ZIP) // 2
    host = site.url.removeprefix("http://")
    assert fail(3).startswith(f"{host}: no connection, or it broke off (ChunkedEncodingError): ch")
    site.cut_after = None
    run()
    assert_whole()


def test_a_host_that_is_not_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        host = f"127.0.0.1:{closed.getsockname()[1]}"
    aim(monkeypatch, f"http://{host}")
    assert fail(3) == (
        f"{host}: no connection, or it broke off (Connection refused): check the network and, "
        "behind a proxy, https_proxy and REQUESTS_CA_BUNDLE; or try again later"
    )


@pytest.mark.parametrize("answers", [True, False])
def test_a_server_that_falls_silent_is_given_up(
    site: Site, monkeypatch: pytest.MonkeyPatch, answers: bool
) -> None:
    monkeypatch.setattr(fetch, "TIMEOUT_SECONDS", 0.2)
    site.stops_midway = True
    with socket.create_server(("127.0.0.1", 0)) as silent:
        if not answers:
            aim(monkeypatch, f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert ": no connection, or it broke off (" in fail(3)


@contextmanager
def raw_server(monkeypatch: pytest.MonkeyPatch, answer: bytes) -> Iterator[None]:
    """Sends these bytes to one connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with server.accept()[0] as connection:
                connection.recv(65_536)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        aim(monkeypatch, f"http://127.0.0.1:{server.getsockname()[1]}")
        yield
        thread.join()


@pytest.mark.parametrize(
    "answer", [b"", b"\x1b[31mwhat?\r\n\r\n", b"HTTP/1.1 302 F\r\nLocation: h://[what\r\n\r\n"]
)
def test_what_is_no_http_is_not_quoted(monkeypatch: pytest.MonkeyPatch, answer: bytes) -> None:
    with raw_server(monkeypatch, answer):
        message = fail(3)
    assert ": no connection, or it broke off (" in message
    assert "what" not in message


# --- Refusals and damage --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "hint"),
    [
        (404, "the publisher has moved or removed it"),
        (410, "the publisher has moved or removed it"),
        (403, "the server, or a proxy on the way, does not give it out"),
        (500, "the server is in trouble, try again later"),
    ],
)
def test_a_refusal_names_the_address_and_the_status(site: Site, status: int, hint: str) -> None:
    site.status = {ARCHIVE: (status, "\x1b[2J\x07 never printed")}
    assert fail(4) == f"{site.url}{ARCHIVE}: HTTP status {status}: {hint}"


def test_a_refused_checksum_is_not_taken_for_none(site: Site) -> None:
    site.status = {MD5: (500, "")}
    assert "ml-latest-small.zip.md5: HTTP status 500" in fail(4)


@pytest.mark.parametrize(
    "text", [b"<html>Log in, please", b"", b"1" * 33, b"a" * 32 + b" " + b"b" * 32]
)
def test_a_checksum_file_of_something_else(site: Site, text: bytes) -> None:
    site.files[MD5] = text
    assert ".md5: holds no checksum" in fail(4)


def test_a_wrong_checksum(site: Site) -> None:
    site.files[MD5] = b"0" * 32
    found = hashlib.md5(GOOD_ZIP).hexdigest()
    message = f"{site.url}{ARCHIVE}: wrong checksum: MD5 {found}, the publisher says {'0' * 32}"
    assert fail(4) == message
    site.put(GOOD_ZIP)
    run()
    assert_whole()


PLACE = GOOD_ZIP.index(RATINGS) + 1_000
ENTRY = GOOD_ZIP.index(b"PK\x01\x02")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>Log in, please</html>",
        GOOD_ZIP[:-1_000],
        GOOD_ZIP[100:],
        GOOD_ZIP[:PLACE] + b"X" + GOOD_ZIP[PLACE + 1 :],
        GOOD_ZIP[: ENTRY + 8] + b"\1" + GOOD_ZIP[ENTRY + 9 :],
    ],
    ids=["empty", "page", "end missing", "beginning missing", "byte changed", "encrypted"],
)
def test_an_archive_that_is_damaged(site: Site, content: bytes) -> None:
    site.put(content, md5=False)
    assert fail(4) == f"{site.url}{ARCHIVE}: a damaged zip, or none at all"
    site.put(GOOD_ZIP)
    run()
    assert_whole()


@pytest.mark.parametrize(
    ("file", "content", "problem"),
    [
        ("movies.csv", None, "has no movies.csv"),
        ("ratings.csv", b"userId,movieId,stars\n1,2,3\n", "ratings.csv has no column 'rating'"),
        ("ratings.csv", b"\x00\x1b\xff" * 9_000, "ratings.csv has no column 'userId'"),
        ("movies.csv", b"", "movies.csv has no column 'movieId'"),
        (
            "ratings.csv",
            RATINGS[:100_000],
            "ratings.csv has 100,000 bytes, not 1,000,000 to 50,000,000",
        ),
    ],
)
def test_an_archive_of_something_else(
    site: Site, file: str, content: bytes | None, problem: str
) -> None:
    files = {**GOOD, file: content}
    site.put(make_zip({name: data for name, data in files.items() if data is not None}))
    assert fail(4) == f"{site.url}{ARCHIVE}: {problem}"


@pytest.mark.parametrize(
    ("name", "mode"),
    [("../outside", 0), ("a/../../../outside", 0), ("/outside", 0), ("link", stat.S_IFLNK)],
)
def test_an_archive_that_leads_elsewhere(site: Site, name: str, mode: int) -> None:
    site.put(make_zip({**GOOD, name: b"/etc"}, folder="", mode=mode))
    assert "the archive has a link, or a name that leads out of its directory" in fail(4)


def test_an_archive_of_more_bytes_than_any_data_set(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "MAX_BYTES", len(RATINGS))
    assert f"more than {len(RATINGS):,}" in fail(4)


# --- The place ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["file", "directory", "other columns"])
def test_an_output_that_is_something_else_is_left_alone(site: Site, kind: str) -> None:
    place = Path("place")
    if kind == "file":
        place.touch()
    else:
        place.mkdir()
        (place / "ratings.csv").write_text("userId,movieId,stars\n1,2,3\n")
        if kind == "directory":
            (place / "ratings.csv").rename(place / "notes.txt")
    message = fail(2, "--output", "place")
    assert message.startswith("--output place: is there, and is not ml-latest-small (")
    assert site.asked == []


@pytest.mark.parametrize(
    ("name", "columns", "problem"),
    [
        ("movielens-25m", None, f"has {len(RATINGS):,} bytes, not 500,000,000 to 1,000,000,000"),
        ("goodbooks", "id,book_id,title", "books.csv has no column 'goodreads_book_id'"),
    ],
)
def test_one_data_set_is_not_taken_for_another(
    site: Site, monkeypatch: pytest.MonkeyPatch, name: str, columns: str | None, problem: str
) -> None:
    run()
    if columns:  # the first release of goodbooks has those
        Path(FOLDER, "books.csv").write_text(f"{columns}\n1,2767052,x\n")
        known = DATA_SETS["movielens-small"].ratings
        monkeypatch.setitem(DATA_SETS, name, replace(DATA_SETS[name], ratings=known))
    done = CliRunner().invoke(main, ["fetch", name, "--output", FOLDER])
    assert done.exit_code == 2
    assert problem in done.stderr


def test_the_current_directory_is_not_replaced(site: Site, directory: Path) -> None:
    for spelling in (".", f"../{directory.name}"):
        assert "the current directory or a mount point" in fail(2, "--output", spelling)
    assert site.asked == []


def test_an_output_below_a_file(site: Site, directory: Path) -> None:
    Path("file").touch()
    message = fail(3, "--output", "file/ml")
    assert message == f"{directory}/file: cannot be written: File exists"


@pytest.mark.parametrize("bytes_allowed", [100_000, len(GOOD_ZIP) - 500_000])
def test_a_disk_without_room(site: Site, bytes_allowed: int, directory: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_allowed, limits[1]))
    try:
        message = fail(3)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert message == f"{directory}: cannot be written: File too large"


# --- Killed, and two at once ----------------------------------------------------------------------

DIES_OF_LONG_FILES = f"""
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
resource.setrlimit(resource.RLIMIT_FSIZE, ({len(RATINGS) - 1},) * 2)
"""


def test_a_kill_while_unpacking_leaves_no_half_of_it(site: Site, directory: Path) -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in GOOD.items():
            archive.writestr(f"{FOLDER}/{name}", data)
    site.put(content.getvalue())
    process = start_fetch(site, before=DIES_OF_LONG_FILES)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGXFSZ
    (left,) = directory.iterdir()
    assert left.name.startswith(".fetch-")
    assert names_in(left / "unpacked") == [FOLDER, f"{FOLDER}/ratings.csv"]
    run()
    assert_whole()


def test_sigterm_leaves_nothing(site: Site, directory: Path) -> None:
    site.stops_midway = True
    process = start_fetch(site)
    assert site.is_midway.wait(60)
    process.terminate()
    _, printed = process.communicate(timeout=60)
    assert (process.returncode, printed) == (143, "error: stopped by SIGTERM\n")
    assert names_in(directory) == []


def test_of_two_at_once_one_comes_first(site: Site, directory: Path) -> None:
    site.stops_midway = True
    process = start_fetch(site)
    assert site.is_midway.wait(60)
    run()
    site.may_go_on.set()
    _, printed = process.communicate(timeout=60)
    assert process.returncode == 3
    assert printed == f"error: {directory}: cannot be written: Directory not empty\n"
    assert [path.name for path in directory.iterdir()] == [FOLDER]
    assert_whole()
