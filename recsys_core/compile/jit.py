"""Functions compiled by numba, and where their machine code is kept.

It is kept for the next process where there is a place for it; where there is none, a process
compiles for itself, in a few seconds. Sums are left in source order except where ``compiled_sum``
allows vector lanes, so a result depends on its arguments and the kind of CPU, never on the
neighbours of a row.
"""

import hashlib
import os
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
from numba.core.registry import cpu_target

Function = TypeVar("Function", bound=Callable[..., Any])


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
    the directory is named by all sources of the package, in any depth of folders.
    """
    package = Path(__file__).parents[1]
    if not package.is_dir():  # imported from a zip, under another name each time
        return None
    name = f"compiled-{hash_sources(package)[:16]}"
    given = [Path(numba.config.CACHE_DIR)] if numba.config.CACHE_DIR else []
    user_cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    for parent in (*given, package / "__pycache__", user_cache / "recsys-nightly"):
        if _can_write(parent / name):
            return str(parent / name)
    return None


def hash_sources(package: Path) -> str:
    """SHA-256, in hex, over all Python files below a directory: what each holds, and where it is.

    Where, since a function that moves from the end of one file to the start of the next leaves the
    same text behind.
    """
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        source = path.read_bytes()
        digest.update(f"{path.relative_to(package).as_posix()} {len(source)}\n".encode())
        digest.update(source)
    return digest.hexdigest()


def _can_write(directory: Path) -> bool:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=directory).close()
    except OSError:
        return False
    return True
