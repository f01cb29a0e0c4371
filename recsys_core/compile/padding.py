"""Matrices with columns of zeros after their own: rows of whole vectors."""

from typing import TypeVar

import numpy as np

from recsys_core.arrays import Float32Array, Float64Array

_LINE = 64
"""Bytes in a line of the cache."""


Matrix = TypeVar("Matrix", Float32Array, Float64Array)


def pad_width(n_columns: int) -> int:
    """``n_columns`` up to the next multiple of 16: vectors of float32, and of float64 too."""
    return n_columns + -n_columns % (_LINE // 4)


def pad_columns(matrix: Matrix, *, aligned: bool = True) -> Matrix:
    """The matrix with columns of zeros after its own, ``pad_width`` of them in all.

    Args:
        aligned: rows begin where lines of the cache do, as a vector across two is two to load.
            Without it a matrix of whole vectors need not be copied.
    """
    n_rows, n_columns = matrix.shape
    width = pad_width(n_columns)
    in_place = not aligned or matrix.ctypes.data % _LINE == 0
    # The compiled functions know arrays that can be written.
    if width == n_columns and in_place and matrix.flags.c_contiguous and matrix.flags.writeable:
        return matrix
    memory = np.zeros(n_rows * width * matrix.itemsize + _LINE, np.uint8)
    first = -memory.ctypes.data % _LINE
    numbers = memory[first : first + n_rows * width * matrix.itemsize].view(matrix.dtype)
    padded: Matrix = numbers.reshape(n_rows, width)
    padded[:, :n_columns] = matrix
    return padded
