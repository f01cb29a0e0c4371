import gzip
from pathlib import Path

import pytest
from builders import STORAGES
from pyspark.sql import SparkSession

from jobs.errors import MachineError
from jobs.input.files import find_files
from jobs.storage.base import Storage
from jobs.storage.local import LocalStorage
from jobs.storage.open import open_storage


def test_what_is_written_is_read(storage: Storage) -> None:
    storage.check_writable()
    storage.write("a/b.json", b"one")
    storage.write("a/b.json", b"two")
    assert storage.read("a/b.json") == b"two"
    assert storage.list("a") == ["b.json"]  # and no temporary file
    assert storage.list("nowhere") == []


def test_a_move_never_overwrites(storage: Storage) -> None:
    storage.write("x/f", b"x")
    storage.write("y/f", b"y")
    with pytest.raises(FileExistsError):
        storage.move("x", "y")
    storage.move("x", "deep/z")
    assert storage.read("deep/z/f") == b"x"
    assert not storage.exists("x")


def test_delete_takes_a_tree_and_forgives_nothing_there(storage: Storage) -> None:
    storage.write("t/u/f", b"x")
    storage.delete("t")
    storage.delete("t")
    assert not storage.exists("t")


def test_an_output_that_cannot_be_written_is_refused(spark: SparkSession, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    for make in STORAGES.values():
        with pytest.raises(MachineError, match=r"output\.path = .* cannot be written"):
            make(spark, blocked / "out").check_writable()


def test_a_link_is_swapped_and_read_back(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)
    storage.write("runs/1/f", b"one")
    storage.write("runs/2/f", b"two")
    assert storage.pointee("current") is None
    for run in ("runs/1", "runs/2"):
        storage.point("current", run)
        assert storage.pointee("current") == run
    assert (tmp_path / "current" / "f").read_bytes() == b"two"


def test_the_path_decides_the_kind(spark: SparkSession, tmp_path: Path) -> None:
    assert isinstance(open_storage(spark, str(tmp_path)), LocalStorage)
    assert isinstance(open_storage(spark, tmp_path.as_uri()), LocalStorage)
    with pytest.raises(MachineError, match=r"output\.path = 'viewfs://nowhere/x' cannot be opened"):
        open_storage(spark, "viewfs://nowhere/x")


def test_files_are_found_by_path_directory_and_glob(spark: SparkSession, tmp_path: Path) -> None:
    for name in ("a.csv", "sub/b.csv", "_SUCCESS", ".hidden.csv", "_temporary/c.csv"):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(name)
    (tmp_path / "d.csv.gz").write_bytes(gzip.compress(b"d"))
    names = [Path(file.path).name for file in find_files(spark, str(tmp_path))]
    assert names == ["a.csv", "d.csv.gz", "b.csv"]
    assert [Path(f.path).name for f in find_files(spark, f"{tmp_path}/*.csv")] == ["a.csv"]
    assert find_files(spark, f"{tmp_path}/none*.csv") == []
    [found] = find_files(spark, f"{tmp_path}/a.csv")
    assert found.bytes == 5
    assert found.sha256 is not None
    assert len(found.sha256) == 64
