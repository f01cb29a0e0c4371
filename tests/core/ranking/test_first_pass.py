"""First passes: their scores are within the bound they state, whatever the factors."""

import os
import subprocess
import sys

import numpy as np
import pytest
from core_examples import are_bit_equal
from hypothesis import given, settings
from hypothesis import strategies as st
from paths import ROOT
from scipy.sparse import csr_matrix

from recsys_core.compile.int16_tile import FEATURE, TILE_USERS
from recsys_core.compile.jit import has_feature
from recsys_core.compile.score_masks import LANES
from recsys_core.ranking.first_pass import FirstPass, Float32FirstPass, Int16FirstPass, SortedItems
from recsys_core.ranking.int16_kernels import multiply
from recsys_core.ranking.quantization import N_STEPS, Quantized, measure, quantize
from recsys_core.ranking.top_k import SparsePart, TopKScorer
from recsys_core.ranking.top_k_kernels import QueryBlock, SeenItems

LOWEST = np.finfo(np.float32).min / 2

needs_int16 = pytest.mark.skipif(not has_feature(FEATURE), reason=f"the CPU has no {FEATURE}")
both_first_passes = pytest.mark.parametrize(
    "kind", [Float32FirstPass, pytest.param(Int16FirstPass, marks=needs_int16)]
)


def draw(n_rows: int, n_columns: int, *, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n_rows, n_columns)).astype(np.float32)


def sort_items(factors: np.ndarray, width: int = 2 * LANES) -> SortedItems:
    norms = np.linalg.norm(factors.astype(np.float64), axis=1)
    order = np.argsort(-norms, kind="stable")
    return SortedItems(factors[order], norms[order], width)


def see_nothing(n_items: int, width: int) -> SeenItems:
    nothing = np.zeros(0, dtype=np.int32)
    return SeenItems(nothing, nothing, np.zeros(-(-n_items // width), dtype=np.int64))


def score_all(
    first_pass: FirstPass, users: np.ndarray, items: SortedItems
) -> tuple[np.ndarray, np.ndarray]:
    """All rough scores, float64 [n_users, n_items], and error margins: each item is a candidate."""
    n_users, (n_items, n_columns) = len(users), items.factors.shape
    norms = np.linalg.norm(users.astype(np.float64), axis=1)
    capacity = LANES * (n_items // LANES + 1)
    block = QueryBlock(
        k=max(n_items, LANES),
        queries=users,
        factors=items.factors,
        item_at=np.arange(n_items, dtype=np.int32),
        norm=norms,
        error_margin=first_pass.set_queries(users, norms),
        threshold=np.full(n_users, LOWEST, dtype=np.float32),
        n_found=np.zeros(n_users, dtype=np.int64),
        capacity=capacity,
        rough_score=np.full(n_users * capacity, -np.inf, dtype=np.float32),
        position=np.zeros(n_users * capacity, dtype=np.int32),
        exact_score=np.empty(capacity),
        wide_query=np.empty(n_columns),
        n_false_candidates=np.zeros(1, dtype=np.int64),
        sparse=SparsePart.create(None, np.arange(n_items), items.width).take_users(None, n_users),
    )
    first_pass.collect(block, see_nothing(n_items, items.width))
    assert block.n_found.tolist() == [n_items] * n_users
    position, rough = (
        array.reshape(n_users, capacity)[:, :n_items]
        for array in (block.position, block.rough_score)
    )
    assert np.array_equal(np.sort(position), np.tile(np.arange(n_items), (n_users, 1)))
    scores = np.empty((n_users, n_items))
    np.put_along_axis(scores, position, rough.astype(np.float64), axis=1)
    return scores, block.error_margin


def score_exactly(users: np.ndarray, items: np.ndarray) -> np.ndarray:
    return (users.astype(np.longdouble) @ items.T.astype(np.longdouble)).astype(np.float64)


@both_first_passes
@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 999),
    exponents=st.lists(
        st.tuples(st.integers(-12, 12), st.integers(-12, 12)), min_size=1, max_size=33
    ),
    spread=st.sampled_from([0, 1, 5]),
    share=st.sampled_from([0.1, 1.0]),
)
def test_rough_scores_are_within_half_the_error_margin(
    kind: type[Float32FirstPass] | type[Int16FirstPass],
    seed: int,
    exponents: list[tuple[int, int]],
    spread: int,
    share: float,
) -> None:
    """Columns and rows of any magnitude, dense and sparse."""
    rng = np.random.default_rng(seed)
    factors = []
    for n_rows, of_columns in zip((7, 150), 10.0 ** np.array(exponents).T, strict=True):
        rows = 10.0 ** rng.uniform(-spread, spread, (n_rows, 1))
        drawn = rng.standard_normal((n_rows, len(exponents))) * of_columns * rows
        factors.append((drawn * (rng.random(drawn.shape) < share)).astype(np.float32))
    users, items = factors[0], sort_items(factors[1])
    rough, margin = score_all(kind(items, 8), users, items)
    error = np.abs(rough - score_exactly(users, items.factors)).max(axis=1)
    assert np.all(error <= margin / 2)


@both_first_passes
def test_the_error_margin_is_no_wider_than_it_must_be(
    kind: type[Float32FirstPass] | type[Int16FirstPass],
) -> None:
    """A 16-bit step is rounded by 0.29 of itself on average, on both sides."""
    users, items = draw(20, 64, seed=1), sort_items(draw(500, 64))
    norms = np.linalg.norm(users.astype(np.float64), axis=1) * items.norms[0]
    expected = {Float32FirstPass: 68 * 2.0**-24, Int16FirstPass: 2 * 0.29 * 64**0.5 / N_STEPS}[kind]
    ratio = kind(items, 20).set_queries(users, norms / items.norms[0]) / 2 / norms
    assert np.all((0.9 * expected < ratio) & (ratio < 1.2 * expected))


@pytest.mark.parametrize("group", [TILE_USERS, LANES])
@pytest.mark.parametrize("n_columns", [1, 4, 7])
def test_rows_are_packed_in_groups_and_columns_in_pairs(group: int, n_columns: int) -> None:
    factors = draw(group + 3, n_columns)
    factors[1] = 0
    scale, unit = np.exp2(np.arange(n_columns) - 3.0), 5.0
    rows = Quantized.create(len(factors), n_columns, group)
    measure(factors, scale, rows)
    quantize(factors, scale, unit, rows)
    assert rows.packed.shape == (2, (n_columns + 1) // 2, group, 2)
    integers = rows.packed.transpose(0, 2, 1, 3).reshape(2 * group, -1)
    assert not integers[len(factors) :].any()
    assert not integers[:, n_columns:].any()
    wide, n = factors.astype(np.float64) * scale, len(factors)
    np.testing.assert_allclose(rows.norm[:n], np.linalg.norm(wide, axis=1), rtol=1e-14)
    steps = np.abs(integers).astype(np.int64)
    assert np.all((steps**2).sum(axis=1) <= (N_STEPS + n_columns**0.5) ** 2)
    restored = integers[:n, :n_columns] * (rows.scale[:n, None].astype(np.float64) / unit)
    np.testing.assert_allclose(rows.error[:n], np.linalg.norm(wide - restored, axis=1), rtol=1e-6)
    assert np.all(rows.error[:n] <= 0.51 * n_columns**0.5 * rows.norm[:n] / N_STEPS)


@needs_int16
@pytest.mark.parametrize("n_columns", [1, 2, 9, 64])
@pytest.mark.parametrize("value", [None, N_STEPS, -N_STEPS])
def test_integers_are_multiplied_exactly(n_columns: int, value: int | None) -> None:
    """Largest sums too: all columns but one are zero, as norms are bounded."""
    rng = np.random.default_rng(0)
    users = Quantized.create(2 * TILE_USERS, n_columns, TILE_USERS)
    items = Quantized.create(3 * LANES, n_columns, LANES)
    for rows in (users, items):
        limit = int(N_STEPS / n_columns**0.5)
        rows.packed[:] = rng.integers(-limit, limit + 1, rows.packed.shape)
        if value is not None:
            rows.packed[:] = 0
            rows.packed[:, 0, :, 0] = value
        rows.scale[:] = rng.lognormal(size=len(rows.scale))
    width = 2 * LANES
    scores = np.zeros(TILE_USERS * width, dtype=np.float32)
    multiply(users, TILE_USERS, 2 * TILE_USERS, items, LANES, width, scores)
    of_user, of_item = (
        rows.packed.transpose(0, 2, 1, 3).reshape(len(rows.scale), -1).astype(np.int64)
        for rows in (users, items)
    )
    sums = of_user[TILE_USERS:] @ of_item[LANES:].T
    expected = sums.astype(np.float32) * items.scale[LANES:] * users.scale[TILE_USERS:, None]
    assert are_bit_equal(scores.reshape(TILE_USERS, width), expected)


def rank_and_name_first_pass(items: np.ndarray, users: np.ndarray) -> tuple[list[int], str, str]:
    """The items listed for users who have seen nothing; the first pass before and after that."""
    scorer = TopKScorer(items, 10)
    before = type(scorer._first_pass).__name__
    seen = csr_matrix((len(users), len(items)), dtype=np.float32)
    first, again = (scorer.rank(users, seen).item_index.tolist() for _ in range(2))
    assert first == again
    return first, before, type(scorer._first_pass).__name__


@needs_int16
def test_a_model_too_fine_for_16_bits_goes_over_to_float32() -> None:
    """Items that differ by far less than a step of their norm, but by more than float32 loses."""
    items = np.hstack([np.ones((5000, 1)), 1e-5 * draw(5000, 1)]).astype(np.float32)
    listed, before, after = rank_and_name_first_pass(items, np.ones((4, 2), np.float32))
    best = np.argsort(-items.astype(np.float64).sum(axis=1), kind="stable")[:10]
    assert listed == 4 * best.tolist()
    assert (before, after) == ("Int16FirstPass", "Float32FirstPass")


def draw_uneven(n_rows: int, size: np.ndarray, seed: int) -> np.ndarray:
    return (draw(n_rows, len(size), seed=seed) * size).astype(np.float32)


SIZE = 10.0 ** np.linspace(-2, 2, 8)


@needs_int16
@pytest.mark.parametrize(
    ("items", "users"),
    [
        (draw(5000, 6), draw(30, 6, seed=1)),
        # Ties are no reason to leave: float32 could not part them.
        (np.ones((5000, 6), np.float32), draw(30, 6, seed=1)),
        # Columns that are large for items and small for users, and the other way round.
        (draw_uneven(5000, SIZE, 0), draw_uneven(30, 1 / SIZE, 1)),
    ],
    ids=["even", "ties", "uneven columns"],
)
def test_a_model_that_16_bits_serve_stays_with_them(items: np.ndarray, users: np.ndarray) -> None:
    _, before, after = rank_and_name_first_pass(items, users)
    assert (before, after) == ("Int16FirstPass", "Int16FirstPass")


RANK = """
import numpy as np
from scipy.sparse import csr_matrix
from recsys_core.ranking.top_k import TopKScorer
users, items = (np.random.default_rng(n).standard_normal((n, 5)).astype("f4") for n in (3, 700))
scorer = TopKScorer(items, 4)
lists = scorer.rank(users, csr_matrix((3, 700), dtype="f4"))
print(type(scorer._first_pass).__name__, lists.item_index.tolist(), lists.score.tobytes().hex())
"""


def rank_on(features: dict[str, str]) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", RANK],
        env={**os.environ, "PYTHONPATH": str(ROOT), **features},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split(" ", 1)


def test_a_cpu_without_the_instruction_ranks_the_same() -> None:
    here = rank_on({})
    there = rank_on({"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""})
    assert here[0] == ("Int16FirstPass" if has_feature(FEATURE) else "Float32FirstPass")
    assert there == ["Float32FirstPass", here[1]]
