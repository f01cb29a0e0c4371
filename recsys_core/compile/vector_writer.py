"""LLVM code for what is done with vectors of numbers: load, spread, multiply, transpose, sum up.

``recsys_core/compile/triangular_blocks`` writes its loops with it. Arrays are contiguous, of float32 or
float64.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

VECTOR_BITS = 512
"""A vector of AVX-512, or two of AVX2."""
_INDEX = ir.IntType(32)


class Vectors:
    """Writes what is done with vectors of one type of numbers."""

    def __init__(self, context: Any, builder: Any, number: Any) -> None:
        self.context, self.builder = context, builder
        self.number = context.get_value_type(number)
        self.lanes = VECTOR_BITS // number.bitwidth
        self.type = ir.VectorType(self.number, self.lanes)
        self.zero = ir.Constant(self.type, [0.0] * self.lanes)

    def width(self, array_type: Any, array: Any) -> Any:
        """Length of the array's last axis."""
        proxy = cgutils.create_struct_proxy(array_type)(self.context, self.builder, array)
        return cgutils.unpack_tuple(self.builder, proxy.shape)[-1]

    def point_into(self, array_type: Any, array: Any) -> Callable[..., Any]:
        """What gives addresses: from one index or two, and a constant to add to the last."""
        proxy = cgutils.create_struct_proxy(array_type)(self.context, self.builder, array)
        width = self.width(array_type, array)

        def address(*index: Any) -> Any:
            if array_type.ndim == 1:
                return self.builder.gep(proxy.data, [index[0]])
            row, column, *moved = index
            offset = self.builder.add(self.builder.mul(row, width), column)
            return self.builder.gep(proxy.data, [self.after(offset, *moved)])

        return address

    def unpack_places(self, tuple_type: Any, places: Any) -> list[Any]:
        """Indices from a tuple of integers of any type."""
        return [
            self.context.cast(self.builder, place, place_type, types.intp)
            for place, place_type in zip(
                cgutils.unpack_tuple(self.builder, places), tuple_type, strict=True
            )
        ]

    def after(self, place: Any, steps: int = 0) -> Any:
        return self.builder.add(place, ir.Constant(place.type, steps))

    @contextmanager
    def loop(self, start: Any, stop: Any, step: int) -> Iterator[Any]:
        by = ir.Constant(start.type, step)
        with cgutils.for_range_slice(self.builder, start, stop, by, start.type) as (at, _):
            yield at

    def load(self, address: Any) -> Any:
        """As many numbers as there are lanes, made numbers of this type."""
        stored = address.type.pointee
        pointer = self.builder.bitcast(address, ir.VectorType(stored, self.lanes).as_pointer())
        align = self.context.get_abi_sizeof(stored)
        vector = self.builder.load(pointer, align=align)
        return vector if stored == self.number else self.convert(vector, self.type)

    def take(self, address: Any) -> Any:
        """One number, made one of this type."""
        number = self.builder.load(address)
        return number if number.type == self.number else self.convert(number, self.number)

    def take_place(self, places_type: Any, places: Any, at: Any) -> Any:
        """One index out of an array of integers of any type."""
        place = self.builder.load(self.point_into(places_type, places)(at))
        return self.context.cast(self.builder, place, places_type.dtype, types.intp)

    def convert(self, given: Any, wanted: Any) -> Any:
        to_wide = isinstance(self.number, ir.DoubleType)
        return (self.builder.fpext if to_wide else self.builder.fptrunc)(given, wanted)

    def store(self, vector: Any, address: Any) -> None:
        pointer = self.builder.bitcast(address, self.type.as_pointer())
        self.builder.store(vector, pointer, align=self.context.get_abi_sizeof(self.number))

    def spread(self, number: Any) -> Any:
        nothing = ir.Constant(self.type, ir.Undefined)
        single = self.builder.insert_element(nothing, number, ir.Constant(_INDEX, 0))
        return self.shuffle(single, nothing, [0] * self.lanes)

    def shuffle(self, left: Any, right: Any, places: list[int]) -> Any:
        chosen = ir.Constant(ir.VectorType(_INDEX, len(places)), places)
        return self.builder.shuffle_vector(left, right, chosen)

    def multiply(self, left: Any, right: Any) -> Any:
        return self.builder.fmul(left, right, flags=["contract"])

    def add_product(self, total: Any, left: Any, right: Any) -> Any:
        return self.builder.fadd(self.multiply(left, right), total, flags=["contract"])

    def subtract_product(self, total: Any, left: Any, right: Any) -> Any:
        return self.builder.fsub(total, self.multiply(left, right), flags=["contract"])

    def sum_up(self, vectors: list[Any]) -> Any:
        """A vector of the sum of each vector's numbers: halves are added, of two at once."""
        width = self.lanes
        while width > 1:
            width //= 2
            others = vectors[1::2] if len(vectors) > 1 else vectors
            # Two vectors of segments twice as wide: the first halves of all, and the second ones.
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

    def find_group(
        self, rows_type: Any, rows: Any, at: Any, stop: Any, size: int
    ) -> list[tuple[Any, Any]]:
        """Of each of rows[at : at + size] whether it is before ``stop``, and the row.

        The first stands in for those that are not.
        """
        group = []
        for i in range(size):
            place = self.after(at, i)
            inside = self.builder.icmp_signed("<", place, stop)
            known = self.builder.select(inside, place, at)
            group.append((inside, self.take_place(rows_type, rows, known)))
        return group

    def take_factors(
        self, factors_type: Any, factors: Any, first: Any, group: list[tuple[Any, Any]]
    ) -> list[Any]:
        """Vectors of each number from ``first`` on, and zeros for those outside of the group."""
        factors_at, zero = self.point_into(factors_type, factors), ir.Constant(self.number, 0.0)
        spread = []
        for i, (inside, _) in enumerate(group):
            place = self.builder.select(inside, self.after(first, i), first)
            factor = self.take(factors_at(place))
            spread.append(self.spread(self.builder.select(inside, factor, zero)))
        return spread

    def unit(self, place: int) -> Any:
        return ir.Constant(self.type, [float(lane == place) for lane in range(self.lanes)])

    def combine(self, total: Any, factors: list[Any], rows: list[Any]) -> Any:
        """total + sum of factors times rows, in four sums: each addition waits for one before."""
        sums = [total, self.zero, self.zero, self.zero]
        for i, (factor, row) in enumerate(zip(factors, rows, strict=True)):
            sums[i % 4] = self.add_product(sums[i % 4], factor, row)
        add = self.builder.fadd
        return add(add(sums[0], sums[1]), add(sums[2], sums[3]))

    def add_combination(
        self,
        total_at: Callable[..., Any],
        factors: list[Any],
        matrix_at: Callable[..., Any],
        rows: list[Any],
        start: Any,
        stop: Any,
    ) -> None:
        """total[start:stop] += sum of factors times the matrix's rows, from start to stop."""
        with self.loop(start, stop, self.lanes) as column:
            taken = [self.load(matrix_at(row, column)) for row in rows]
            before = self.load(total_at(column))
            self.store(self.combine(before, factors, taken), total_at(column))

    def multiply_rows(
        self,
        matrix_at: Callable[..., Any],
        rows: list[Any],
        right_at: Callable[..., Any],
        start: Any,
        stop: Any,
    ) -> Any:
        """A vector of the inner products of the matrix's rows and ``right``, from start to stop."""
        sums = [cgutils.alloca_once_value(self.builder, self.zero) for _ in rows]
        with self.loop(start, stop, self.lanes) as column:
            other = self.load(right_at(column))
            for row, held in zip(rows, sums, strict=True):
                taken = self.load(matrix_at(row, column))
                self.builder.store(self.add_product(self.builder.load(held), taken, other), held)
        return self.sum_up([self.builder.load(held) for held in sums])

    def transpose(self, rows: list[Any]) -> list[Any]:
        """The columns of as many vectors as there are lanes: blocks trade places, ever larger."""
        rows = list(rows)
        block = 1
        while block < self.lanes:
            for i in range(self.lanes):
                if i & block:
                    continue
                above, below = rows[i], rows[i + block]
                kept = [
                    lane if not lane & block else self.lanes + lane - block
                    for lane in range(self.lanes)
                ]
                moved = [place + block for place in kept]
                rows[i] = self.shuffle(above, below, kept)
                rows[i + block] = self.shuffle(above, below, moved)
            block *= 2
        return rows

    def factorize_block(
        self, left: dict[tuple[int, int], Any], smallest: list[Any]
    ) -> tuple[list[Any], dict[tuple[int, int], Any]]:
        """Inverse pivots and the multipliers of a block's rows, given its upper triangle.

        Row i is that given less the sum over k < i of multiplier (k, i) times row k. Its root is
        taken of no pivot: each would have to wait for it.
        """
        zero, one = (ir.Constant(self.number, number) for number in (0.0, 1.0))
        inverses, multipliers, size = [], {}, range(len(smallest))
        for k in size:
            regular = self.builder.fcmp_ordered(">", left[k, k], smallest[k])
            inverse = self.builder.select(regular, self.builder.fdiv(one, left[k, k]), zero)
            inverses.append(inverse)
            for i in size[k + 1 :]:
                multipliers[k, i] = self.multiply(left[k, i], inverse)
                for j in size[i:]:
                    left[i, j] = self.subtract_product(left[i, j], multipliers[k, i], left[k, j])
        return inverses, multipliers
