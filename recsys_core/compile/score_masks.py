"""64 float32 scores at once: compared with a threshold, as bits of a mask, and maxima of groups.

On AVX-512 a comparison is four instructions, elsewhere what the CPU has. LLVM does not vectorize
the loops that would say the same.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from recsys_core.compile.arguments import open_arguments
from recsys_core.compile.vector_writer import VectorWriter

LANES = 64
"""Scores that ``reaching`` compares at once: as many as its mask has bits."""


@intrinsic  # type: ignore[untyped-decorator]
def reaching(_context: Any, scores: Any, start: Any, threshold: Any) -> Any:
    """uint64 whose bit i says whether scores[start + i] >= threshold, for LANES scores.

    ``scores`` is contiguous float32 with at least LANES entries from ``start``.
    """
    signature = types.uint64(scores, types.intp, types.float32)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        code = VectorWriter(context, builder, types.float32, LANES)
        scores, start, threshold = open_arguments(context, builder, signature, arguments)
        lanes = code.load(scores.address(start))
        reached = builder.fcmp_ordered(">=", lanes, code.broadcast(threshold))
        return builder.bitcast(reached, ir.IntType(LANES))

    return signature, generate


@intrinsic  # type: ignore[untyped-decorator]
def raise_to(_context: Any, maxima: Any, start: Any, scores: Any, first: Any) -> Any:
    """maxima[start + i] = max(maxima[start + i], scores[first + i]) for LANES float32."""
    signature = types.void(maxima, types.intp, scores, types.intp)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        code = VectorWriter(context, builder, types.float32, LANES)
        maxima, start, scores, first = open_arguments(context, builder, signature, arguments)
        held, other = code.load(maxima.address(start)), code.load(scores.address(first))
        larger = builder.fcmp_ordered(">", other, held)
        code.store(builder.select(larger, other, held), maxima.address(start))
        return context.get_dummy_value()

    return signature, generate


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
