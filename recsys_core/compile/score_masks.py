"""Comparisons of many float32 scores at once, and the bits that say how they came out."""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 64
"""Scores that ``reaching`` compares at once."""


# Written out as LLVM's vector types, since LLVM does not vectorise the loops that would say the
# same: on AVX-512 a comparison of LANES scores is four instructions, elsewhere what the CPU has.
_LANES_OF_FLOAT = ir.VectorType(ir.FloatType(), LANES)


@intrinsic  # type: ignore[untyped-decorator]
def reaching(_context: Any, scores: Any, start: Any, threshold: Any) -> Any:
    """uint64 whose bit i says whether scores[start + i] >= threshold, for LANES scores.

    ``scores`` is contiguous float32 with at least LANES entries from ``start``.
    """
    signature = types.uint64(scores, types.intp, types.float32)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        lanes = builder.load(_point_to_lanes(context, builder, signature, arguments, 0), align=4)
        nothing = ir.Constant(_LANES_OF_FLOAT, ir.Undefined)
        single = builder.insert_element(nothing, arguments[2], ir.Constant(ir.IntType(32), 0))
        everywhere = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
        limit = builder.shuffle_vector(single, nothing, everywhere)
        reached = builder.fcmp_ordered(">=", lanes, limit)
        return builder.bitcast(reached, ir.IntType(LANES))

    return signature, generate


@intrinsic  # type: ignore[untyped-decorator]
def raise_to(_context: Any, maxima: Any, start: Any, scores: Any, first: Any) -> Any:
    """maxima[start + i] = max(maxima[start + i], scores[first + i]) for LANES entries."""
    signature = types.void(maxima, types.intp, scores, types.intp)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        target = _point_to_lanes(context, builder, signature, arguments, 0)
        held = builder.load(target, align=4)
        other = builder.load(_point_to_lanes(context, builder, signature, arguments, 2), align=4)
        larger = builder.fcmp_ordered(">", other, held)
        builder.store(builder.select(larger, other, held), target, align=4)
        return context.get_dummy_value()

    return signature, generate


def _point_to_lanes(context: Any, builder: Any, signature: Any, arguments: Any, at: int) -> Any:
    """A pointer to LANES floats of the array argument ``at``, from the index argument after it."""
    array = cgutils.create_struct_proxy(signature.args[at])(context, builder, arguments[at])
    first = builder.gep(array.data, [arguments[at + 1]])
    return builder.bitcast(first, _LANES_OF_FLOAT.as_pointer())


@intrinsic  # type: ignore[untyped-decorator]
def lowest_bit(_context: Any, _bits: Any) -> Any:
    """Position of the lowest set bit of a uint64 that is not zero."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.intp(types.uint64), generate


@intrinsic  # type: ignore[untyped-decorator]
def count_bits(_context: Any, _bits: Any) -> Any:
    """Number of set bits of a uint64."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.intp(types.uint64), generate
