"""Loops over whole vectors of matrix rows, which LLVM does not write as well from plain loops.

It does not keep the sums of a matrix product in registers, and what does not fill its unrolled
loops it takes number by number: at 64 columns most of a row. Arrays are contiguous, of float32 or
float64, and hold whole vectors: one that is begun is read and written to its end.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from recsys_core.compile.vector_writer import VECTOR_BITS, Vectors

GROUP = 8
"""Rows taken together from places all over a matrix; no more than there are lanes."""


@intrinsic  # type: ignore[untyped-decorator]
def count_lanes(_context: Any, array: Any) -> Any:
    """How many numbers of the array's type are in a vector, known when compiled."""

    def generate(context: Any, _builder: Any, _signature: Any, _arguments: Any) -> Any:
        return context.get_constant(types.intp, VECTOR_BITS // array.dtype.bitwidth)

    return types.intp(array), generate


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def add_tile(
    _context: Any,
    total: Any,
    row: Any,
    column: Any,
    matrix: Any,
    rows: Any,
    start: Any,
    stop: Any,
    factor: Any,
    n_rows: Any,
    n_vectors: Any,
) -> Any:
    """total[row + i, column + j] += factor * taken[:, row + i] . taken[:, column + j]

    for i < n_rows and j in n_vectors vectors; both numbers are literal. What is taken is
    matrix[rows[start:stop]], or matrix[start:stop] where ``rows`` is None.
    """
    index = types.intp
    signature = types.void(
        total, index, index, matrix, rows, index, index, total.dtype, n_rows, n_vectors
    )

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        total, row, column, matrix, rows, start, stop, factor, _, _ = arguments
        vectors = Vectors(context, builder, signature.args[0].dtype)
        total_at = vectors.point_into(signature.args[0], total)
        matrix_at = vectors.point_into(signature.args[3], matrix)
        starts = [j * vectors.lanes for j in range(n_vectors.literal_value)]
        tile = [(i, j) for i in range(n_rows.literal_value) for j in starts]
        sums = [cgutils.alloca_once_value(builder, vectors.zero) for _ in tile]
        with vectors.loop(start, stop, 1) as at:
            taken = at
            if signature.args[4] != types.none:
                taken = vectors.take_place(signature.args[4], rows, at)
            left = [
                vectors.spread(vectors.take(matrix_at(taken, row, i)))
                for i in range(n_rows.literal_value)
            ]
            right = {j: vectors.load(matrix_at(taken, column, j)) for j in starts}
            for (i, j), held in zip(tile, sums, strict=True):
                builder.store(vectors.add_product(builder.load(held), left[i], right[j]), held)
        scale = vectors.spread(factor)
        for (i, j), held in zip(tile, sums, strict=True):
            place = total_at(vectors.after(row, i), column, j)
            before = vectors.load(place)
            vectors.store(vectors.add_product(before, scale, builder.load(held)), place)
        return context.get_dummy_value()

    return signature, generate


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def read_diagonal(_context: Any, matrix: Any, first: Any, n_rows: Any) -> Any:
    """The tuple of matrix[first + i, first + i] for i < n_rows, a literal."""
    signature = types.UniTuple(matrix.dtype, n_rows.literal_value)(matrix, types.intp, n_rows)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        matrix, first, _ = arguments
        vectors = Vectors(context, builder, signature.args[0].dtype)
        matrix_at = vectors.point_into(signature.args[0], matrix)
        numbers = [
            builder.load(matrix_at(vectors.after(first, i), first, i))
            for i in range(n_rows.literal_value)
        ]
        return context.make_tuple(builder, signature.return_type, numbers)

    return signature, generate


@intrinsic  # type: ignore[untyped-decorator]
def finish_rows(
    _context: Any, matrix: Any, first: Any, stop: Any, pivots: Any, dependent: Any
) -> Any:
    """Make len(pivots) rows those of U up to column ``stop``, as ``cholesky`` stores it.

    They come less what the rows above account for; ``first`` is a multiple of their number.
    """
    signature = types.void(matrix, types.intp, types.intp, pivots, matrix.dtype)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        matrix, first, stop, pivots, dependent = arguments
        vectors = Vectors(context, builder, signature.args[0].dtype)
        matrix_at = vectors.point_into(signature.args[0], matrix)
        smallest = [
            builder.fmul(dependent, pivot) for pivot in cgutils.unpack_tuple(builder, pivots)
        ]
        size = range(len(smallest))
        rows = [vectors.after(first, i) for i in size]
        left = {(i, j): builder.load(matrix_at(rows[i], first, j)) for i in size for j in size[i:]}
        inverses, multipliers = vectors.factorize_block(left, smallest)
        root = builder.module.declare_intrinsic("llvm.sqrt", [vectors.number])
        scales = [builder.call(root, [inverse]) for inverse in inverses]
        spread_scales = [vectors.spread(scale) for scale in scales]
        factors = {pair: vectors.spread(each) for pair, each in multipliers.items()}
        # From the start of a vector: what is left of the diagonal bears on nothing.
        start = builder.and_(first, ir.Constant(first.type, -vectors.lanes))
        with vectors.loop(start, stop, vectors.lanes) as column:
            done: list[Any] = []
            for i in size:
                row = vectors.load(matrix_at(rows[i], column))
                for k in range(i):
                    row = vectors.subtract_product(row, factors[k, i], done[k])
                done.append(row)
                vectors.store(vectors.multiply(row, spread_scales[i]), matrix_at(rows[i], column))
        for k in size:
            builder.store(scales[k], matrix_at(rows[k], first, k))
        return context.get_dummy_value()

    return signature, generate


@intrinsic  # type: ignore[untyped-decorator]
def invert_block(_context: Any, matrix: Any, first: Any) -> Any:
    """Put the inverse of a triangular block in its place on the diagonal, a vector wide and high.

    Of the block's own diagonal the inverses are given.
    """
    signature = types.void(matrix, types.intp)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        matrix, first = arguments
        vectors = Vectors(context, builder, signature.args[0].dtype)
        matrix_at = vectors.point_into(signature.args[0], matrix)
        rows = [vectors.after(first, i) for i in range(vectors.lanes)]
        left = [vectors.unit(i) for i in range(vectors.lanes)]
        inverses: list[Any] = [None] * vectors.lanes
        for k in reversed(range(vectors.lanes)):
            scale = vectors.spread(builder.load(matrix_at(rows[k], first, k)))
            inverses[k] = vectors.multiply(left[k], scale)
            for i in range(k):
                factor = vectors.spread(builder.load(matrix_at(rows[i], first, k)))
                left[i] = vectors.subtract_product(left[i], factor, inverses[k])
        for row, inverse in zip(rows, inverses, strict=True):
            vectors.store(inverse, matrix_at(row, first))
        return context.get_dummy_value()

    return signature, generate


@intrinsic  # type: ignore[untyped-decorator]
def multiply_block(_context: Any, matrix: Any, first: Any, right: Any, into: Any) -> Any:
    """into[block] = right[block] times the block at ``first`` on the diagonal, as a row."""
    signature = types.void(matrix, types.intp, right, into)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        matrix, first, right, into = arguments
        vectors = Vectors(context, builder, signature.args[0].dtype)
        matrix_at, right_at, into_at = (
            vectors.point_into(signature.args[place], array)
            for place, array in ((0, matrix), (2, right), (3, into))
        )
        rows = [vectors.after(first, i) for i in range(vectors.lanes)]
        factors = [vectors.spread(builder.load(right_at(row))) for row in rows]
        taken = [vectors.load(matrix_at(row, first)) for row in rows]
        vectors.store(vectors.combine(vectors.zero, factors, taken), into_at(first))
        return context.get_dummy_value()

    return signature, generate


@intrinsic  # type: ignore[untyped-decorator]
def subtract_block(
    _context: Any, matrix: Any, first: Any, stop: Any, factors: Any, total: Any
) -> Any:
    """total[j] -= sum over i of factors[i] * matrix[i, j], for i of the block and j after it.

    The block of rows is that on the diagonal at ``first``.
    """
    signature = types.void(matrix, types.intp, types.intp, factors, total)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        matrix, first, stop, factors, total = arguments
        vectors = Vectors(context, builder, signature.args[0].dtype)
        matrix_at, factors_at, total_at = (
            vectors.point_into(signature.args[place], array)
            for place, array in ((0, matrix), (3, factors), (4, total))
        )
        rows = [vectors.after(first, i) for i in range(vectors.lanes)]
        negative = [vectors.spread(builder.fneg(builder.load(factors_at(row)))) for row in rows]
        start = vectors.after(first, vectors.lanes)
        vectors.add_combination(total_at, negative, matrix_at, rows, start, stop)
        return context.get_dummy_value()

    return signature, generate


@intrinsic  # type: ignore[untyped-decorator]
def solve_block(
    _context: Any, matrix: Any, first: Any, stop: Any, target: Any, solution: Any
) -> Any:
    """solution[block] = block at ``first`` times (target[block] - rows right of it . solution)."""
    signature = types.void(matrix, types.intp, types.intp, target, solution)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        matrix, first, stop, target, solution = arguments
        vectors = Vectors(context, builder, signature.args[0].dtype)
        matrix_at, target_at, solution_at = (
            vectors.point_into(signature.args[place], array)
            for place, array in ((0, matrix), (3, target), (4, solution))
        )
        rows = [vectors.after(first, i) for i in range(vectors.lanes)]
        start = vectors.after(first, vectors.lanes)
        later = vectors.multiply_rows(matrix_at, rows, solution_at, start, stop)
        left = builder.fsub(vectors.load(target_at(first)), later)
        products = [vectors.multiply(vectors.load(matrix_at(row, first)), left) for row in rows]
        vectors.store(vectors.sum_up(products), solution_at(first))
        return context.get_dummy_value()

    return signature, generate


@intrinsic  # type: ignore[untyped-decorator]
def add_rows(
    _context: Any, total: Any, start: Any, stop: Any, matrix: Any, rows: Any, factors: Any
) -> Any:
    """total[start:stop] += sum over i of factors[i] * matrix[rows[i], start:stop].

    ``rows`` and ``factors`` are tuples; sums and ``factors`` are of the type of ``total``.
    """
    number = total.dtype
    signature = types.void(
        total, types.intp, types.intp, matrix, rows, types.UniTuple(number, len(factors))
    )

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        total, start, stop, matrix, rows, factors = arguments
        vectors = Vectors(context, builder, number)
        total_at = vectors.point_into(signature.args[0], total)
        matrix_at = vectors.point_into(signature.args[3], matrix)
        places = vectors.unpack_places(signature.args[4], rows)
        spread = [vectors.spread(each) for each in cgutils.unpack_tuple(builder, factors)]
        with vectors.loop(start, stop, vectors.lanes) as column:
            # Two sums: each addition waits for the one before it.
            sums = [vectors.load(total_at(column)), vectors.zero]
            for i, (place, factor) in enumerate(zip(places, spread, strict=True)):
                row = vectors.load(matrix_at(place, column))
                sums[i % 2] = vectors.add_product(sums[i % 2], factor, row)
            vectors.store(builder.fadd(*sums), total_at(column))
        return context.get_dummy_value()

    return signature, generate


@intrinsic  # type: ignore[untyped-decorator]
def copy_row(_context: Any, into: Any, at: Any, matrix: Any, row: Any) -> Any:
    """into[at, :width] = matrix[row], width being that of ``matrix``."""
    signature = types.void(into, types.intp, matrix, types.intp)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        into, at, matrix, row = arguments
        vectors = Vectors(context, builder, signature.args[0].dtype)
        into_at = vectors.point_into(signature.args[0], into)
        matrix_at = vectors.point_into(signature.args[2], matrix)
        start, stop = ir.Constant(row.type, 0), vectors.width(signature.args[2], matrix)
        with vectors.loop(start, stop, vectors.lanes) as column:
            vectors.store(vectors.load(matrix_at(row, column)), into_at(at, column))
        return context.get_dummy_value()

    return signature, generate


@intrinsic  # type: ignore[untyped-decorator]
def add_group(
    _context: Any,
    matrix: Any,
    rows: Any,
    at: Any,
    stop: Any,
    factors: Any,
    first: Any,
    total: Any,
) -> Any:
    """total += the sum over i < GROUP of factors[first + i] * matrix[rows[at + i]], up to stop."""
    index = types.intp
    signature = types.void(matrix, rows, index, index, factors, index, total)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        matrix, rows, at, stop, factors, first, total = arguments
        vectors = Vectors(context, builder, signature.args[6].dtype)
        matrix_at = vectors.point_into(signature.args[0], matrix)
        total_at = vectors.point_into(signature.args[6], total)
        group = vectors.find_group(signature.args[1], rows, at, stop, GROUP)
        spread = vectors.take_factors(signature.args[4], factors, first, group)
        nothing, width = ir.Constant(at.type, 0), vectors.width(signature.args[0], matrix)
        taken = [row for _, row in group]
        vectors.add_combination(total_at, spread, matrix_at, taken, nothing, width)
        return context.get_dummy_value()

    return signature, generate


@intrinsic  # type: ignore[untyped-decorator]
def multiply_group(
    _context: Any, matrix: Any, rows: Any, at: Any, stop: Any, right: Any, into: Any, first: Any
) -> Any:
    """into[first + i] = matrix[rows[at + i]] . right for i < GROUP; some number from stop on."""
    index = types.intp
    signature = types.void(matrix, rows, index, index, right, into, index)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        matrix, rows, at, stop, right, into, first = arguments
        vectors = Vectors(context, builder, signature.args[5].dtype)
        matrix_at, right_at, into_at = (
            vectors.point_into(signature.args[place], array)
            for place, array in ((0, matrix), (4, right), (5, into))
        )
        group = vectors.find_group(signature.args[1], rows, at, stop, GROUP)
        nothing, width = ir.Constant(at.type, 0), vectors.width(signature.args[0], matrix)
        taken = [row for _, row in group]
        products = vectors.multiply_rows(matrix_at, taken, right_at, nothing, width)
        vectors.store(products, into_at(first))
        return context.get_dummy_value()

    return signature, generate


@intrinsic  # type: ignore[untyped-decorator]
def copy_transposed(
    _context: Any, into: Any, at: Any, matrix: Any, rows: Any, stop: Any, scales: Any
) -> Any:
    """into[column, at + i] = matrix[rows[at + i], column] * scales[column] for a vector of i.

    From at + i = stop on it is zero. ``scales`` is of the type of ``into``.
    """
    index = types.intp
    signature = types.void(into, index, matrix, rows, index, scales)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        into, at, matrix, rows, stop, scales = arguments
        vectors = Vectors(context, builder, signature.args[0].dtype)
        into_at, matrix_at, scales_at = (
            vectors.point_into(signature.args[place], array)
            for place, array in ((0, into), (2, matrix), (5, scales))
        )
        group = vectors.find_group(signature.args[3], rows, at, stop, vectors.lanes)
        nothing, width = ir.Constant(at.type, 0), vectors.width(signature.args[2], matrix)
        with vectors.loop(nothing, width, vectors.lanes) as column:
            scale = vectors.load(scales_at(column))
            taken = []
            for inside, row in group:
                scaled = vectors.multiply(vectors.load(matrix_at(row, column)), scale)
                taken.append(builder.select(inside, scaled, vectors.zero))
            for i, vector in enumerate(vectors.transpose(taken)):
                vectors.store(vector, into_at(vectors.after(column, i), at))
        return context.get_dummy_value()

    return signature, generate
