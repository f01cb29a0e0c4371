"""A tile of a Gram matrix, kept in registers while rows are added up: a GEMM micro-kernel.

Goto and van de Geijn, *Anatomy of High-Performance Matrix Multiplication*, ACM TOMS 34(3), 2008.
"""

from typing import Any

from numba import types
from numba.extending import intrinsic

from recsys_core.compile.arguments import add_constant, open_arguments
from recsys_core.compile.vector_writer import VectorWriter


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def add_tile(
    _context: Any,
    total: Any,
    row: Any,
    column: Any,
    matrix: Any,
    rows: Any,
    weights: Any,
    start: Any,
    stop: Any,
    factor: Any,
    n_rows: Any,
    n_vectors: Any,
) -> Any:
    """total[row + i, column + j] += factor * M[:, row + i] . W M[:, column + j]

    for i < n_rows and j < n_vectors * lanes.

    Args:
        total: [.., ..], C-contiguous, of the type that sums have.
        matrix: [.., ..], C-contiguous, float32 or float64.
        rows: M is matrix[rows[start:stop]], or matrix[start:stop] where it is None.
        weights: the diagonal of W is weights[start:stop]; W = I where it is None.
        factor: of the type of ``total``.
        n_rows, n_vectors: literal; their product is the number of registers for sums.
    """
    index = types.intp
    signature = types.void(
        total, index, index, matrix, rows, weights, index, index, total.dtype, n_rows, n_vectors
    )

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        code = VectorWriter(context, builder, signature.args[0].dtype)
        total, row, column, matrix, rows, weights, start, stop, factor, *_ = open_arguments(
            context, builder, signature, arguments
        )
        down = range(n_rows.literal_value)
        across = range(0, n_vectors.literal_value * code.lanes, code.lanes)
        tile = [(i, j) for i in down for j in across]
        sums = code.start_sums(len(tile))
        with code.loop(start, stop, 1) as at:
            taken = at if rows is None else rows.load_index(at)
            left = [code.load_broadcast(matrix.address(taken, row, plus=i)) for i in down]
            right = {j: code.load(matrix.address(taken, column, plus=j)) for j in across}
            if weights is not None:
                weight = code.load_broadcast(weights.address(at))
                right = {j: code.multiply(weight, vector) for j, vector in right.items()}
            for (i, j), sum_ in zip(tile, sums, strict=True):
                builder.store(code.multiply_add(left[i], right[j], builder.load(sum_)), sum_)
        scale = code.broadcast(factor)
        for (i, j), sum_ in zip(tile, sums, strict=True):
            place = total.address(add_constant(builder, row, i), column, plus=j)
            code.store(code.multiply_add(scale, builder.load(sum_), code.load(place)), place)
        return context.get_dummy_value()

    return signature, generate
