"""A tile of scores from factors of 16 bits: a GEMM micro-kernel of AVX-512 VNNI.

Its instruction vpdpwssd adds, in each of 16 sums of 32 bits, the products of two pairs of 16-bit
numbers. So columns lie in pairs, and each pair is loaded as one number of 32 bits.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from recsys_core.compile.arguments import ArrayView, open_arguments
from recsys_core.compile.score_masks import LANES
from recsys_core.compile.vector_writer import VectorWriter

FEATURE = "avx512vnni"
"""LLVM's name of what the CPU must have."""
TILE_USERS = 6
"""Users of a tile: with LANES items its sums take 24 of the 32 vector registers."""
_INSTRUCTION = "llvm.x86.avx512.vpdpwssd.512"


@intrinsic  # type: ignore[untyped-decorator]
def multiply_tile(
    _context: Any,
    users: Any,
    first_user: Any,
    items: Any,
    first_item: Any,
    scores: Any,
    first_score: Any,
    width: Any,
) -> Any:
    """scores[first_score + u * width + i] = U[u] . V[i] * item_scale[i] * user_scale[u]

    for u < TILE_USERS and i < LANES. U and V are the rows of ``users`` and ``items`` from
    ``first_user`` and ``first_item`` on, each the first row of a group. Sums are exact, in 32 bits,
    and become float32 before they are scaled.

    Args:
        users, items: named tuples. ``packed`` is int16 [n_groups, n_pairs, group, 2], with groups
            of TILE_USERS users or of LANES items; ``scale`` is float32 [n_groups * group].
        scores: float32, contiguous.
        width: scores of a user, that is from one row of the tile to the next.
    """
    index = types.intp
    signature = types.void(users, index, items, index, scores, index, index)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        code = VectorWriter(context, builder, types.float32)
        users, first_user, items, first_item, scores, first_score, width = open_arguments(
            context, builder, signature, arguments
        )
        sums = _sum_products(
            VectorWriter(context, builder, types.int32),
            _find_pairs(builder, users.packed, first_user),
            _find_pairs(builder, items.packed, first_item),
            items.packed.shape[1],
        )
        columns = range(0, LANES, code.lanes)
        item_scales = [code.load(items.scale.address(first_item, plus=at)) for at in columns]
        for user, row in enumerate(sums):
            user_scale = code.load_broadcast(users.scale.address(first_user, plus=user))
            start = builder.add(first_score, builder.mul(width, width.type(user)))
            for at, item_scale, sum_ in zip(columns, item_scales, row, strict=True):
                score = builder.fmul(builder.sitofp(sum_, code.type), item_scale)
                code.store(builder.fmul(score, user_scale), scores.address(start, plus=at))
        return context.get_dummy_value()

    return signature, generate


def _find_pairs(builder: Any, packed: ArrayView, first: Any) -> Any:
    """The address of the first pair of columns of the group of rows that begins at ``first``."""
    pairs = builder.bitcast(packed.data, ir.IntType(32).as_pointer())
    return builder.gep(pairs, [builder.mul(first, packed.shape[1])])


def _sum_products(code: VectorWriter, users: Any, items: Any, n_pairs: Any) -> list[list[Any]]:
    """The sums of products over all pairs of columns: TILE_USERS rows of vectors."""
    builder, columns = code.builder, range(0, LANES, code.lanes)
    sums = [code.start_sums(len(columns)) for _ in range(TILE_USERS)]
    with code.loop(n_pairs.type(0), n_pairs, 1) as pair:
        of_users = builder.gep(users, [builder.mul(pair, pair.type(TILE_USERS))])
        of_items = builder.gep(items, [builder.mul(pair, pair.type(LANES))])
        vectors = [code.load(builder.gep(of_items, [pair.type(at)])) for at in columns]
        for user, row in enumerate(sums):
            factors = code.load_broadcast(builder.gep(of_users, [pair.type(user)]))
            for sum_, vector in zip(row, vectors, strict=True):
                builder.store(_add_products(code, builder.load(sum_), vector, factors), sum_)
    return [[builder.load(sum_) for sum_ in row] for row in sums]


def _add_products(code: VectorWriter, sums: Any, left: Any, right: Any) -> Any:
    """The sums, to each of which the products of a pair of 16-bit numbers are added."""
    module = code.builder.module
    function = module.globals.get(_INSTRUCTION) or ir.Function(
        module, ir.FunctionType(code.type, [code.type] * 3), _INSTRUCTION
    )
    return code.builder.call(function, [sums, left, right])
