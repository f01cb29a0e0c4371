"""The 16-bit tile: exact, whether the CPU has its instruction or not, and kept in registers."""

import os
import platform
import subprocess
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import numba
import numpy as np
import pytest
from core_examples import are_bit_equal
from llvmlite import ir
from paths import ROOT

from recsys_core.compile import int16_tile
from recsys_core.compile.int16_tile import FEATURE, TILE_USERS, multiply_tile
from recsys_core.compile.jit import has_feature
from recsys_core.compile.score_masks import LANES
from recsys_core.compile.vector_writer import VectorWriter

MOST = 2**15 - 1


class Rows(NamedTuple):
    packed: np.ndarray
    scale: np.ndarray


def draw_rows(n_groups: int, n_pairs: int, group: int, limit: int) -> Rows:
    rng = np.random.default_rng(n_pairs)
    packed = rng.integers(-limit, limit + 1, (n_groups, n_pairs, group, 2)).astype(np.int16)
    return Rows(packed, rng.lognormal(size=n_groups * group).astype(np.float32))


def add_products_in_software(code: VectorWriter, sums: Any, left: Any, right: Any) -> Any:
    """As vpdpwssd does, by what every CPU has."""
    builder, half = code.builder, ir.Constant(code.type, [16] * code.lanes)
    low = [builder.ashr(builder.shl(pair, half), half) for pair in (left, right)]
    high = [builder.ashr(pair, half) for pair in (left, right)]
    return builder.add(builder.add(sums, builder.mul(*low)), builder.mul(*high))


@pytest.fixture(
    params=[
        "in software",
        pytest.param(
            "instruction",
            marks=pytest.mark.skipif(not has_feature(FEATURE), reason=f"the CPU has no {FEATURE}"),
        ),
    ]
)
def multiply(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., None]:
    if request.param == "in software":
        monkeypatch.setattr(int16_tile, "_add_products", add_products_in_software)

    @numba.njit  # not kept on disk: the next process is to have the instruction
    def run(users, first_user, items, first_item, scores, at, width):  # type: ignore[no-untyped-def]
        multiply_tile(users, first_user, items, first_item, scores, at, width)

    return run  # type: ignore[no-any-return]


@pytest.mark.parametrize(("n_pairs", "limit"), [(1, MOST // 2), (3, MOST // 4), (32, MOST // 8)])
def test_products_are_exact_and_scaled(
    multiply: Callable[..., None], n_pairs: int, limit: int
) -> None:
    users, items = draw_rows(2, n_pairs, TILE_USERS, limit), draw_rows(3, n_pairs, LANES, limit)
    width, at = 2 * LANES, 5
    scores = np.full(at + TILE_USERS * width, np.float32(-1))
    multiply(users, TILE_USERS, items, LANES, scores, at, width)
    of_users, of_items = (
        rows.packed[1].transpose(1, 0, 2).astype(np.int64) for rows in (users, items)
    )
    sums = np.einsum("upc,ipc->ui", of_users, of_items)
    expected = np.full_like(scores, -1)
    expected[at:].reshape(TILE_USERS, width)[:, :LANES] = (
        sums.astype(np.float32) * items.scale[LANES : 2 * LANES] * users.scale[TILE_USERS:, None]
    )
    assert are_bit_equal(scores, expected)


COMPILE = """
from recsys_core.ranking.int16_kernels import multiply
from recsys_core.ranking.quantization import Quantized
import numba, numpy as np
rows = Quantized.create(1, 1, 1)
arguments = rows, 0, 0, rows, 0, 0, np.zeros(1, np.float32)
multiply.compile(tuple(map(numba.typeof, arguments)))
print(multiply.inspect_asm(multiply.signatures[0]))
"""


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="not of this CPU's kind")
def test_the_sums_stay_in_registers(tmp_path: os.PathLike[str]) -> None:
    """Compiled for a CPU that has the instruction, which this one need not."""
    environment = {
        "PYTHONPATH": str(ROOT),
        "NUMBA_CACHE_DIR": str(tmp_path),
        "NUMBA_CPU_NAME": "icelake-server",
        "NUMBA_CPU_FEATURES": f"+avx512f,+avx512bw,+avx512vl,+avx512dq,+{FEATURE}",
    }
    done = subprocess.run(
        [sys.executable, "-c", COMPILE],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    products = [at for at, line in enumerate(lines) if "vpdpwssd" in line]
    assert len(products) == TILE_USERS * LANES // 16
    loop = lines[products[0] : products[-1] + 1]
    assert {line.split()[0] for line in loop} == {"vpdpwssd", "vpbroadcastd"}
    assert not any("(%rsp)" in line for line in loop)
