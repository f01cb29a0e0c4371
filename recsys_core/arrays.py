"""Array types used in every signature of this package."""

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Float32Array: TypeAlias = npt.NDArray[np.float32]
Float64Array: TypeAlias = npt.NDArray[np.float64]
FloatArray: TypeAlias = npt.NDArray[np.floating[Any]]
Int16Array: TypeAlias = npt.NDArray[np.int16]
Int32Array: TypeAlias = npt.NDArray[np.int32]
Int64Array: TypeAlias = npt.NDArray[np.int64]
IntArray: TypeAlias = npt.NDArray[np.integer[Any]]
BoolArray: TypeAlias = npt.NDArray[np.bool_]
IdArray: TypeAlias = npt.NDArray[Any]
"""Caller's ids: int64, or object holding ``str``."""

Csr: TypeAlias = Any
"""``scipy.sparse.csr_matrix`` of ratings: rows are users, columns item indices."""

Float32: TypeAlias = Any
"""One float32 within compiled code, where Python's types do not tell it from a float64."""
