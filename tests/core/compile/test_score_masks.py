"""Scores compared at once: the mask's bits, and maxima."""

import numpy as np

from recsys_core.compile.jit import compiled
from recsys_core.compile.score_masks import LANES, count_bits, lowest_bit, raise_to, reaching


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
