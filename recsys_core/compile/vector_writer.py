"""The one way of writing vector code in LLVM: load, broadcast, multiply-add, transpose, sum up.

The intrinsics of this folder are written with it. They are for loops that LLVM does not vectorize,
or not well: it does not keep the sums of a matrix product in registers, and what does not fill its
unrolled loops it takes number by number, which at 64 columns is most of a row.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from llvmlite import ir
from numba.core import cgutils

from recsys_core.compile.vector_size import VECTOR_BITS

_INT32 = ir.IntType(32)


class VectorWriter:
    """Writes code for vectors of one type of number.

    Args:
        number: numba's type of the numbers: float32, float64 or int32.
        lanes: numbers in a vector; those of VECTOR_BITS unless given.
    """

    def __init__(self, context: Any, builder: Any, number: Any, lanes: int | None = None) -> None:
        self.context, self.builder = context, builder
        self.number = context.get_value_type(number)
        self.lanes = lanes or VECTOR_BITS // number.bitwidth
        self.type = ir.VectorType(self.number, self.lanes)
        self.zero = ir.Constant(self.type, None)

    # Loops

    @contextmanager
    def loop(self, start: Any, stop: Any, step: int) -> Iterator[Any]:
        by = start.type(step)
        with cgutils.for_range_slice(self.builder, start, stop, by, start.type) as (at, _):
            yield at

    def start_sums(self, count: int) -> list[Any]:
        """Addresses of vectors of zeros to add to in a loop; LLVM makes them registers."""
        return [cgutils.alloca_once_value(self.builder, self.zero) for _ in range(count)]

    # Memory

    def load(self, address: Any) -> Any:
        """A vector from an address; float32 and float64 are converted to this type of number."""
        stored = address.type.pointee
        pointer = self.builder.bitcast(address, ir.VectorType(stored, self.lanes).as_pointer())
        align = self.context.get_abi_sizeof(stored)
        vector = self.builder.load(pointer, align=align)
        return vector if stored == self.number else self._convert(vector, self.type)

    def load_number(self, address: Any) -> Any:
        """One number, converted as by ``load``."""
        number = self.builder.load(address)
        return number if number.type == self.number else self._convert(number, self.number)

    def _convert(self, given: Any, wanted: Any) -> Any:
        to_wide = isinstance(self.number, ir.DoubleType)
        return (self.builder.fpext if to_wide else self.builder.fptrunc)(given, wanted)

    def store(self, vector: Any, address: Any) -> None:
        """Store where an array has this type of number."""
        pointer = self.builder.bitcast(address, self.type.as_pointer())
        self.builder.store(vector, pointer, align=self.context.get_abi_sizeof(self.number))

    # Lanes

    def broadcast(self, number: Any) -> Any:
        """The number in every lane."""
        undefined = ir.Constant(self.type, ir.Undefined)
        single = self.builder.insert_element(undefined, number, _INT32(0))
        return self.shuffle(single, undefined, [0] * self.lanes)

    def load_broadcast(self, address: Any) -> Any:
        return self.broadcast(self.load_number(address))

    def shuffle(self, left: Any, right: Any, lanes: list[int]) -> Any:
        """The lanes chosen from both vectors, those of ``right`` counted on from ``left``'s."""
        chosen = ir.Constant(ir.VectorType(_INT32, len(lanes)), lanes)
        return self.builder.shuffle_vector(left, right, chosen)

    def make_unit(self, lane: int) -> Any:
        """The unit vector that is 1 in one lane."""
        return ir.Constant(self.type, [float(other == lane) for other in range(self.lanes)])

    def transpose(self, rows: list[Any]) -> list[Any]:
        """The columns of as many vectors as there are lanes.

        Blocks off the diagonal trade places, of 1 number first, then of 2 x 2, 4 x 4, ...
        """
        rows = list(rows)
        block = 1
        while block < self.lanes:
            upper = [
                lane if not lane & block else self.lanes + lane - block
                for lane in range(self.lanes)
            ]
            lower = [lane + block for lane in upper]
            for i in range(self.lanes):
                if not i & block:
                    above, below = rows[i], rows[i + block]
                    rows[i] = self.shuffle(above, below, upper)
                    rows[i + block] = self.shuffle(above, below, lower)
            block *= 2
        return rows

    # Arithmetic

    def multiply(self, left: Any, right: Any) -> Any:
        return self.builder.fmul(left, right, flags=["contract"])

    def multiply_add(self, left: Any, right: Any, total: Any) -> Any:
        """left * right + total: a fused multiply-add where the CPU has it."""
        return self.builder.fadd(self.multiply(left, right), total, flags=["contract"])

    def multiply_subtract(self, left: Any, right: Any, total: Any) -> Any:
        """total - left * right: fused as well."""
        return self.builder.fsub(total, self.multiply(left, right), flags=["contract"])

    def sum_horizontally(self, vectors: list[Any]) -> Any:
        """A vector of the horizontal sum of each vector.

        Halves are added to halves until one number is left of each. Two vectors share one addition.
        """
        width = self.lanes
        while width > 1:
            width //= 2
            others = vectors[1::2] if len(vectors) > 1 else vectors
            # Both halves of the segments of both vectors: a segment is what is left of one vector.
            length = vectors[0].type.count * (2 if len(vectors) > 1 else 1)
            starts = range(0, length, 2 * width)
            first, second = (
                [start + half + lane for start in starts for lane in range(width)]
                for half in (0, width)
            )
            vectors = [
                self.builder.fadd(self.shuffle(*pair, first), self.shuffle(*pair, second))
                for pair in zip(vectors[0::2], others, strict=True)
            ]
        return vectors[0]
