"""Sums over rows gathered from all over a matrix, by their indices: a sparse times a dense matrix.

Arrays are contiguous, of float32 or float64; matrices have rows of whole vectors. Numbers are
converted as they are loaded: sums have the type of the array that they are added to.
"""

from typing import Any

from numba import types
from numba.extending import intrinsic

from recsys_core.compile.arguments import ArrayView, add_constant, list_indices, open_arguments
from recsys_core.compile.row_loops import add_scaled_rows, multiply_rows
from recsys_core.compile.vector_writer import VectorWriter

GROUP = 8
"""Rows gathered at once: as many as a vector of float64 has lanes."""


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
    """total += sum over i of factors[first + i] * matrix[rows[at + i]]

    for i < GROUP with at + i < stop.

    Args:
        matrix: [.., width].
        rows: integers.
        factors: one for each row of the group, from ``first`` on.
        total: [width or more].
    """
    index = types.intp
    signature = types.void(matrix, rows, index, index, factors, index, total)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        code = VectorWriter(context, builder, signature.args[6].dtype)
        matrix, rows, at, stop, factors, first, total = open_arguments(
            context, builder, signature, arguments
        )
        group = _find_rows(code, rows, at, stop, GROUP)
        scales = _load_factors(code, factors, first, [inside for inside, _ in group])
        taken = [row for _, row in group]
        add_scaled_rows(code, total, scales, matrix, taken, at.type(0), matrix.shape[-1])
        return context.get_dummy_value()

    return signature, generate


@intrinsic  # type: ignore[untyped-decorator]
def multiply_group(
    _context: Any, matrix: Any, rows: Any, at: Any, stop: Any, right: Any, into: Any, first: Any
) -> Any:
    """into[first + i] = matrix[rows[at + i]] . right

    for i < GROUP; where at + i >= stop, what is stored means nothing.

    Args:
        matrix: [.., width].
        rows: integers.
        right: [width or more].
        into: float64 [first + GROUP or more]: GROUP products are one vector of it.
    """
    index = types.intp
    signature = types.void(matrix, rows, index, index, right, into, index)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        code = VectorWriter(context, builder, signature.args[5].dtype)
        matrix, rows, at, stop, right, into, first = open_arguments(
            context, builder, signature, arguments
        )
        taken = [row for _, row in _find_rows(code, rows, at, stop, GROUP)]
        products = multiply_rows(code, matrix, taken, right, at.type(0), matrix.shape[-1])
        code.store(products, into.address(first))
        return context.get_dummy_value()

    return signature, generate


@intrinsic  # type: ignore[untyped-decorator]
def copy_transposed(
    _context: Any, into: Any, at: Any, matrix: Any, rows: Any, stop: Any, scales: Any
) -> Any:
    """into[column, at + i] = matrix[rows[at + i], column] * scales[column]

    for i < lanes, and zero where at + i >= stop.

    Args:
        into: [width or more, ..].
        matrix: [.., width].
        rows: integers.
        scales: [width or more].
    """
    index = types.intp
    signature = types.void(into, index, matrix, rows, index, scales)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        code = VectorWriter(context, builder, signature.args[0].dtype)
        into, at, matrix, rows, stop, scales = open_arguments(
            context, builder, signature, arguments
        )
        group = _find_rows(code, rows, at, stop, code.lanes)
        with code.loop(at.type(0), matrix.shape[-1], code.lanes) as column:
            scale = code.load(scales.address(column))
            taken = []
            for inside, row in group:
                scaled = code.multiply(code.load(matrix.address(row, column)), scale)
                taken.append(builder.select(inside, scaled, code.zero))
            for i, vector in enumerate(code.transpose(taken)):
                code.store(vector, into.address(add_constant(builder, column, i), at))
        return context.get_dummy_value()

    return signature, generate


def _find_rows(
    code: VectorWriter, rows: ArrayView, at: Any, stop: Any, count: int
) -> list[tuple[Any, Any]]:
    """Of each of rows[at : at + count] whether it is before ``stop``, and the row.

    The first row stands in for those that are not: it may be read.
    """
    group = []
    for place in list_indices(code.builder, at, count):
        inside = code.builder.icmp_signed("<", place, stop)
        known = code.builder.select(inside, place, at)
        group.append((inside, rows.load_index(known)))
    return group


def _load_factors(
    code: VectorWriter, factors: ArrayView, first: Any, inside: list[Any]
) -> list[Any]:
    """The factors from ``first`` on, broadcast; zeros for rows that are not inside the group."""
    zero, select = code.number(0.0), code.builder.select
    broadcast = []
    for place, is_inside in zip(
        list_indices(code.builder, first, len(inside)), inside, strict=True
    ):
        factor = code.load_number(factors.address(select(is_inside, place, first)))
        broadcast.append(code.broadcast(select(is_inside, factor, zero)))
    return broadcast


@intrinsic  # type: ignore[untyped-decorator]
def add_rows(
    _context: Any, total: Any, start: Any, stop: Any, matrix: Any, rows: Any, factors: Any
) -> Any:
    """total[start:stop] += sum over i of factors[i] * matrix[rows[i], start:stop]

    Args:
        rows, factors: tuples of one length; factors are of the type of ``total``.
    """
    number = total.dtype
    signature = types.void(
        total, types.intp, types.intp, matrix, rows, types.UniTuple(number, len(factors))
    )

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        code = VectorWriter(context, builder, number)
        total, start, stop, matrix, rows, factors = open_arguments(
            context, builder, signature, arguments
        )
        scales = [code.broadcast(factor) for factor in factors]
        with code.loop(start, stop, code.lanes) as column:
            # Two partial sums: each addition waits for the one before it.
            sums = [code.load(total.address(column)), code.zero]
            for i, (row, scale) in enumerate(zip(rows, scales, strict=True)):
                taken = code.load(matrix.address(row, column))
                sums[i % 2] = code.multiply_add(scale, taken, sums[i % 2])
            code.store(builder.fadd(*sums), total.address(column))
        return context.get_dummy_value()

    return signature, generate


@intrinsic  # type: ignore[untyped-decorator]
def copy_row(_context: Any, into: Any, at: Any, matrix: Any, row: Any) -> Any:
    """into[at, :width] = matrix[row]; ``matrix`` is [.., width]."""
    signature = types.void(into, types.intp, matrix, types.intp)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        code = VectorWriter(context, builder, signature.args[0].dtype)
        into, at, matrix, row = open_arguments(context, builder, signature, arguments)
        with code.loop(row.type(0), matrix.shape[-1], code.lanes) as column:
            code.store(code.load(matrix.address(row, column)), into.address(at, column))
        return context.get_dummy_value()

    return signature, generate
