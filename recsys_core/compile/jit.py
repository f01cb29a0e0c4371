"""Functions compiled by numba, and the vector operations that numba has no name for.

Machine code is kept for the next process where there is a place for it; where there is none, a
process compiles for itself, in a few seconds. Sums are left in source order except where
``compiled_sum`` allows vector lanes, so a result depends on its arguments and the kind of CPU,
never on the neighbours of a row.
"""

import hashlib
import os
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic

Function = TypeVar("Function", bound=Callable[..., Any])

LANES = 64
"""Scores that ``reaching`` compares at once."""


@cache
def has_feature(name: str) -> bool:
    """Whether this process compiles for a CPU with a feature, by LLVM's name for it.

    That is this machine's CPU unless numba's settings say otherwise.
    """
    _triple, _cpu, features = cpu_target.target_context.codegen().magic_tuple()
    return f"+{name}" in features.split(",")


def compiled(function: Function) -> Function:
    """Compile for the types of each first call; division by zero gives inf, as in numpy."""
    return _compile(function, {"contract"})


def compiled_sum(function: Function) -> Function:
    """As ``compiled``, for inner products: partial sums may run in vector lanes."""
    return _compile(function, {"contract", "reassoc"})


def compiled_unlocked(function: Function) -> Function:
    """As ``compiled``, and other threads of the process run meanwhile."""
    return _compile(function, {"contract"}, nogil=True)


def _compile(function: Function, fastmath: set[str], *, nogil: bool = False) -> Function:
    options = {"error_model": "numpy", "fastmath": fastmath, "nogil": nogil}
    directory = _find_code_directory()
    if directory is None:
        return cast(Function, numba.njit(**options)(function))
    before, numba.config.CACHE_DIR = numba.config.CACHE_DIR, directory
    try:
        return cast(Function, numba.njit(cache=True, **options)(function))
    finally:
        numba.config.CACHE_DIR = before


@cache
def _find_code_directory() -> str | None:
    """Where the code of exactly these sources is kept; None where there is no such place.

    numba looks for changes only in a function's own file, but compiles what it calls into it: so
    the directory is named by all sources of the package.
    """
    package = Path(__file__).parents[1]
    if not package.is_dir():  # imported from a zip, under another name each time
        return None
    digest = hashlib.sha256()
    for source in sorted(package.rglob("*.py")):
        digest.update(source.read_bytes())
    name = f"compiled-{digest.hexdigest()[:16]}"
    given = [Path(numba.config.CACHE_DIR)] if numba.config.CACHE_DIR else []
    user_cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    for parent in (*given, package / "__pycache__", user_cache / "recsys-nightly"):
        if _can_write(parent / name):
            return str(parent / name)
    return None


def _can_write(directory: Path) -> bool:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=directory).close()
    except OSError:
        return False
    return True


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
