"""Gram matrices, their factorization and its solves, of both types of numbers."""

import numpy as np
import pytest

from recsys_core.linalg.cholesky import add_gram, factorize, padded, solve, start_gram

SIZES = [1, 7, 8, 9, 15, 16, 17, 33, 64, 70]
DTYPES = pytest.mark.parametrize(("dtype", "error"), [(np.float32, 1e-4), (np.float64, 1e-12)])


def make_gram(rows: np.ndarray, ridge: float, weights: np.ndarray | None = None) -> np.ndarray:
    """Padded, with a width that is none of the size's."""
    height = padded(rows, rows.shape[1])
    wide = np.zeros((len(rows), height + 16), rows.dtype)
    wide[:, : rows.shape[1]] = rows
    gram = np.full((height, height + 16), 5.0, rows.dtype)  # as if used before
    start_gram(gram, rows.shape[1], ridge)
    add_gram(gram, rows.shape[1], wide, None, weights, 0, len(rows))
    return gram


def solve_in_place(gram: np.ndarray, target: np.ndarray) -> np.ndarray:
    size = len(target)
    into = np.zeros(padded(gram, size), gram.dtype)
    into[:size] = target
    factorize(gram, size)
    solve(gram, size, into, np.empty_like(into))
    assert not into[size:].any()
    return into[:size]


@DTYPES
@pytest.mark.parametrize("n_rows", [0, 1, 64, 65, 200])
@pytest.mark.parametrize("size", SIZES)
def test_gram_matrices_are_those_of_numpy(
    size: int, n_rows: int, dtype: type, error: float
) -> None:
    rows = np.random.default_rng(size).normal(size=(n_rows, size)).astype(dtype)
    expected = rows.T.astype(np.float64) @ rows + 0.5 * np.eye(size)
    found = np.triu(make_gram(rows, 0.5)[:size, :size])
    np.testing.assert_allclose(found, np.triu(expected), atol=error * max(n_rows, 1))


@DTYPES
@pytest.mark.parametrize("size", [1, 9, 33, 70])
def test_gram_matrices_are_of_weighted_rows(size: int, dtype: type, error: float) -> None:
    rng = np.random.default_rng(size)
    rows = rng.normal(size=(150, size)).astype(dtype)
    weights = rng.uniform(0.01, 3.0, 150).astype(np.float32)
    expected = rows.T.astype(np.float64) @ (weights[:, None] * rows) + 0.5 * np.eye(size)
    found = np.triu(make_gram(rows, 0.5, weights)[:size, :size])
    np.testing.assert_allclose(found, np.triu(expected), atol=300 * error)


@DTYPES
@pytest.mark.parametrize("size", SIZES)
def test_solutions_are_those_of_numpy(size: int, dtype: type, error: float) -> None:
    rng = np.random.default_rng(size)
    rows, planted = rng.normal(size=(3 * size, size)).astype(dtype), rng.normal(size=size)
    system = rows.T.astype(np.float64) @ rows + np.eye(size)
    found = solve_in_place(make_gram(rows, 1.0), (system @ planted).astype(dtype))
    np.testing.assert_allclose(found, planted, atol=error)


@DTYPES
@pytest.mark.parametrize("size", [9, 33, 64])
def test_a_column_that_depends_on_others_gets_nothing(size: int, dtype: type, error: float) -> None:
    """Of the many solutions one. The last column is the first, which is alone in its row."""
    rng = np.random.default_rng(size)
    rows = rng.normal(size=(3 * size, size)).astype(dtype)
    rows[:, 0] = rows[0] = 0.0
    rows[0, 0] = 2.0
    rows[:, -1] = rows[:, 0]
    target = rows.T @ rng.normal(size=len(rows)).astype(dtype)
    found = solve_in_place(make_gram(rows, 0.0), target)
    assert found[-1] == 0.0
    np.testing.assert_allclose(
        rows.T.astype(np.float64) @ (rows @ found) - target, 0.0, atol=100 * error
    )
