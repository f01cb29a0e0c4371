"""Cholesky factorization and triangular solves by blocks of rows: the step of each block.

A = U'U is factorized in place, in the upper triangle of ``matrix``. Blocks on its diagonal are as
wide and high as a vector has lanes; ``first`` is the row and column where one begins. For solving
they hold their inverses, so that a step is a product and no chain of divisions. Matrices are
C-contiguous, with rows of whole vectors.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from recsys_core.compile.arguments import add_constant, list_indices, open_arguments
from recsys_core.compile.row_loops import add_scaled_rows, multiply_rows, sum_scaled
from recsys_core.compile.vector_writer import VectorWriter


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def read_diagonal(_context: Any, matrix: Any, first: Any, n_rows: Any) -> Any:
    """The tuple of matrix[first + i, first + i] for i < n_rows, a literal."""
    signature = types.UniTuple(matrix.dtype, n_rows.literal_value)(matrix, types.intp, n_rows)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        matrix, first, _ = open_arguments(context, builder, signature, arguments)
        rows = list_indices(builder, first, n_rows.literal_value)
        numbers = [builder.load(matrix.address(row, first, plus=i)) for i, row in enumerate(rows)]
        return context.make_tuple(builder, signature.return_type, numbers)

    return signature, generate


@intrinsic  # type: ignore[untyped-decorator]
def finish_rows(
    _context: Any, matrix: Any, first: Any, stop: Any, pivots: Any, dependent: Any
) -> Any:
    """Turn rows of A - (U'U of the rows above) into rows of U, in columns first to stop.

    On the diagonal 1 / u_ii is stored. The row of a column that depends on those before it is 0.

    Args:
        first: a multiple of the number of rows, which divides the number of lanes.
        pivots: tuple of the diagonal of A in these rows, before anything was taken from it.
        dependent: a column depends on others if its pivot is no more than this times that of A.
    """
    signature = types.void(matrix, types.intp, types.intp, pivots, matrix.dtype)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        code = VectorWriter(context, builder, signature.args[0].dtype)
        matrix, first, stop, pivots, dependent = open_arguments(
            context, builder, signature, arguments
        )
        least = [builder.fmul(dependent, pivot) for pivot in pivots]
        size, rows = range(len(pivots)), list_indices(builder, first, len(pivots))
        block = {
            (i, j): builder.load(matrix.address(rows[i], first, plus=j))
            for i in size
            for j in size[i:]
        }
        inverses, multipliers = _eliminate(code, block, least)
        root = builder.module.declare_intrinsic("llvm.sqrt", [code.number])
        inverse_roots = [builder.call(root, [inverse]) for inverse in inverses]
        scales = [code.broadcast(scale) for scale in inverse_roots]
        factors = {pair: code.broadcast(factor) for pair, factor in multipliers.items()}
        # From where a vector starts. Left of the block this overwrites some of the lower triangle,
        # which nobody reads.
        start = builder.and_(first, first.type(-code.lanes))
        with code.loop(start, stop, code.lanes) as column:
            eliminated: list[Any] = []
            for i in size:
                row = code.load(matrix.address(rows[i], column))
                for k in range(i):
                    row = code.multiply_subtract(factors[k, i], eliminated[k], row)
                eliminated.append(row)
                code.store(code.multiply(row, scales[i]), matrix.address(rows[i], column))
        for i in size:
            builder.store(inverse_roots[i], matrix.address(rows[i], first, plus=i))
        return context.get_dummy_value()

    return signature, generate


def _eliminate(
    code: VectorWriter, block: dict[tuple[int, int], Any], least: list[Any]
) -> tuple[list[Any], dict[tuple[int, int], Any]]:
    """Gaussian elimination in the upper triangle of a block, number by number: A = L D L'.

    Row i comes out as itself less the sum over k < i of multipliers[k, i] times row k. That is the
    factorization without roots: the next pivot would have to wait for each of them.

    Returns:
        1 / pivot for each row, 0 where it is no more than ``least``; the multipliers l_ik at k, i.
    """
    builder, (zero, one) = code.builder, (ir.Constant(code.number, x) for x in (0.0, 1.0))
    inverses, multipliers, size = [], {}, range(len(least))
    for k in size:
        regular = builder.fcmp_ordered(">", block[k, k], least[k])
        inverses.append(builder.select(regular, builder.fdiv(one, block[k, k]), zero))
        for i in size[k + 1 :]:
            multipliers[k, i] = code.multiply(block[k, i], inverses[k])
            for j in size[i:]:
                block[i, j] = code.multiply_subtract(multipliers[k, i], block[k, j], block[i, j])
    return inverses, multipliers


@intrinsic  # type: ignore[untyped-decorator]
def invert_block(_context: Any, matrix: Any, first: Any) -> Any:
    """Replace the block B on the diagonal by its inverse, below the diagonal by zeros.

    The block comes as ``finish_rows`` leaves it, with 1 / b_kk on its diagonal. By back
    substitution in B X = I, from the last row up: x_k = (e_k - sum over i > k of b_ki x_i) / b_kk.
    """
    signature = types.void(matrix, types.intp)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        code = VectorWriter(context, builder, signature.args[0].dtype)
        matrix, first = open_arguments(context, builder, signature, arguments)
        rows = list_indices(builder, first, code.lanes)
        left = [code.make_unit(i) for i in range(code.lanes)]
        for k in reversed(range(code.lanes)):
            scale = code.load_broadcast(matrix.address(rows[k], first, plus=k))
            left[k] = code.multiply(left[k], scale)  # row k of the inverse
            for i in range(k):
                factor = code.load_broadcast(matrix.address(rows[i], first, plus=k))
                left[i] = code.multiply_subtract(factor, left[k], left[i])
        for row, inverse in zip(rows, left, strict=True):
            code.store(inverse, matrix.address(row, first))
        return context.get_dummy_value()

    return signature, generate


@intrinsic  # type: ignore[untyped-decorator]
def multiply_block(_context: Any, matrix: Any, first: Any, right: Any, into: Any) -> Any:
    """into[block] = B' right[block], B being the inverse block at ``first``.

    The step of forward substitution, U'y = t: y of a block from what is left of its t.
    """
    signature = types.void(matrix, types.intp, right, into)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        code = VectorWriter(context, builder, signature.args[0].dtype)
        matrix, first, right, into = open_arguments(context, builder, signature, arguments)
        rows = list_indices(builder, first, code.lanes)
        factors = [code.load_broadcast(right.address(row)) for row in rows]
        block = [code.load(matrix.address(row, first)) for row in rows]
        code.store(sum_scaled(code, code.zero, factors, block), into.address(first))
        return context.get_dummy_value()

    return signature, generate


@intrinsic  # type: ignore[untyped-decorator]
def subtract_block(
    _context: Any, matrix: Any, first: Any, stop: Any, factors: Any, total: Any
) -> Any:
    """total[j] -= sum over rows i of a block of factors[i] * matrix[i, j], for columns j after it.

    With y of a block as factors: what it accounts for in the t of the later ones.
    """
    signature = types.void(matrix, types.intp, types.intp, factors, total)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        code = VectorWriter(context, builder, signature.args[0].dtype)
        matrix, first, stop, factors, total = open_arguments(context, builder, signature, arguments)
        rows = list_indices(builder, first, code.lanes)
        negative = [
            code.broadcast(builder.fneg(builder.load(factors.address(row)))) for row in rows
        ]
        start = add_constant(builder, first, code.lanes)
        add_scaled_rows(code, total, negative, matrix, rows, start, stop)
        return context.get_dummy_value()

    return signature, generate


@intrinsic  # type: ignore[untyped-decorator]
def solve_block(
    _context: Any, matrix: Any, first: Any, stop: Any, target: Any, solution: Any
) -> Any:
    """solution[block] = B (target[block] - matrix[block, after it:stop] . solution[after it:stop])

    B being the inverse block at ``first``: the step of back substitution, U x = y.
    """
    signature = types.void(matrix, types.intp, types.intp, target, solution)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        code = VectorWriter(context, builder, signature.args[0].dtype)
        matrix, first, stop, target, solution = open_arguments(
            context, builder, signature, arguments
        )
        rows = list_indices(builder, first, code.lanes)
        start = add_constant(builder, first, code.lanes)
        later = multiply_rows(code, matrix, rows, solution, start, stop)
        left = builder.fsub(code.load(target.address(first)), later)
        products = [code.multiply(code.load(matrix.address(row, first)), left) for row in rows]
        code.store(code.sum_horizontally(products), solution.address(first))
        return context.get_dummy_value()

    return signature, generate
