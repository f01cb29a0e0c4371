"""What an intrinsic is given, as its code needs it: arrays by address, indices of one type."""

from types import SimpleNamespace
from typing import Any

from numba import types
from numba.core import cgutils


class ArrayView:
    """A contiguous array, by the addresses of its entries."""

    def __init__(self, context: Any, builder: Any, array_type: Any, array: Any) -> None:
        proxy = cgutils.create_struct_proxy(array_type)(context, builder, array)
        self._context, self._builder, self._dtype = context, builder, array_type.dtype
        self.data, self.shape = proxy.data, cgutils.unpack_tuple(builder, proxy.shape)

    def address(self, first: Any, *others: Any, plus: int = 0) -> Any:
        """Of the entry at an index for each axis; ``plus`` is added to the last."""
        place = first
        for index, length in zip(others, self.shape[1:], strict=True):
            place = self._builder.add(self._builder.mul(place, length), index)
        return self._builder.gep(self.data, [add_constant(self._builder, place, plus)])

    def load_index(self, at: Any) -> Any:
        """One entry, an integer of any type, as intp."""
        entry = self._builder.load(self.address(at))
        return self._context.cast(self._builder, entry, self._dtype, types.intp)


def open_arguments(context: Any, builder: Any, signature: Any, arguments: Any) -> list[Any]:
    """An intrinsic's arguments, arrays as ``ArrayView``s, and None as None.

    Tuples become lists, named ones namespaces; integers in them become intp.
    """

    def open_argument(kind: Any, argument: Any) -> Any:
        if isinstance(kind, types.Array):
            return ArrayView(context, builder, kind, argument)
        if isinstance(kind, types.BaseTuple):
            parts = [
                context.cast(builder, part, of, types.intp)
                if isinstance(of, types.Integer)
                else open_argument(of, part)
                for of, part in zip(kind, cgutils.unpack_tuple(builder, argument), strict=True)
            ]
            named = isinstance(kind, types.BaseNamedTuple)
            return SimpleNamespace(**dict(zip(kind.fields, parts, strict=True))) if named else parts
        return None if kind == types.none else argument

    pairs = zip(signature.args, arguments, strict=True)
    return [open_argument(kind, argument) for kind, argument in pairs]


def add_constant(builder: Any, index: Any, number: int) -> Any:
    return builder.add(index, index.type(number))


def list_indices(builder: Any, first: Any, count: int) -> list[Any]:
    """first, first + 1, ..."""
    return [add_constant(builder, first, i) for i in range(count)]
