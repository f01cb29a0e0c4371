"""Loops along several rows of a matrix at once, written by the intrinsics of blocks and gathers.

Rows are indices (intp), factors broadcast. Columns go from ``start`` to ``stop``, which is taken up
to a whole vector.
"""

from typing import Any

from recsys_core.compile.arguments import ArrayView
from recsys_core.compile.vector_writer import VectorWriter


def add_scaled_rows(
    code: VectorWriter,
    total: ArrayView,
    factors: list[Any],
    matrix: ArrayView,
    rows: list[Any],
    start: Any,
    stop: Any,
) -> None:
    """total[start:stop] += sum over i of factors[i] * matrix[rows[i], start:stop]: AXPY of rows."""
    with code.loop(start, stop, code.lanes) as column:
        taken = [code.load(matrix.address(row, column)) for row in rows]
        before = code.load(total.address(column))
        code.store(sum_scaled(code, before, factors, taken), total.address(column))


def sum_scaled(code: VectorWriter, total: Any, factors: list[Any], vectors: list[Any]) -> Any:
    """total + sum over i of factors[i] * vectors[i].

    In four partial sums, as each addition waits for the one before it.
    """
    sums = [total, code.zero, code.zero, code.zero]
    for i, (factor, vector) in enumerate(zip(factors, vectors, strict=True)):
        sums[i % 4] = code.multiply_add(factor, vector, sums[i % 4])
    add = code.builder.fadd
    return add(add(sums[0], sums[1]), add(sums[2], sums[3]))


def multiply_rows(
    code: VectorWriter, matrix: ArrayView, rows: list[Any], right: ArrayView, start: Any, stop: Any
) -> Any:
    """The vector of inner products matrix[rows[i], start:stop] . right[start:stop]."""
    sums = code.start_sums(len(rows))
    with code.loop(start, stop, code.lanes) as column:
        other = code.load(right.address(column))
        for row, sum_ in zip(rows, sums, strict=True):
            taken = code.load(matrix.address(row, column))
            code.builder.store(code.multiply_add(taken, other, code.builder.load(sum_)), sum_)
    return code.sum_horizontally([code.builder.load(sum_) for sum_ in sums])
