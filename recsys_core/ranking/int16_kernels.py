"""The inner loops of the 16-bit product: quantize rows, multiply them, collect candidates.

Rows of float32 factors become rows of 16-bit integers, each with a step of its own. Their product
is exact in 32 bits. An instruction of AVX-512 VNNI, vpdpwssd, adds two columns of 16 items to 16
sums, so the columns lie in pairs: see ``quantize`` for the layout. A tile of scores is kept in
registers while the columns are gone through (Goto and van de Geijn, *Anatomy of High-Performance
Matrix Multiplication*, ACM TOMS 34(3), 2008).
"""

from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from recsys_core.arrays import Float32Array, Float64Array, Int16Array
from recsys_core.compile.jit import compiled
from recsys_core.compile.lanes import LANES
from recsys_core.ranking.top_k_kernels import (
    QueryBlock,
    SeenItems,
    collect,
    is_open,
    mask_absent,
    mask_seen,
)

FEATURE = "avx512vnni"
"""LLVM's name of what the CPU must have."""
TILE_USERS = 6
"""Users of a tile: with LANES items it takes 24 of the 32 vector registers."""
USERS_AT_ONCE = 8 * TILE_USERS
"""Users whose scores are collected together: with a block of items, 75 to 125 KB, for a cache."""
N_STEPS = 32_766
"""Steps in a row's norm: no sum of products then exceeds 2^31 (Cauchy and Schwarz)."""
_VECTOR = 16  # 32-bit numbers
_PAIR = ir.IntType(32)  # of 16-bit factors
_SUMS = ir.VectorType(ir.IntType(32), _VECTOR)
_FLOATS = ir.VectorType(ir.FloatType(), _VECTOR)


class Quantized(NamedTuple):
    """Rows in 16-bit integers, as ``measure`` and ``quantize`` leave them."""

    packed: Int16Array  # [n_groups, n_pairs, group, 2]
    scale: Float32Array  # [n_groups * group]: what a row's products are to be multiplied by
    norm: Float64Array  # [n_groups * group] of the row
    error: Float64Array  # [n_groups * group]: norm of what quantizing took from the row

    @classmethod
    def create(cls, n_rows: int, n_columns: int, group: int) -> "Quantized":
        """Room for n_rows, all zero."""
        n_groups = -(-n_rows // group)
        return cls(
            packed=np.zeros((n_groups, -(-n_columns // 2), group, 2), dtype=np.int16),
            scale=np.zeros(n_groups * group, dtype=np.float32),
            norm=np.zeros(n_groups * group),
            error=np.zeros(n_groups * group),
        )


@compiled
def measure(factors: Float32Array, column_scale: Float64Array, into: Quantized) -> None:
    """Set the norms of the rows after their columns are multiplied by ``column_scale``."""
    for row in range(len(factors)):
        total = 0.0
        for column in range(len(column_scale)):
            total += (np.float64(factors[row, column]) * column_scale[column]) ** 2
        into.norm[row] = np.sqrt(total)


@compiled
def quantize(
    factors: Float32Array, column_scale: Float64Array, unit: float, into: Quantized
) -> None:
    """Round measured rows to steps of norm / N_STEPS; rows of ``into`` beyond them are left alone.

    Groups of rows lie one after the other, in them pairs of columns, in these the rows.

    Args:
        factors: float32 [n_rows, n_columns].
        column_scale: powers of two, [n_columns].
        unit: the scale of a row is its step times this number.
    """
    group = into.packed.shape[2]
    for row in range(len(factors)):
        norm = into.norm[row]
        into.scale[row] = norm * unit / N_STEPS
        step = np.float64(into.scale[row]) / unit  # norm / N_STEPS, rounded as the scores will be
        per_step = N_STEPS / norm if norm > 0 else 0.0
        lost = 0.0
        for column in range(len(column_scale)):
            factor = np.float64(factors[row, column]) * column_scale[column]
            rounded = np.rint(factor * per_step)
            into.packed[row // group, column // 2, row % group, column % 2] = np.int16(rounded)
            lost += (factor - rounded * step) ** 2
        into.error[row] = np.sqrt(lost)


@compiled
def collect_from_all(
    block: QueryBlock,
    users: Quantized,
    items: Quantized,
    largest: Float64Array,
    seen: SeenItems,
    scores: Float32Array,
) -> None:
    """Find each user's candidates among all items.

    Args:
        users: in groups of TILE_USERS, at least those of ``block``.
        items: in groups of LANES.
        largest: [n_blocks]: bound on the norms of each block of items and of those after it.
        scores: scratch [USERS_AT_ONCE * width]; width is a multiple of LANES.
    """
    n_users, n_items, width = len(block.n_found), len(block.item_at), len(scores) // USERS_AT_ONCE
    entry = 0
    for item_block in range(len(largest)):
        first_item, any_open = item_block * width, False
        for first_user in range(0, n_users, USERS_AT_ONCE):
            end_user = min(first_user + USERS_AT_ONCE, n_users)
            first_entry = entry
            while entry < seen.ends[item_block] and seen.row[entry] < end_user:
                entry += 1
            if not is_open(block, first_user, end_user, largest[item_block]):
                continue
            any_open = True
            multiply(users, first_user, end_user, items, first_item, width, scores)
            mask_absent(scores, width, n_items - first_item)
            mask_seen(scores, width, seen, first_entry, entry, first_user)
            collect(block, scores, width, first_item, largest[item_block], first_user, end_user)
        if not any_open:
            break


@compiled
def multiply(
    users: Quantized,
    first_user: int,
    end_user: int,
    items: Quantized,
    first_item: int,
    width: int,
    scores: Float32Array,
) -> None:
    """Fill a block of scores for some users and the ``width`` items from ``first_item`` on.

    Args:
        first_user, first_item: rows that begin a group.
        scores: [>= n_users, to a whole group, * width]; columns beyond the last group of items are
            left alone.
    """
    n_pairs = items.packed.shape[1]
    for column in range(0, min(width, len(items.scale) - first_item), LANES):
        item = first_item + column
        for user in range(first_user, end_user, TILE_USERS):
            multiply_tile(
                users.packed,
                user * n_pairs * 2,
                items.packed,
                item * n_pairs * 2,
                users.scale,
                user,
                items.scale,
                item,
                scores,
                (user - first_user) * width + column,
                width,
                n_pairs,
            )


@intrinsic  # type: ignore[untyped-decorator]
def multiply_tile(
    _context: Any,
    users: Any,
    at_user: Any,
    items: Any,
    at_item: Any,
    user_scale: Any,
    first_user: Any,
    item_scale: Any,
    first_item: Any,
    scores: Any,
    at_score: Any,
    width: Any,
    n_pairs: Any,
) -> Any:
    """Scores of TILE_USERS users and LANES items; each array's index is that of its first entry.

    The sums of the tile go round the loop over pairs of columns as phi nodes, which LLVM keeps in
    registers.
    """
    arrays = (users, items, user_scale, item_scale, scores)
    places = [argument for array in arrays for argument in (array, types.intp)]
    signature = types.void(*places, types.intp, types.intp)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        users, items, user_scale, item_scale, scores = (
            _point(context, builder, signature, arguments, at) for at in range(0, 10, 2)
        )
        width, n_pairs = arguments[10:]
        users, items = (builder.bitcast(of, _PAIR.as_pointer()) for of in (users, items))
        sums = _sum_products(builder, users, items, n_pairs)
        item_scales = [
            builder.load(_at_vector(builder, item_scale, at, _FLOATS), align=4)
            for at in range(0, LANES, _VECTOR)
        ]
        for user, row in enumerate(sums):
            scale = _repeat(builder, builder.load(_at(builder, user_scale, user)))
            line = builder.gep(scores, [builder.mul(width, width.type(user))])
            for vector, sum_ in enumerate(row):
                score = builder.fmul(builder.sitofp(sum_, _FLOATS), item_scales[vector])
                target = _at_vector(builder, line, vector * _VECTOR, _FLOATS)
                builder.store(builder.fmul(score, scale), target, align=4)
        return context.get_dummy_value()

    return signature, generate


def _sum_products(builder: Any, users: Any, items: Any, n_pairs: Any) -> list[list[Any]]:
    """TILE_USERS rows of vectors of the sums over all pairs of columns."""
    add_products = builder.module.globals.get("llvm.x86.avx512.vpdpwssd.512") or ir.Function(
        builder.module, ir.FunctionType(_SUMS, [_SUMS] * 3), "llvm.x86.avx512.vpdpwssd.512"
    )
    before, loop, after = (
        builder.block,
        builder.append_basic_block("pairs"),
        builder.append_basic_block("summed"),
    )
    builder.branch(loop)
    builder.position_at_end(loop)
    pair = builder.phi(n_pairs.type)
    pair.add_incoming(n_pairs.type(0), before)
    sums = [[builder.phi(_SUMS) for _ in range(LANES // _VECTOR)] for _ in range(TILE_USERS)]
    of_users = builder.gep(users, [builder.mul(pair, pair.type(TILE_USERS))])
    of_items = builder.gep(items, [builder.mul(pair, pair.type(LANES))])
    vectors = [
        builder.load(_at_vector(builder, of_items, at, _SUMS), align=4)
        for at in range(0, LANES, _VECTOR)
    ]
    next_sums = []
    for user, row in enumerate(sums):
        factors = _repeat(builder, builder.load(_at(builder, of_users, user), align=4))
        next_sums.append(
            [
                builder.call(add_products, [sum_, v, factors])
                for sum_, v in zip(row, vectors, strict=True)
            ]
        )
    next_pair = builder.add(pair, pair.type(1))
    pair.add_incoming(next_pair, loop)
    for row, next_row in zip(sums, next_sums, strict=True):
        for sum_, next_sum in zip(row, next_row, strict=True):
            sum_.add_incoming(ir.Constant(_SUMS, [0] * _VECTOR), before)
            sum_.add_incoming(next_sum, loop)
    builder.cbranch(builder.icmp_signed("<", next_pair, n_pairs), loop, after)
    builder.position_at_end(after)
    return next_sums


def _point(context: Any, builder: Any, signature: Any, arguments: Any, at: int) -> Any:
    """A pointer into the array argument ``at``, from the index argument after it."""
    array = cgutils.create_struct_proxy(signature.args[at])(context, builder, arguments[at])
    return builder.gep(array.data, [arguments[at + 1]])


def _at(builder: Any, pointer: Any, place: int) -> Any:
    return builder.gep(pointer, [ir.Constant(ir.IntType(64), place)])


def _at_vector(builder: Any, pointer: Any, place: int, vector: Any) -> Any:
    return builder.bitcast(_at(builder, pointer, place), vector.as_pointer())


def _repeat(builder: Any, number: Any) -> Any:
    """The number in every place of a vector."""
    nothing = ir.Constant(ir.VectorType(number.type, _VECTOR), ir.Undefined)
    single = builder.insert_element(nothing, number, ir.IntType(32)(0))
    return builder.shuffle_vector(single, nothing, ir.Constant(_SUMS, [0] * _VECTOR))
