"""Gram matrices, Cholesky factorization and its triangular solves, compiled, for one user's system.

A = U'U, U upper triangular. Every inner loop runs along a row, which is what vectorises; where it
does not start at zero its range is unsigned, as an index that might be negative would not.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from recsys_core.arrays import Float64Array
from recsys_core.compiled import compiled, compiled_sum

DEPENDENT = 1e-14
"""A pivot this much smaller than its diagonal entry is rounding: the column depends on others."""

_LANES = 8
"""Numbers in a vector: of AVX-512, or two of AVX2."""
_TILE_ROWS = 4
"""Rows of a matrix product summed at once. With two vectors to a row these are eight sums, as many
as it takes to keep two multipliers of latency four busy."""
_CHUNK = 64
"""Rows whose products are summed over all tiles before the next: 64 columns of them fit L1."""


@compiled
def _invert_root(value: float, pivot: float) -> float:
    """What a row is scaled by: 0 where its column depends on those before it."""
    return 0.0 if value <= DEPENDENT * pivot else 1.0 / np.sqrt(value)


@compiled
def factorize(matrix: Float64Array, size: int) -> None:
    """Replace the upper triangle of matrix[:size, :size] by U.

    A column that depends on those before it gets a zero row in U, and ``solve`` gives it the value
    0: a solution of a system that has many.
    """
    for k in range(size):
        pivot = matrix[k, k]
        # Row k less what the rows above account for, four at a time: the loops are so short that
        # starting them costs more than what is in them.
        for a in range(0, k - 3, 4):
            first, second, third, fourth = (
                matrix[a, k],
                matrix[a + 1, k],
                matrix[a + 2, k],
                matrix[a + 3, k],
            )
            for column in range(k, size):
                matrix[k, column] -= (
                    first * matrix[a, column] + second * matrix[a + 1, column]
                ) + (third * matrix[a + 2, column] + fourth * matrix[a + 3, column])
        for above in range(k - k % 4, k):
            factor = matrix[above, k]
            for column in range(k, size):
                matrix[k, column] -= factor * matrix[above, column]
        scale = _invert_root(matrix[k, k], pivot)
        for column in range(k, size):
            matrix[k, column] *= scale


@compiled
def factorize_tiles(matrix: Float64Array, size: int) -> None:
    """As ``factorize``, and faster from about 20 columns on, for a matrix padded to whole tiles.

    Args:
        matrix: float64, both sides padded(size) or more; the lower triangle and the padding are
            overwritten, and bear on nothing.
    """
    for first in range(0, size, _TILE_ROWS):
        pivots = (
            matrix[first, first],
            matrix[first + 1, first + 1],
            matrix[first + 2, first + 2],
            matrix[first + 3, first + 3],
        )
        _add_tiles(matrix, size, first, matrix, 0, first, -1.0)
        _finish_tile_rows(matrix, size, first, pivots)


@compiled
def _finish_tile_rows(
    matrix: Float64Array, size: int, first: int, pivots: tuple[float, float, float, float]
) -> None:
    """Make four rows those of U, given them less what the rows above account for."""
    a, b, c, d = first, first + 1, first + 2, first + 3
    scale_a = _invert_root(matrix[a, a], pivots[0])
    ab, ac, ad = matrix[a, b] * scale_a, matrix[a, c] * scale_a, matrix[a, d] * scale_a
    bb = matrix[b, b] - ab * ab
    scale_b = _invert_root(bb, pivots[1])
    bc, bd = (matrix[b, c] - ab * ac) * scale_b, (matrix[b, d] - ab * ad) * scale_b
    cc = matrix[c, c] - (ac * ac + bc * bc)
    scale_c = _invert_root(cc, pivots[2])
    cd = (matrix[c, d] - (ac * ad + bc * bd)) * scale_c
    dd = matrix[d, d] - (ad * ad + bd * bd + cd * cd)
    scale_d = _invert_root(dd, pivots[3])
    matrix[a, a], matrix[a, b], matrix[a, c], matrix[a, d] = matrix[a, a] * scale_a, ab, ac, ad
    matrix[b, b], matrix[b, c], matrix[b, d] = bb * scale_b, bc, bd
    matrix[c, c], matrix[c, d], matrix[d, d] = cc * scale_c, cd, dd * scale_d
    for column in range(np.uintp(first + _TILE_ROWS), np.uintp(size)):
        p = matrix[a, column] * scale_a
        q = (matrix[b, column] - ab * p) * scale_b
        r = (matrix[c, column] - (ac * p + bc * q)) * scale_c
        s = (matrix[d, column] - (ad * p + bd * q + cd * r)) * scale_d
        matrix[a, column], matrix[b, column] = p, q
        matrix[c, column], matrix[d, column] = r, s


@compiled
def padded(size: int) -> int:
    """The length of whole vectors that hold ``size`` numbers."""
    return (size + _LANES - 1) // _LANES * _LANES


@compiled
def start_gram(gram: Float64Array, size: int, ridge: float) -> None:
    """Set what ``add_gram`` adds to: ``ridge`` times the identity, padding included."""
    for row in range(padded(size)):
        for column in range(np.uintp(row - row % _LANES), np.uintp(padded(size))):
            gram[row, column] = 0.0
        gram[row, row] = ridge


@compiled
def add_gram(gram: Float64Array, size: int, rows: Float64Array, count: int) -> None:
    """Add rows[:count]' rows[:count] to the upper triangle of gram[:size, :size].

    Args:
        gram: float64, both sides padded(size) or more; the lower triangle and the padding are
            overwritten.
        rows: float64 [count or more, padded(size) or more].
    """
    for start in range(0, count, _CHUNK):
        stop = min(start + _CHUNK, count)
        for row in range(0, size, _TILE_ROWS):
            _add_tiles(gram, size, row, rows, start, stop, 1.0)


@compiled
def _add_tiles(
    total: Float64Array,
    size: int,
    row: int,
    rows: Float64Array,
    start: int,
    stop: int,
    factor: float,
) -> None:
    """Add factor * rows[start:stop]' rows[start:stop] to four rows of total, from ``row`` on."""
    column = row - row % _LANES
    while column + _LANES < size:
        _add_tile(total, row, column, rows, start, stop, factor, 2)
        column += 2 * _LANES
    if column < size:
        _add_tile(total, row, column, rows, start, stop, factor, 1)


# LLVM does not keep the sums of the loops that would say the same in registers.
@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def _add_tile(
    _context: Any,
    total: Any,
    row: Any,
    column: Any,
    rows: Any,
    start: Any,
    stop: Any,
    factor: Any,
    vectors: Any,
) -> Any:
    """total[row + i, column + j] += factor * rows[start:stop, row + i] . rows[.., column + j]

    for i < _TILE_ROWS and j < vectors * _LANES; ``vectors`` is a literal. Both arrays are
    contiguous float64 and hold the tile.
    """
    signature = types.void(
        total, types.intp, types.intp, rows, types.intp, types.intp, types.float64, vectors
    )

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        total, row, column, rows, start, stop, factor, _ = arguments
        vector = ir.VectorType(ir.DoubleType(), _LANES)
        everywhere = ir.Constant(ir.VectorType(ir.IntType(32), _LANES), [0] * _LANES)
        nothing = ir.Constant(vector, ir.Undefined)

        def find(array_type: Any, array: Any) -> Any:
            proxy = cgutils.create_struct_proxy(array_type)(context, builder, array)
            width = cgutils.unpack_tuple(builder, proxy.shape)[1]
            return lambda at, place: builder.gep(
                proxy.data, [builder.add(builder.mul(at, width), place)]
            )

        def spread(number: Any) -> Any:
            single = builder.insert_element(nothing, number, ir.Constant(ir.IntType(32), 0))
            return builder.shuffle_vector(single, nothing, everywhere)

        def after(place: Any, steps: int) -> Any:
            return builder.add(place, ir.Constant(place.type, steps))

        def as_vector(pointer: Any) -> Any:
            return builder.bitcast(pointer, vector.as_pointer())

        def multiply_add(left: Any, right: Any, total: Any) -> Any:
            product = builder.fmul(left, right, flags=["contract"])
            return builder.fadd(product, total, flags=["contract"])

        rows_at, total_at = find(signature.args[3], rows), find(signature.args[0], total)
        starts = range(0, vectors.literal_value * _LANES, _LANES)
        tile = [(i, j) for i in range(_TILE_ROWS) for j in starts]
        sums = [
            cgutils.alloca_once_value(builder, ir.Constant(vector, [0.0] * _LANES)) for _ in tile
        ]
        with cgutils.for_range_slice(
            builder, start, stop, ir.Constant(start.type, 1), start.type
        ) as (at, _):
            left = [spread(builder.load(rows_at(at, after(row, i)))) for i in range(_TILE_ROWS)]
            right = {
                j: builder.load(as_vector(rows_at(at, after(column, j))), align=8) for j in starts
            }
            for (i, j), total_sum in zip(tile, sums, strict=True):
                builder.store(
                    multiply_add(left[i], right[j], builder.load(total_sum)),
                    total_sum,
                )
        scale = spread(factor)
        for (i, j), total_sum in zip(tile, sums, strict=True):
            place = as_vector(total_at(after(row, i), after(column, j)))
            before = builder.load(place, align=8)
            builder.store(
                multiply_add(scale, builder.load(total_sum), before),
                place,
                align=8,
            )
        return context.get_dummy_value()

    return signature, generate


@compiled
def solve(upper: Float64Array, size: int, target: Float64Array) -> None:
    """Solve U'U x = target[:size] in place."""
    # Four rows at a time: a step costs mostly the wait for the one before it.
    for first in range(0, size, 4):
        stop = min(first + 4, size)
        for k in range(first, stop):
            value = target[k] / upper[k, k] if upper[k, k] != 0.0 else 0.0
            target[k] = value
            for column in range(k + 1, stop):
                target[column] -= value * upper[k, column]
        if stop < size:
            p, q, r, s = target[first], target[first + 1], target[first + 2], target[first + 3]
            for column in range(np.uintp(stop), np.uintp(size)):
                target[column] -= (p * upper[first, column] + q * upper[first + 1, column]) + (
                    r * upper[first + 2, column] + s * upper[first + 3, column]
                )
    for first in range((size - 1) // 4 * 4, -1, -4):
        stop = min(first + 4, size)
        if stop < size:
            p, q, r, s = _inner_of_four(upper, first, stop, size, target)
            target[first] -= p
            target[first + 1] -= q
            target[first + 2] -= r
            target[first + 3] -= s
        for k in range(stop - 1, first - 1, -1):
            value = target[k]
            for column in range(k + 1, stop):
                value -= upper[k, column] * target[column]
            target[k] = value / upper[k, k] if upper[k, k] != 0.0 else 0.0


@compiled_sum
def _inner_of_four(
    upper: Float64Array, row: int, start: int, stop: int, right: Float64Array
) -> tuple[float, float, float, float]:
    """upper[row + i, start:stop] . right[start:stop] for i < 4."""
    p = q = r = s = 0.0
    for at in range(np.uintp(start), np.uintp(stop)):
        p += upper[row, at] * right[at]
        q += upper[row + 1, at] * right[at]
        r += upper[row + 2, at] * right[at]
        s += upper[row + 3, at] * right[at]
    return p, q, r, s
