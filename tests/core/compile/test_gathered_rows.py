"""Sums over gathered rows are those of numpy, a last group that is not full included."""

import numpy as np
import pytest

from recsys_core.compile.gathered_rows import (
    GROUP,
    add_group,
    add_rows,
    copy_row,
    copy_transposed,
    multiply_group,
)
from recsys_core.compile.jit import compiled
from recsys_core.compile.vector_size import count_lanes

WIDTH = 32
FLOATS = pytest.mark.parametrize("dtype", [np.float32, np.float64])
STORED = pytest.mark.parametrize("stored", [np.float32, np.float64])
COUNTS = pytest.mark.parametrize("n_rows", [1, GROUP - 1, GROUP, GROUP + 1, 2 * GROUP + 3])


def draw(*shape: int, dtype: type) -> np.ndarray:
    """Small integers: any order of sums is exact."""
    return np.random.default_rng(shape).integers(-9, 10, shape).astype(dtype)


@compiled
def run_add_group(matrix, rows, factors, total):  # type: ignore[no-untyped-def]
    for at in range(0, len(rows), GROUP):
        add_group(matrix, rows, at, len(rows), factors, at, total)


@compiled
def run_multiply_group(matrix, rows, right, into):  # type: ignore[no-untyped-def]
    for at in range(0, len(rows), GROUP):
        multiply_group(matrix, rows, at, len(rows), right, into, at)


@compiled
def run_copy_transposed(into, matrix, rows, scales):  # type: ignore[no-untyped-def]
    for at in range(0, len(rows), count_lanes(into)):
        copy_transposed(into, at, matrix, rows, len(rows), scales)


@compiled
def run_add_rows(total, start, matrix, rows, factors):  # type: ignore[no-untyped-def]
    add_rows(total, start, len(total), matrix, rows, factors)


@compiled
def run_copy_row(into, at, matrix, row):  # type: ignore[no-untyped-def]
    copy_row(into, at, matrix, row)


@FLOATS
@STORED
@COUNTS
def test_scaled_rows_are_added(n_rows: int, stored: type, dtype: type) -> None:
    matrix, factors = draw(20, WIDTH, dtype=stored), draw(n_rows, dtype=stored)
    rows = np.random.default_rng(n_rows).integers(0, 20, n_rows).astype(np.int32)
    total = draw(WIDTH, dtype=dtype)
    expected = total + factors @ matrix[rows]
    run_add_group(matrix, rows, factors, total)
    assert total.tolist() == expected.tolist()


@FLOATS
@STORED
@COUNTS
def test_rows_are_multiplied_by_a_vector(n_rows: int, stored: type, dtype: type) -> None:
    matrix, right = draw(20, WIDTH, dtype=stored), draw(WIDTH, dtype=dtype)
    rows = np.random.default_rng(n_rows).integers(0, 20, n_rows)
    into = np.zeros(n_rows + GROUP)
    run_multiply_group(matrix, rows, right, into)
    assert into[:n_rows].tolist() == (matrix[rows] @ right).tolist()


@FLOATS
@STORED
@COUNTS
def test_rows_become_scaled_columns(n_rows: int, stored: type, dtype: type) -> None:
    matrix, scales = draw(20, WIDTH, dtype=stored), draw(WIDTH, dtype=dtype)
    rows = np.random.default_rng(n_rows).integers(0, 20, n_rows).astype(np.int32)
    into = np.full((WIDTH, n_rows + -n_rows % 16), 5, dtype)
    run_copy_transposed(into, matrix, rows, scales)
    lanes = 64 // into.itemsize
    used = n_rows + -n_rows % lanes
    assert into[:, :n_rows].tolist() == (matrix[rows] * scales).T.tolist()
    assert not into[:, n_rows:used].any()
    assert (into[:, used:] == 5).all()


@FLOATS
def test_rows_of_a_tuple_are_added_from_a_column_on(dtype: type) -> None:
    matrix, total = draw(9, WIDTH, dtype=np.float32), draw(WIDTH, dtype=dtype)
    expected = total.copy()
    expected[16:] += (2 * matrix[3] - matrix[8] + 4 * matrix[0])[16:]
    run_add_rows(total, 16, matrix, (3, 8, 0), (dtype(2), dtype(-1), dtype(4)))
    assert total.tolist() == expected.tolist()


@FLOATS
def test_a_row_is_copied_and_converted(dtype: type) -> None:
    matrix, into = draw(5, WIDTH, dtype=np.float64), np.zeros((3, 2 * WIDTH), dtype)
    run_copy_row(into, 1, matrix, 4)
    assert into[1, :WIDTH].tolist() == matrix[4].tolist()
    assert not into[[0, 2]].any()
    assert not into[1, WIDTH:].any()
