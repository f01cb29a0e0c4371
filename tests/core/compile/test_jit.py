"""Compiled code is kept for exactly the sources it was made from, and works where it cannot be."""

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import llvmlite.binding as llvm
import pytest
from paths import ROOT

from recsys_core.compile.jit import has_feature, hash_sources

PACKAGE = ROOT / "recsys_core"
SUM = """
import numpy as np
from scipy.sparse import csr_matrix
from recsys_core.linalg.projection import project
print(project(csr_matrix(np.float32([[1, 2]])), np.float32([[3], [4]])).tolist())
"""


def add_up(path: Path, home: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SUM],
        cwd=home,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(path), "HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("[[11.0]]\n", "")


def list_code(directory: Path) -> dict[str, int]:
    """Files of machine code below a directory, by the directory they are in, and how many."""
    found: dict[str, int] = {}
    for file in directory.rglob("*.nbc"):
        name = next(part for part in file.parts if part.startswith("compiled-"))
        found[name] = found.get(name, 0) + 1
    return found


def test_code_is_kept_beside_the_source_and_not_for_other_sources(tmp_path: Path) -> None:
    copy = tmp_path / "recsys_core"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    add_up(tmp_path, tmp_path)
    [first] = list_code(copy)
    add_up(tmp_path, tmp_path)
    assert list(list_code(copy)) == [first]
    callee = copy / "compile" / "gathered_rows.py"  # whose code is part of every other file's
    callee.write_text(callee.read_text() + "\n# changed\n")
    add_up(tmp_path, tmp_path)
    assert len(list_code(copy)) == 2


def move(package: Path) -> None:
    (package / "linalg" / "solve.py").rename(package / "linalg" / "solver.py")


def move_to_another_folder(package: Path) -> None:
    (package / "linalg" / "solve.py").rename(package / "models" / "solve.py")


def change(package: Path) -> None:
    (package / "linalg" / "deep" / "step.py").write_text("step = 2\n")


def delete(package: Path) -> None:
    (package / "linalg" / "deep" / "step.py").unlink()


def delete_an_empty_one(package: Path) -> None:
    (package / "linalg" / "__init__.py").unlink()


def move_a_line_to_the_next_file(package: Path) -> None:
    step, solve = package / "linalg" / "deep" / "step.py", package / "linalg" / "solve.py"
    solve.write_text(step.read_text() + solve.read_text())
    step.write_text("")


def make_package(directory: Path) -> Path:
    """Folders of folders, of one line a file."""
    for folder in ("linalg/deep", "models"):
        (directory / folder).mkdir(parents=True)
    (directory / "linalg" / "__init__.py").touch()
    (directory / "linalg" / "deep" / "step.py").write_text("step = 1\n")
    (directory / "linalg" / "solve.py").write_text("solve = 1\n")
    return directory


def test_the_same_sources_have_the_same_hash_anywhere(tmp_path: Path) -> None:
    assert hash_sources(make_package(tmp_path / "a")) == hash_sources(make_package(tmp_path / "b"))


@pytest.mark.parametrize(
    "edit",
    [
        *(change, move, move_to_another_folder, delete, delete_an_empty_one),
        move_a_line_to_the_next_file,
    ],
)
def test_whatever_happens_to_a_source_changes_the_hash(
    edit: Callable[[Path], None], tmp_path: Path
) -> None:
    package = make_package(tmp_path / "package")
    before = hash_sources(package)
    edit(package)
    assert hash_sources(package) != before


def test_a_zip_is_compiled_from_and_leaves_nothing_behind(tmp_path: Path) -> None:
    archive = tmp_path / "recsys.zip"
    with zipfile.ZipFile(archive, "w") as target:
        for source in PACKAGE.rglob("*.py"):
            target.write(source, source.relative_to(ROOT))
    add_up(archive, tmp_path)
    assert list(tmp_path.iterdir()) == [archive]


def test_features_are_those_of_this_cpu() -> None:
    here = llvm.get_host_cpu_features()
    for name in ("sse2", "avx2", "avx512f", "avx512vnni", "neon"):
        assert has_feature(name) == here.get(name, False)
    assert not has_feature("avx512")  # the beginning of a name is not a name
