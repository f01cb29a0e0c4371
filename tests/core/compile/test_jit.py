"""Compiled code is kept for exactly the sources it was made from, and works where it cannot be."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import llvmlite.binding as llvm
import numpy as np
from paths import ROOT

from recsys_core.compile.jit import compiled, has_feature
from recsys_core.compile.score_masks import LANES, count_bits, lowest_bit, raise_to, reaching

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
    callee = copy / "compile" / "triangular_blocks.py"  # whose code is part of every other file's
    callee.write_text(callee.read_text() + "\n# changed\n")
    add_up(tmp_path, tmp_path)
    assert len(list_code(copy)) == 2


def test_a_zip_is_compiled_from_and_leaves_nothing_behind(tmp_path: Path) -> None:
    archive = tmp_path / "recsys.zip"
    with zipfile.ZipFile(archive, "w") as target:
        for source in PACKAGE.rglob("*.py"):
            target.write(source, source.relative_to(ROOT))
    add_up(archive, tmp_path)
    assert list(tmp_path.iterdir()) == [archive]


@compiled
def _use_all(scores: np.ndarray, start: int, threshold: np.float32) -> tuple[int, int, int]:
    bits = reaching(scores, start, threshold)
    maxima = np.zeros(LANES + 1, np.float32)
    raise_to(maxima, 1, scores, start)
    place = lowest_bit(bits) if bits != np.uint64(0) else -1
    return count_bits(bits), place, int(maxima.sum())


def test_vector_operations_are_what_they_say() -> None:
    scores = np.zeros(LANES + 8, np.float32)
    scores[[5, 6, 20, LANES + 4]] = [9, 1, 2, 3]
    assert _use_all(scores, 5, np.float32(1)) == (4, 0, 15)
    assert _use_all(scores, 6, np.float32(2)) == (2, 14, 6)
    assert _use_all(scores, 5, np.float32(10)) == (0, -1, 15)
    scores[7] = -np.inf
    assert _use_all(scores, 7, np.float32(-np.inf))[0] == LANES


def test_features_are_those_of_this_cpu() -> None:
    here = llvm.get_host_cpu_features()
    for name in ("sse2", "avx2", "avx512f", "avx512vnni", "neon"):
        assert has_feature(name) == here.get(name, False)
    assert not has_feature("avx512")  # the beginning of a name is not a name
