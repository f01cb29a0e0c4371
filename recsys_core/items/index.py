"""The dense item index: sorted, unique, invertible."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from recsys_core.arrays import IdArray, Int64Array


@dataclass(frozen=True)
class ItemIndex:
    """Maps item ids to 0..n-1 in ascending id order, and back.

    Strings are ordered by code point, which is Spark's order of UTF-8 bytes.
    """

    item_ids: IdArray
    """Int64 or object [n_items], ascending, unique: ``item_ids[item_index]`` is the caller's id."""

    @classmethod
    def from_ids(cls, ids: Iterable[Any]) -> "ItemIndex":
        """The index of the distinct ids.

        Raises:
            TypeError: ids that are neither all integers nor all strings.
        """
        distinct = sorted(set(ids))
        if all(isinstance(item, str) for item in distinct):
            return cls(np.array(distinct, dtype=object if distinct else np.int64))
        if all(isinstance(item, (int, np.integer)) for item in distinct):
            return cls(np.array(distinct, dtype=np.int64))
        raise TypeError("item ids must be all integers or all strings")

    def __post_init__(self) -> None:
        if np.any(self.item_ids[1:] <= self.item_ids[:-1]):
            raise ValueError("item_ids must be ascending and unique")

    def __len__(self) -> int:
        return len(self.item_ids)

    @cached_property
    def _index_of(self) -> dict[Any, int]:
        return {item: index for index, item in enumerate(self.item_ids.tolist())}

    def get(self, item_id: Any) -> int | None:
        """The index of one id; None where it is not in the index."""
        return self._index_of.get(item_id)

    def indices_of(self, ids: IdArray, *, missing: int = -1) -> Int64Array:
        """The index of each id, ``missing`` where an id is not in the index."""
        return np.array(
            [self._index_of.get(item, missing) for item in ids.tolist()], dtype=np.int64
        )
