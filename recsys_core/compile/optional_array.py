"""A part of an array that may not be there, in compiled code."""

from typing import Any

from numba import types
from numba.extending import overload

from recsys_core.arrays import Float32Array


def take_range(array: Float32Array | None, start: int, stop: int) -> Float32Array | None:
    """array[start:stop], and None of None."""
    return None if array is None else array[start:stop]


@overload(take_range, strict=False)  # type: ignore[untyped-decorator]
def _compile_take(array: Any, start: Any, stop: Any) -> Any:
    """One of the two for compiled code, which would take the whole for what may return either."""
    if isinstance(array, types.NoneType):
        return lambda array, start, stop: array
    return lambda array, start, stop: array[start:stop]
