"""Ridge regression of each user: the minimum, and each user alone."""

from collections.abc import Sequence

import numpy as np
import pytest
from core_examples import are_bit_equal

from recsys_core.linalg.ridge import solve_ridge

N_ITEMS = 1_500
User = tuple[np.ndarray, np.ndarray]
"""Items, int32 [n], and targets, float64 [n]."""


def draw_design(n_columns: int, *, dtype: type = np.float64, seed: int = 0) -> np.ndarray:
    """[N_ITEMS, n_columns], its entries those of a float32."""
    vectors = np.random.default_rng(seed).normal(0.1, 0.3, (N_ITEMS, n_columns))
    return vectors.astype(np.float32).astype(dtype)


def draw_user(n_ratings: int, *, seed: int = 0) -> User:
    rng = np.random.default_rng((seed, n_ratings))
    items = rng.permutation(N_ITEMS)[:n_ratings].astype(np.int32)
    return items, rng.integers(1, 11, n_ratings) / 2


def solve(design: np.ndarray, users: Sequence[User], regularization: float) -> np.ndarray:
    indptr = np.cumsum([0, *(len(items) for items, _ in users)])
    items, targets = (np.concatenate(parts) for parts in zip(*users, strict=True))
    return solve_ridge(design, indptr, items, targets, regularization)


def solve_with_numpy(design: np.ndarray, user: User, regularization: float) -> np.ndarray:
    """The same minimum as least squares, whose error does not grow with the square of A's."""
    items, targets = user
    n_columns = design.shape[1]
    root = np.sqrt(regularization * max(len(items), 1))
    stacked = np.concatenate([design[items], root * np.eye(n_columns)])
    return np.linalg.lstsq(stacked, np.concatenate([targets, np.zeros(n_columns)]), rcond=None)[0]


def sizes_around(n_columns: int) -> list[int]:
    """No ratings, one, up to six fewer than columns, as many, more, and many chunks of them."""
    fewer = {max(n_columns - missing, 0) for missing in range(1, 7)}
    return sorted({0, 1, n_columns // 2, *fewer, n_columns, n_columns + 1, n_columns + 31, 1_000})


@pytest.mark.parametrize("n_columns", [1, 2, 7, 8, 9, 16, 17, 24, 64, 65])
@pytest.mark.parametrize("regularization", [1e-8, 0.02, 5.0])
def test_solutions_are_those_of_numpy(n_columns: int, regularization: float) -> None:
    design = draw_design(n_columns)
    users = [draw_user(size) for size in sizes_around(n_columns)]
    expected = np.array([solve_with_numpy(design, user, regularization) for user in users])
    # A square system may be nearly singular: then lambda alone bounds what rounding grows to.
    tolerance = 1e-10 if regularization > 1e-8 else 1e-6
    assert np.all(
        np.linalg.norm(solve(design, users, regularization) - expected, axis=1)
        <= tolerance * np.linalg.norm(expected, axis=1)
    )


@pytest.mark.parametrize("n_columns", [8, 65])
def test_a_float32_design_gives_the_same_bits(n_columns: int) -> None:
    users = [draw_user(size) for size in sizes_around(n_columns)]
    narrow, wide = (draw_design(n_columns, dtype=dtype) for dtype in (np.float32, np.float64))
    assert are_bit_equal(solve(narrow, users, 0.02), solve(wide, users, 0.02))


def test_a_user_without_ratings_gets_zeros() -> None:
    users = [draw_user(70), draw_user(0), draw_user(5), draw_user(0)]
    solutions = solve(draw_design(8), users, 0.02)
    assert not solutions[[1, 3]].any()
    assert solutions[[0, 2]].all()


@pytest.mark.parametrize("n_ratings", [20, 64, 1_000])
def test_nearly_dependent_factors_leave_a_small_residual(n_ratings: int) -> None:
    """Half of the columns repeat the other half but for 1e-7, far below what lambda resolves."""
    base = draw_design(32)
    noise = np.random.default_rng(1).normal(size=base.shape)
    design = np.concatenate([base, base + 1e-7 * noise], axis=1)
    items, targets = user = draw_user(n_ratings)
    rated, ridge = design[items], 1e-12 * n_ratings
    found = solve(design, [user], 1e-12)[0]
    gradient = rated.T @ (rated @ found - targets) + ridge * found
    assert np.linalg.norm(gradient) <= 1e-9 * np.linalg.norm(rated.T @ targets)


@pytest.mark.parametrize("n_columns", [3, 17, 64])
@pytest.mark.parametrize("regularization", [0.0, 1e-8, 0.02])
def test_a_user_is_solved_alike_alone_and_in_any_company(
    n_columns: int, regularization: float
) -> None:
    design = draw_design(n_columns)
    sizes = [*sizes_around(n_columns), 40, 63, 200]
    users = [draw_user(size, seed=seed) for seed, size in enumerate(sizes)]
    together = solve(design, users, regularization)
    alone = np.concatenate([solve(design, [user], regularization) for user in users])
    order = np.random.default_rng(0).permutation(len(users))
    shuffled = solve(design, [users[at] for at in order], regularization)
    assert are_bit_equal(together, alone)
    assert are_bit_equal(together[order], shuffled)


@pytest.mark.parametrize("n_ratings", [1, 5, 8, 50])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_without_lambda_the_shortest_least_squares_solution_is_taken(
    n_ratings: int, dtype: type
) -> None:
    design = draw_design(8, dtype=dtype)
    design[:, 7] = design[:, 0]  # of the best solutions the shortest has these two weights equal
    items, targets = user = draw_user(n_ratings)
    expected = np.linalg.pinv(design[items].astype(np.float64), rcond=1e-10) @ targets
    found = solve(design, [user], 0.0)[0]
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-10)
    assert found[7] == pytest.approx(found[0], rel=1e-8)
