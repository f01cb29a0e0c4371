"""``fetch`` against a real server on this machine, with the faults that real ones have."""

import csv
import errno
import fcntl
import hashlib
import io
import os
import resource
import shlex
import socket
import stat
import struct
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from jobs.cli.main import main
from jobs.datasets import fetch, unpack
from jobs.settings.toml import load_config

ARCHIVE = "/ml-latest-small.zip"
CHECKSUM = f"{ARCHIVE}.md5"
MOVIES = b"movieId,title,genres\r\n1,Toy Story (1995),Comedy\r\n"
ROWS = np.random.default_rng(0).integers(1, 10_000, (20_000, 2))
RATINGS = b"userId,movieId,rating,timestamp\r\n" + b"".join(
    b"%d,%d,4.0,964982703\r\n" % (user, item) for user, item in ROWS
)
FOLDER = "ml-latest-small"
GOOD = {
    f"{FOLDER}/": b"",
    f"{FOLDER}/ratings.csv": RATINGS,
    f"{FOLDER}/movies.csv": MOVIES,
    f"{FOLDER}/README.txt": b"licence",
}


def make_zip(files: dict[str, bytes], *, packed: bool = False) -> bytes:
    return zip_members((zipfile.ZipInfo(name), content, packed) for name, content in files.items())


def zip_members(members: Any) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for info, data, packed in members:
            kind = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
            archive.writestr(info, data, compress_type=kind)
    return content.getvalue()


GOOD_ZIP = make_zip(GOOD)
SMALL = fetch.DATA_SETS["movielens-small"]


@dataclass
class Site:
    """What the server has, and how it misbehaves; ``asked`` is what it was asked for."""

    files: dict[str, bytes] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=lambda: {"ETag": '"one"'})
    status: dict[str, tuple[int, str]] = field(default_factory=dict)
    knows_range: bool = True
    knows_if_range: bool = True
    tells_length: bool = True
    shift: int = 0
    cut_after: int | None = None
    stalls: bool = False
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    url: str = ""

    def put(self, content: bytes, *, checksum: bool = True) -> None:
        self.files = {ARCHIVE: content}
        if checksum:
            line = f"MD5 ({ARCHIVE[1:]}) = {hashlib.md5(content).hexdigest()}\n"
            self.files[CHECKSUM] = line.encode()

    @property
    def asked_archive(self) -> list[str | None]:
        return [wanted for path, wanted in self.asked if path == ARCHIVE]


class Handler(BaseHTTPRequestHandler):
    site: Site

    def do_GET(self) -> None:
        site, wanted = self.site, self.headers.get("Range")
        site.asked.append((self.path, wanted))
        if self.path in site.status:
            self.send_response(*site.status[self.path])
            self.end_headers()
        elif self.path not in site.files:
            self.send_error(404)
        else:
            self.answer(site.files[self.path], self.find_start(wanted))

    def find_start(self, wanted: str | None) -> int | None:
        site = self.site
        version = site.headers.get("ETag") or site.headers.get("Last-Modified")
        fits = not site.knows_if_range or self.headers.get("If-Range") == version
        if wanted is None or not site.knows_range or not fits:
            return None
        return int(wanted.removeprefix("bytes=").removesuffix("-")) + site.shift

    def answer(self, content: bytes, start: int | None) -> None:
        site = self.site
        if start is not None and start >= len(content):
            self.send_error(416)
            return
        body = content[start or 0 :]
        self.send_response(200 if start is None else 206)
        if start is not None:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if site.tells_length:
            self.send_header("Content-Length", str(len(body)))
        for name, value in site.headers.items():
            self.send_header(name, value)
        self.end_headers()
        cut = site.cut_after if self.path == ARCHIVE else None
        self.wfile.write(body[:cut])
        if cut is not None and site.stalls:
            time.sleep(1)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
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
        server.shutdown()
        thread.join()


def aim(monkeypatch: pytest.MonkeyPatch, url: str, name: str = "movielens-small") -> None:
    """Let ``fetch`` go to this server, and take small files from it."""
    known = fetch.DATA_SETS[name]
    aimed = replace(
        known,
        archive_url=f"{url}{ARCHIVE}",
        checksum_url=f"{url}{CHECKSUM}",
        ratings=replace(known.ratings, n_bytes=range(1, 50_000_000)),
    )
    monkeypatch.setitem(fetch.DATA_SETS, name, aimed)
    monkeypatch.setenv("no_proxy", "*")


def run(*options: str, name: str = "movielens-small") -> list[str]:
    """The lines of a fetch that goes well."""
    done = CliRunner().invoke(main, ["fetch", name, *options], catch_exceptions=False)
    assert (done.exit_code, done.stderr) == (0, "")
    return done.stdout.splitlines()


def fail(code: int, *options: str) -> str:
    """The one line of a fetch that fails with this exit code, and leaves no data set."""
    done = CliRunner().invoke(main, ["fetch", "movielens-small", *options], catch_exceptions=False)
    assert done.exit_code == code
    assert not Path(FOLDER).is_dir()
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    return done.stderr.removeprefix("error: ").rstrip("\n")


def names_in(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))


def work_files() -> list[str]:
    return names_in(Path(f".{FOLDER}.fetch"))


def assert_whole(output: Path = Path(FOLDER)) -> None:
    assert names_in(output) == ["README.txt", "movies.csv", "ratings.csv"]
    assert (output / "ratings.csv").read_bytes() == RATINGS
    assert (output / "movies.csv").read_bytes() == MOVIES


# --- Going well -----------------------------------------------------------------------------------


def test_a_data_set_is_fetched_checked_and_unpacked(site: Site, directory: Path) -> None:
    lines = run()
    assert_whole()
    assert names_in(directory)[0] == FOLDER  # and nothing beside it
    assert len(names_in(directory)) == 4
    assert lines[0].startswith("licence: research use")
    assert lines[1].startswith("citation: F. Maxwell Harper")
    assert lines[2:4] == [
        "checked: MD5, as published; names, columns and sizes of the files",
        "wrote ml-latest-small",
    ]
    assert len(lines) == 5


@pytest.mark.parametrize("name", fetch.DATA_SETS)
def test_the_printed_command_reads_what_was_fetched(
    name: str, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    aim(monkeypatch, site.url, name)
    data_set = fetch.DATA_SETS[name]
    tables = (data_set.ratings, data_set.items)
    site.put(make_zip({table.file: f"{','.join(table.columns)}\n1\n".encode() for table in tables}))
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


def test_the_command_offers_every_data_set() -> None:
    (argument,) = (item for item in main.commands["fetch"].params if item.name == "data_set")
    assert list(argument.type.choices) == list(fetch.DATA_SETS)  # type: ignore[attr-defined]


def test_data_that_are_there_are_left_alone(site: Site) -> None:
    first = run()
    site.asked.clear()
    before = Path(FOLDER, "ratings.csv").stat().st_mtime_ns
    assert run() == ["there already: ml-latest-small", first[-1]]
    assert site.asked == []
    assert Path(FOLDER, "ratings.csv").stat().st_mtime_ns == before


def test_what_a_kill_after_the_last_step_left_goes_next_time(site: Site) -> None:
    run()
    leftover = Path(f".{FOLDER}.fetch")
    leftover.mkdir()
    (leftover / "ml-latest-small.zip").touch()
    run()
    assert not leftover.exists()


def test_an_empty_directory_and_a_link_to_one_are_filled(site: Site) -> None:
    Path("place").mkdir()
    Path("link").symlink_to("place")
    run("--output", "link")
    assert Path("link").is_symlink()
    assert_whole(Path("place"))


def test_an_archive_without_a_folder_is_unpacked_all_the_same(site: Site) -> None:
    site.put(make_zip({name.removeprefix(f"{FOLDER}/"): GOOD[name] for name in list(GOOD)[1:]}))
    run("--output", "deep/down")
    assert_whole(Path("deep/down"))


def test_without_a_published_checksum_it_says_what_was_checked(site: Site) -> None:
    site.put(GOOD_ZIP, checksum=False)
    assert any("as no checksum is published" in line for line in run())
    assert_whole()


@pytest.mark.parametrize("line", ["{}  ml-latest-small.zip\n", "{}", "MD5 (x.zip) = {}\r\n"])
def test_checksums_are_read_as_publishers_write_them(site: Site, line: str) -> None:
    site.files[CHECKSUM] = line.format(hashlib.md5(GOOD_ZIP).hexdigest().upper()).encode()
    assert any("MD5, as published" in text for text in run())


def test_a_bar_is_shown_on_a_terminal_only(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECSYS_TERMINAL", "1")
    done = CliRunner().invoke(main, ["fetch", "movielens-small"], catch_exceptions=False)
    assert "ml-latest-small.zip: 100%" in done.stderr
    assert "unpacking ml-latest-small.zip: 100%" in done.stderr
    assert len(done.stdout.splitlines()) == 5


def test_the_address_and_the_checksum_are_the_publishers() -> None:
    small, large, books = fetch.DATA_SETS.values()
    for data_set, name in ((small, "ml-latest-small"), (large, "ml-25m")):
        url = f"https://files.grouplens.org/datasets/movielens/{name}.zip"
        assert (data_set.archive_url, data_set.checksum_url) == (url, f"{url}.md5")
        assert data_set.directory == name
    assert books.archive_url.startswith("https://github.com/zygmuntz/goodbooks-10k/releases/")
    assert books.checksum_url is None


@pytest.mark.real
def test_the_real_ratings_go_through(
    site: Site, real_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = real_data / FOLDER
    site.put(make_zip({f"{FOLDER}/{x.name}": x.read_bytes() for x in original.iterdir()}))
    as_published = replace(fetch.DATA_SETS["movielens-small"], ratings=SMALL.ratings)
    monkeypatch.setitem(fetch.DATA_SETS, "movielens-small", as_published)
    run()
    assert names_in(Path(FOLDER)) == names_in(original)
    for file in original.iterdir():
        assert Path(FOLDER, file.name).read_bytes() == file.read_bytes()


# --- Broken connections ---------------------------------------------------------------------------

HALF = len(GOOD_ZIP) // 2


def cut_once(site: Site) -> str:
    site.cut_after = HALF
    message = fail(3)
    site.cut_after = None
    site.asked.clear()
    return message


def test_a_cut_download_goes_on_where_it_stopped(site: Site) -> None:
    message = cut_once(site)
    assert message == (
        f"{site.url.removeprefix('http://')}: the connection broke off after {HALF:,} of "
        f"{len(GOOD_ZIP):,} bytes: run the command again, it goes on from there"
    )
    assert work_files() == ["ml-latest-small.zip.partial", "ml-latest-small.zip.partial.version"]
    run()
    assert site.asked_archive == [f"bytes={HALF}-"]
    assert_whole()


def test_a_download_cut_many_times_arrives(site: Site) -> None:
    site.cut_after = len(GOOD_ZIP) // 4
    for _ in range(3):
        fail(3)
    assert (
        Path(f".{FOLDER}.fetch/ml-latest-small.zip.partial").read_bytes()
        == (GOOD_ZIP[: 3 * site.cut_after])
    )
    site.cut_after = None
    run()
    assert_whole()


def test_the_time_of_change_serves_where_there_is_no_strong_tag(site: Site) -> None:
    changed = "Wed, 26 Sep 2018 12:00:00 GMT"
    site.headers = {"Last-Modified": changed}
    cut_once(site)
    site.headers = {"ETag": 'W/"weak"', "Last-Modified": changed}
    site.knows_if_range = False
    run()
    assert site.asked_archive == [f"bytes={HALF}-"]
    assert_whole()


@pytest.mark.parametrize("tag", [None, 'W/"weak"', '"folded\r\n tag"', '"\x1b[31m"'])
def test_without_a_tag_to_go_by_it_starts_anew(site: Site, tag: str | None) -> None:
    site.headers = {} if tag is None else {"ETag": tag}
    assert cut_once(site).endswith("run the command again, it starts anew")
    run()
    assert site.asked_archive == [None]
    assert_whole()


def test_a_server_that_ignores_range_starts_anew(site: Site) -> None:
    cut_once(site)
    site.knows_range = False
    run()
    assert site.asked_archive == [f"bytes={HALF}-"]  # the answer to it was the whole file
    assert_whole()


@pytest.mark.parametrize("knows_if_range", [True, False])
def test_a_file_that_changed_in_between_starts_anew(site: Site, knows_if_range: bool) -> None:
    cut_once(site)
    first = {f"{FOLDER}/README.txt": b"another version"}  # so that no two halves fit together
    other = make_zip({**first, **GOOD, **first})
    site.put(other, checksum=False)
    site.headers = {"ETag": '"two"'}
    site.knows_if_range = knows_if_range
    run()
    assert site.asked_archive[0] == f"bytes={HALF}-"
    assert Path(FOLDER, "README.txt").read_bytes() == b"another version"


def test_a_version_is_forgotten_with_its_bytes(site: Site) -> None:
    cut_once(site)
    site.headers, site.knows_range = {}, False
    assert cut_once(site).endswith("it starts anew")
    run()
    assert site.asked_archive == [None]
    assert_whole()


def test_an_answer_with_another_part_than_was_asked_for_starts_anew(site: Site) -> None:
    cut_once(site)
    site.shift = 1
    run()
    assert site.asked_archive == [f"bytes={HALF}-", None]
    assert_whole()


def test_more_on_disk_than_the_server_has_starts_anew(site: Site) -> None:
    cut_once(site)
    with Path(f".{FOLDER}.fetch/ml-latest-small.zip.partial").open("ab") as file:
        file.write(GOOD_ZIP)
    run()
    assert site.asked_archive == [f"bytes={HALF + len(GOOD_ZIP)}-", None]
    assert_whole()


def test_a_kill_between_the_two_files_of_a_try_does_no_harm(site: Site) -> None:
    cut_once(site)
    Path(f".{FOLDER}.fetch/ml-latest-small.zip.partial.version").unlink()
    run()
    assert site.asked_archive == [None]
    assert_whole()


def test_a_server_error_does_not_cost_what_has_arrived(site: Site) -> None:
    cut_once(site)
    site.status = {ARCHIVE: (503, "Busy")}
    fail(4)
    site.status = {}
    run()
    assert site.asked_archive[-1] == f"bytes={HALF}-"
    assert_whole()


def test_a_whole_archive_is_not_downloaded_again(site: Site, monkeypatch: Any) -> None:
    def fill_disk(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(unpack, "_write_file", fill_disk)
        fail(3)
    assert work_files() == ["ml-latest-small.zip"]
    site.asked.clear()
    run()
    assert site.asked_archive == []
    assert_whole()


def test_a_length_that_is_not_told_is_no_obstacle(site: Site) -> None:
    site.tells_length = False
    run()
    assert_whole()
    Path(FOLDER).rename("elsewhere")
    site.cut_after = HALF
    site.put(GOOD_ZIP, checksum=False)
    assert fail(4).endswith("a damaged zip, or none at all; deleted, fetched anew next time")


def test_a_silent_server_is_given_up(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch.fetch_data_set, "__kwdefaults__", {"timeout": 0.2})
    site.cut_after, site.stalls = HALF, True
    assert f"the connection broke off after {HALF:,} of" in fail(3)


FETCH = """
import sys
from dataclasses import replace
from pathlib import Path

from jobs.datasets.fetch import DATA_SETS, fetch_data_set

small = DATA_SETS["movielens-small"]
fetch_data_set(replace(small, archive_url=sys.argv[1], checksum_url=None), Path("ml"))
"""


def test_a_killed_fetch_leaves_what_the_next_goes_on_from(site: Site, directory: Path) -> None:
    site.cut_after, site.stalls = HALF, True
    command = [sys.executable, "-c", FETCH, f"{site.url}{ARCHIVE}"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    partial = directory / ".ml.fetch" / "ml-latest-small.zip.partial"
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and not (partial.exists() and partial.stat().st_size):
        time.sleep(0.005)
    process.kill()
    process.wait()
    assert names_in(directory) == [
        ".ml.fetch",
        ".ml.fetch/ml-latest-small.zip.partial",
        ".ml.fetch/ml-latest-small.zip.partial.version",
    ]
    arrived = partial.stat().st_size
    site.cut_after = None
    run("--output", "ml")
    assert site.asked_archive[-1] == f"bytes={arrived}-"
    assert_whole(Path("ml"))


def test_a_server_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch.fetch_data_set, "__kwdefaults__", {"timeout": 0.2})
    with socket.create_server(("127.0.0.1", 0)) as silent:
        aim(monkeypatch, f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert ": no answer in 0.2 seconds: check the network" in fail(3)


@contextmanager
def raw_server(monkeypatch: pytest.MonkeyPatch, *answers: bytes | None) -> Iterator[None]:
    """Sends these bytes to one connection after the other; None resets one."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            for answer in answers:
                with server.accept()[0] as connection:
                    connection.recv(65_536)
                    if answer is None:
                        linger = struct.pack("ii", 1, 0)
                        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    else:
                        connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        aim(monkeypatch, f"http://127.0.0.1:{server.getsockname()[1]}")
        yield
        thread.join()


@pytest.mark.parametrize(
    "answer",
    [None, b"", b"\x1b[31mwhat?\r\n\r\n", b"HTTP/1.1 302 F\r\nLocation: h://[\r\n\r\n"],
)
def test_what_is_no_http_is_not_quoted(
    monkeypatch: pytest.MonkeyPatch, answer: bytes | None
) -> None:
    with raw_server(monkeypatch, answer):
        assert "broke the connection off, or spoke no HTTP" in fail(3)


def test_a_cut_shows_in_an_answer_of_chunks_too(monkeypatch: pytest.MonkeyPatch) -> None:
    chunk = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nPK\x03\x04.\r\n"
    with raw_server(monkeypatch, b"HTTP/1.1 404 None\r\n\r\n", chunk):
        assert "the connection broke off after 5 bytes: run the command again" in fail(3)


def test_a_host_that_is_not_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    aim(monkeypatch, f"http://127.0.0.1:{port}")
    assert fail(3).startswith(f"cannot reach 127.0.0.1:{port} (Connection refused): check the net")
    assert not Path(f".{FOLDER}.fetch").exists()


def test_a_host_that_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)  # no test asks a name server
    aim(monkeypatch, "http://files.example")
    assert fail(3).startswith("cannot reach files.example (Name or service not known): check the")


# --- Refusals and damage --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "hint"),
    [
        (404, "the publisher has moved or removed it"),
        (410, "the publisher has moved or removed it"),
        (403, "the server, or a proxy on the way, does not give it out"),
        (204, "the server, or a proxy on the way, does not give it out"),
        (500, "the server is in trouble, try again later"),
    ],
)
def test_a_refusal_names_the_address_and_the_status(site: Site, status: int, hint: str) -> None:
    site.status = {ARCHIVE: (status, "\x1b[2J\x07 never printed")}
    assert fail(4) == f"{site.url}{ARCHIVE}: HTTP status {status}: {hint}"


def test_a_refused_checksum_is_not_taken_for_none(site: Site) -> None:
    site.status = {CHECKSUM: (500, "")}
    assert "ml-latest-small.zip.md5: HTTP status 500" in fail(4)


@pytest.mark.parametrize(
    "text", [b"<html>Log in, please", b"", b"1" * 33, b"a" * 32 + b" " + b"b" * 32]
)
def test_a_checksum_file_of_something_else(site: Site, text: bytes) -> None:
    site.files[CHECKSUM] = text
    assert ".md5: holds no checksum" in fail(4)


def test_a_wrong_checksum(site: Site) -> None:
    site.files[CHECKSUM] = b"0" * 32
    found = hashlib.md5(GOOD_ZIP).hexdigest()
    assert fail(4) == (
        f"{site.url}{ARCHIVE}: wrong checksum: MD5 {found}, the publisher says {'0' * 32}; "
        "deleted, fetched anew next time"
    )
    assert not Path(f".{FOLDER}.fetch").exists()
    site.put(GOOD_ZIP)
    run()
    assert_whole()


def damage_zip() -> bytes:
    place = GOOD_ZIP.index(RATINGS) + 1_000
    return GOOD_ZIP[:place] + b"X" + GOOD_ZIP[place + 1 :]


@pytest.mark.parametrize(
    "content",
    [b"", b"<html>Log in, please</html>", GOOD_ZIP[:-1_000], damage_zip(), GOOD_ZIP[100:]],
    ids=["empty", "page", "end missing", "byte changed", "beginning missing"],
)
def test_an_archive_that_is_damaged(site: Site, content: bytes) -> None:
    site.put(content, checksum=False)
    assert fail(4).startswith(f"{site.url}{ARCHIVE}: a damaged zip, or none at all")
    assert not Path(f".{FOLDER}.fetch").exists()


@pytest.mark.parametrize(
    ("file", "content", "problem"),
    [
        ("movies.csv", None, "has no movies.csv"),
        ("ratings.csv", b"userId,movieId,stars\n1,2,3\n", "ratings.csv has no column 'rating'"),
        ("ratings.csv", b"\x00\x1b\xff" * 9_000, "ratings.csv has no column 'userId'"),
        ("movies.csv", b"movieId,title,genres\n", "movies.csv has no rows"),
        ("movies.csv", b"", "movies.csv has no column 'movieId'"),
    ],
)
def test_an_archive_of_something_else(
    site: Site, file: str, content: bytes | None, problem: str
) -> None:
    files = {**GOOD, f"{FOLDER}/{file}": content}
    site.put(make_zip({name: data for name, data in files.items() if data is not None}))
    assert fail(4) == f"{site.url}{ARCHIVE}: {problem}; deleted, fetched anew next time"


def test_ratings_of_another_size_are_another_data_set(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    run()
    done = CliRunner().invoke(main, ["fetch", "movielens-25m", "--output", FOLDER])
    assert done.exit_code == 2
    assert f"has {len(RATINGS):,} bytes, not 500,000,000 to 1,000,000,000" in done.stderr
    Path(FOLDER).rename("elsewhere")
    monkeypatch.setattr(
        fetch,
        "DATA_SETS",
        {"movielens-small": replace(fetch.DATA_SETS["movielens-small"], ratings=SMALL.ratings)},
    )
    assert f"ratings.csv has {len(RATINGS):,} bytes, not 1,000,000 to 50,000,000" in fail(4)


def test_the_first_release_of_goodbooks_is_told_from_the_one_that_is_fetched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    aim(monkeypatch, "http://files.example", "goodbooks")
    Path("books").mkdir()
    Path("books/ratings.csv").write_text("book_id,user_id,rating\n1,314,5\n")
    Path("books/books.csv").write_text("id,book_id,best_book_id,title\n1,2767052,2767052,x\n")
    done = CliRunner().invoke(main, ["fetch", "goodbooks", "--output", "books"])
    assert done.exit_code == 2
    assert "books.csv has no column 'goodreads_book_id'" in done.stderr


# --- Archives that mean harm ----------------------------------------------------------------------


def zip_with(name: str, *, mode: int = 0, change: Callable[[bytes], bytes] | None = None) -> bytes:
    """The good archive, without its folder, and one member more."""
    extra = zipfile.ZipInfo("x" * len(name))
    extra.external_attr = mode << 16
    members = [
        (zipfile.ZipInfo(key[len(FOLDER) + 1 :]), GOOD[key], False) for key in GOOD if GOOD[key]
    ]
    content = zip_members([*members, (extra, b"harm", False)])
    # zipfile itself would tidy the name up.
    return content.replace(b"x" * len(name), name.encode())


@pytest.mark.parametrize(
    "name",
    [
        "../outside",
        "../../outside",
        "a/../../../outside",
        "HERE/outside",
        "/HERE/outside",
        "..\\outside",
        "C:\\outside.txt",
        "./ratings2.csv",
        "ratings.csv\0.txt",
        "bad\x1b[31mname",
        "line\nbreak",
        "..",
    ],
)
def test_names_that_lead_elsewhere_are_refused(site: Site, name: str, directory: Path) -> None:
    site.put(zip_with(name.replace("HERE", str(directory))))
    message = fail(4)
    assert "a member with an unsafe name" in message
    assert message.isprintable()
    assert names_in(directory) == []


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_devices_are_refused(site: Site, kind: int, directory: Path) -> None:
    site.put(zip_with("other", mode=kind | 0o777))
    assert "the archive has a link or device: 'other'" in fail(4)
    assert names_in(directory) == []


@pytest.mark.parametrize("names", [("movies.csv", "movies.csv"), ("a", "a/b")])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_files_of_one_name_are_refused(site: Site, names: tuple[str, str]) -> None:
    files = [(zipfile.ZipInfo(name), b"x", False) for name in ("ratings.csv", *names)]
    site.put(zip_members(files))
    assert "the archive has two files of one name" in fail(4)


def test_encrypted_and_oddly_packed_files_are_refused(site: Site) -> None:
    plain = make_zip({"ratings.csv": RATINGS})
    entry = plain.rindex(b"PK\x01\x02")
    for place, value in ((8, 1), (10, 12)):  # flags; method: bzip2
        site.put(plain[: entry + place] + bytes([value]) + plain[entry + place + 1 :])
        assert "an encrypted or unusually packed file: 'ratings.csv'" in fail(4)


def test_a_bomb_of_zeros_is_refused_unopened(site: Site) -> None:
    site.put(make_zip({**GOOD, f"{FOLDER}/zeros": bytes(30_000_000)}, packed=True))
    assert "50 times its own size" in fail(4)


def test_a_bomb_that_lies_about_its_size_writes_no_more_than_it_said(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = make_zip({"ratings.csv": RATINGS + bytes(30_000_000)}, packed=True)
    told = (len(RATINGS) + 30_000_000).to_bytes(4, "little")
    assert packed.count(told) == 2
    site.put(packed.replace(told, (1_000).to_bytes(4, "little")))
    written: list[int] = []
    original = unpack._write_file

    def watch(members: Any, info: Any, path: Path, bar: Any) -> None:
        try:
            original(members, info, path, bar)
        finally:
            written.append(path.stat().st_size)

    monkeypatch.setattr(unpack, "_write_file", watch)
    assert "a damaged zip" in fail(4)
    assert max(written) <= 1_000


def test_more_bytes_or_members_than_any_data_set_has(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.put(make_zip({f"{FOLDER}/{number}": b"x" for number in range(101)}))
    assert "the archive has 101 members, more than 100" in fail(4)
    site.put(GOOD_ZIP)
    monkeypatch.setattr(unpack, "MAX_BYTES", len(RATINGS))
    assert f"more than {len(RATINGS):,}" in fail(4)


# --- Places that cannot be written ----------------------------------------------------------------


@pytest.fixture
def tiny_disk(directory: Path) -> Iterator[Path]:
    """A file system of 700 KB: the archive fits once, but not twice."""
    disk = directory / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=700k", "none", str(disk)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("no mount command")
    if done.returncode:
        pytest.skip(f"no file system of a given size: {done.stderr.strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_while_unpacking_keeps_the_archive_only(site: Site, tiny_disk: Path) -> None:
    site.put(make_zip(GOOD, packed=True))
    (tiny_disk / "ballast").write_bytes(bytes(200_000))
    message = fail(3, "--output", f"{tiny_disk}/ml")
    assert message == (
        f"{tiny_disk}: cannot be written: No space left on device; "
        "free some space and run the command again"
    )
    assert names_in(tiny_disk) == [".ml.fetch", ".ml.fetch/ml-latest-small.zip", "ballast"]


def test_a_full_disk_while_downloading_goes_on_when_there_is_room(
    site: Site, tiny_disk: Path
) -> None:
    ballast = tiny_disk / "ballast"
    ballast.write_bytes(bytes(500_000))
    assert "No space left on device" in fail(3, "--output", f"{tiny_disk}/ml")
    arrived = (tiny_disk / ".ml.fetch/ml-latest-small.zip.partial").stat().st_size
    assert 0 < arrived < len(GOOD_ZIP)
    ballast.unlink()
    site.asked.clear()
    fail(3, "--output", f"{tiny_disk}/ml")  # now it is unpacking that has no room
    assert site.asked_archive == [f"bytes={arrived}-"]


def test_a_limit_on_the_size_of_files(site: Site) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        message = fail(3)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert message.endswith(": cannot be written: File too large")
    run()
    assert site.asked_archive[-1] == "bytes=100000-"
    assert_whole()


def test_an_output_below_a_file(site: Site, directory: Path) -> None:
    Path("file").touch()
    message = fail(3, "--output", "file/ml")
    assert message == f"{directory}/file: cannot be written: Not a directory"


def test_an_output_that_cannot_be_read(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    Path("place").mkdir()
    Path("place/ratings.csv").touch()
    monkeypatch.setattr(fetch, "_check_tables", refuse)  # root may read everything
    assert fail(3, "--output", "place") == "--output place: cannot be read: Permission denied"


def test_an_output_that_leads_in_circles(site: Site, directory: Path) -> None:
    Path("circle").symlink_to("circle")
    assert fail(3, "--output", "circle") == f"{directory}: cannot be written: Not a directory"
    assert Path("circle").is_symlink()


def test_the_current_directory_is_not_replaced(site: Site, directory: Path) -> None:
    for spelling in (".", f"../{directory.name}"):
        assert "the current directory or a mount point" in fail(2, "--output", spelling)
    assert site.asked == []


def test_a_mount_point_is_not_replaced(site: Site, tiny_disk: Path) -> None:
    assert "the current directory or a mount point" in fail(2, "--output", str(tiny_disk))


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
    before = names_in(place)
    message = fail(2, "--output", "place")
    assert message.startswith("--output place: is there, and is not ml-latest-small (")
    assert names_in(place) == before
    assert site.asked == []


def test_a_second_fetch_waits_for_nobody(site: Site) -> None:
    work = Path(f".{FOLDER}.fetch")
    work.mkdir()
    handle = os.open(work, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        assert fail(6) == "--output ml-latest-small: another fetch is at work on it"
        assert work.is_dir()
    finally:
        os.close(handle)
    run()
    assert_whole()
