"""LLVM is written in one place, in one way: what the writer writes, run on vectors of numbers."""

import ast
from typing import Any

import numba
import numpy as np
import pytest
from numba import types
from numba.extending import intrinsic
from paths import ROOT

from recsys_core.compile.arguments import list_indices, open_arguments
from recsys_core.compile.vector_writer import VectorWriter

FILES = sorted(
    path for package in ("jobs", "recsys_core") for path in (ROOT / package).rglob("*.py")
)
COMPILER = {"numba", "llvmlite"}


def find_compiler(source: str) -> set[str]:
    """The packages of the compiler that a source imports."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
    return {name.partition(".")[0] for name in names} & COMPILER


def test_the_compiler_is_imported_in_one_folder() -> None:
    found = {path.parent.relative_to(ROOT) for path in FILES if find_compiler(path.read_text())}
    assert [folder.as_posix() for folder in found] == ["recsys_core/compile"]


@intrinsic  # type: ignore[untyped-decorator]
def transpose(_context: Any, matrix: Any, into: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        code = VectorWriter(context, builder, matrix.dtype)
        source, target = open_arguments(context, builder, signature, arguments)
        rows = list_indices(builder, make_zero(context), code.lanes)
        taken = [code.load(source.address(row, rows[0])) for row in rows]
        for row, vector in zip(rows, code.transpose(taken), strict=True):
            code.store(vector, target.address(row, rows[0]))
        return context.get_dummy_value()

    return types.void(matrix, into), generate


@intrinsic  # type: ignore[untyped-decorator]
def sum_rows(_context: Any, matrix: Any, into: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        code = VectorWriter(context, builder, into.dtype)
        source, target = open_arguments(context, builder, signature, arguments)
        rows = list_indices(builder, make_zero(context), code.lanes)
        taken = [code.load(source.address(row, rows[0])) for row in rows]
        code.store(code.sum_horizontally(taken), target.address(rows[0]))
        return context.get_dummy_value()

    return types.void(matrix, into), generate


def make_zero(context: Any) -> Any:
    return context.get_constant(types.intp, 0)


# Not kept on disk: numba would not see a change to the writer.
@numba.njit
def run_transpose(matrix: np.ndarray, into: np.ndarray) -> None:
    transpose(matrix, into)


@numba.njit
def run_sum_rows(matrix: np.ndarray, into: np.ndarray) -> None:
    sum_rows(matrix, into)


@pytest.mark.parametrize(("dtype", "lanes"), [(np.float32, 16), (np.float64, 8)])
def test_vectors_are_transposed(dtype: type, lanes: int) -> None:
    matrix = np.arange(lanes * lanes).reshape(lanes, lanes).astype(dtype)
    into = np.zeros_like(matrix)
    run_transpose(matrix, into)
    assert into.tolist() == matrix.T.tolist()


@pytest.mark.parametrize("stored", [np.float32, np.float64])
@pytest.mark.parametrize(("dtype", "lanes"), [(np.float32, 16), (np.float64, 8)])
def test_each_vector_is_summed_in_its_own_type(stored: type, dtype: type, lanes: int) -> None:
    matrix = (2 ** np.arange(lanes) * (1 + np.arange(lanes)[:, None])).astype(stored)
    into = np.zeros(lanes, dtype)
    run_sum_rows(matrix, into)
    assert into.tolist() == matrix.sum(axis=1).tolist()
