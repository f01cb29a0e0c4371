"""Systems solved in float32 and refined to what float64 gives, compiled.

A system that is not badly conditioned is factorized in float32, at half the cost, and its solution
refined: a correction, solved for in float32 too, comes from the residual in float64 (Wilkinson,
*Rounding Errors in Algebraic Processes*, 1963, chapter 3; LAPACK's dsposv does the same). A
correction takes away all but a share of the error that is about as small as the error was: its own
size tells what it leaves. Where that is too much, the system is to be solved again in float64.
"""

import numpy as np

from recsys_core.arrays import Float64Array, FloatArray
from recsys_core.compile.jit import compiled
from recsys_core.linalg.vector_loops import dot

_CONDITION = 1e6
"""Trace over least eigenvalue, a bound on the condition: most that float32 is tried on."""
_LEAST, _MOST = 1e-30, 1e30
"""Least eigenvalue and largest trace that float32 is tried on: far from where it ends."""
_CONVERGED = 1e-5
"""A correction this small, relative to the solution, leaves an error of about its square."""


@compiled
def is_well_conditioned(system: FloatArray, size: int, least_eigenvalue: float) -> bool:
    """Whether the system's type of numbers may do for system[:size, :size]; float64 always does.

    Args:
        least_eigenvalue: a lower bound of the system's eigenvalues.
    """
    if system.itemsize == 8:
        return True
    trace = 0.0
    for at in range(size):
        trace += np.float64(system[at, at])
    return least_eigenvalue >= _LEAST and trace <= min(_MOST, _CONDITION * least_eigenvalue)


@compiled
def add_correction(correction: FloatArray, size: int, solution: Float64Array) -> bool:
    """solution[:size] += correction[:size]; whether the solution is exact after that."""
    for at in range(size):
        solution[at] += correction[at]
    change = dot(correction, correction, size)
    return change <= _CONVERGED**2 * dot(solution, solution, size)
