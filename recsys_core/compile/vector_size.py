"""How many numbers are in a vector of machine code."""

from typing import Any

from numba import types
from numba.extending import intrinsic

VECTOR_BITS = 512
"""A vector of AVX-512, or two of AVX2."""


@intrinsic  # type: ignore[untyped-decorator]
def count_lanes(_context: Any, array: Any) -> Any:
    """How many numbers of the array's type are in a vector: a constant of the machine code."""

    def generate(context: Any, _builder: Any, _signature: Any, _arguments: Any) -> Any:
        return context.get_constant(types.intp, VECTOR_BITS // array.dtype.bitwidth)

    return types.intp(array), generate
