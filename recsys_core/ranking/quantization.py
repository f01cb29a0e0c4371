"""Rows of float32 factors as rows of 16-bit integers, each with a step of its own.

Pairs of columns lie together, and the rows of a group: as ``compile.int16_tile`` reads them.
"""

from typing import NamedTuple

import numpy as np

from recsys_core.arrays import Float32Array, Float64Array, Int16Array
from recsys_core.compile.jit import compiled

N_STEPS = 32_766
"""Steps in a row's norm: no sum of products then exceeds 2^31 (Cauchy and Schwarz)."""


class Quantized(NamedTuple):
    """Rows in 16-bit integers, as ``measure`` and ``quantize`` leave them."""

    packed: Int16Array  # [n_groups, n_pairs, group, 2]
    scale: Float32Array  # [n_groups * group]: what a row's products are to be multiplied by
    norm: Float64Array  # [n_groups * group] of the row
    error: Float64Array  # [n_groups * group]: norm of what quantizing took from the row

    @classmethod
    def create(cls, n_rows: int, n_columns: int, group: int) -> "Quantized":
        """Room for n_rows, all zero."""
        n_groups = -(-n_rows // group)
        return cls(
            packed=np.zeros((n_groups, -(-n_columns // 2), group, 2), dtype=np.int16),
            scale=np.zeros(n_groups * group, dtype=np.float32),
            norm=np.zeros(n_groups * group),
            error=np.zeros(n_groups * group),
        )


@compiled
def measure(factors: Float32Array, column_scale: Float64Array, into: Quantized) -> None:
    """Set the norms of the rows after their columns are multiplied by ``column_scale``."""
    for row in range(len(factors)):
        total = 0.0
        for column in range(len(column_scale)):
            total += (np.float64(factors[row, column]) * column_scale[column]) ** 2
        into.norm[row] = np.sqrt(total)


@compiled
def quantize(
    factors: Float32Array, column_scale: Float64Array, unit: float, into: Quantized
) -> None:
    """Round measured rows to steps of norm / N_STEPS; rows of ``into`` beyond them are left alone.

    Groups of rows lie one after the other, in them pairs of columns, in these the rows.

    Args:
        factors: float32 [n_rows, n_columns].
        column_scale: powers of two, [n_columns].
        unit: the scale of a row is its step times this number.
    """
    group = into.packed.shape[2]
    for row in range(len(factors)):
        norm = into.norm[row]
        into.scale[row] = norm * unit / N_STEPS
        step = np.float64(into.scale[row]) / unit  # norm / N_STEPS, rounded as the scores will be
        per_step = N_STEPS / norm if norm > 0 else 0.0
        lost = 0.0
        for column in range(len(column_scale)):
            factor = np.float64(factors[row, column]) * column_scale[column]
            rounded = np.rint(factor * per_step)
            into.packed[row // group, column // 2, row % group, column % 2] = np.int16(rounded)
            lost += (factor - rounded * step) ** 2
        into.error[row] = np.sqrt(lost)
