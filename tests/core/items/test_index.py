"""The item index is sorted, dense, unique and invertible."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_core.items.index import ItemIndex

IDS = st.one_of(
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1),
    st.lists(st.text(st.characters(codec="utf-8")), min_size=1),
)


@given(IDS)
def test_ids_come_back_from_their_indices(ids: list[Any]) -> None:
    index = ItemIndex.from_ids(ids)
    indices = index.indices_of(np.array(ids, dtype=index.item_ids.dtype))
    assert index.item_ids[indices].tolist() == ids
    assert [index.get(item) for item in ids] == indices.tolist()
    assert sorted(set(indices.tolist())) == list(range(len(index)))


@given(IDS, st.randoms())
def test_order_and_repeats_of_the_ids_do_not_matter(ids: list[Any], random: Any) -> None:
    shuffled = ids + ids
    random.shuffle(shuffled)
    found, again = ItemIndex.from_ids(ids).item_ids, ItemIndex.from_ids(shuffled).item_ids
    assert found.dtype == again.dtype
    assert found.tolist() == again.tolist()


@given(st.lists(st.text(st.characters(codec="utf-8"))))
def test_strings_are_in_the_order_of_their_utf8_bytes(ids: list[str]) -> None:
    found = ItemIndex.from_ids(ids).item_ids.tolist()
    assert found == sorted(set(ids), key=lambda item: item.encode())


@pytest.mark.parametrize(
    ("ids", "expected", "dtype"),
    [
        ([30, -10, 20, 30], [-10, 20, 30], np.int64),
        (np.array([2, 1, 2], dtype=np.int32), [1, 2], np.int64),
        (["b", "10", "9", "B", "b"], ["10", "9", "B", "b"], object),
        (["\U0001f600", "\uffff", "é", "z"], ["z", "é", "\uffff", "\U0001f600"], object),
        ([], [], np.int64),
    ],
)
def test_ids_are_distinct_and_ascending(ids: Any, expected: list[Any], dtype: type) -> None:
    index = ItemIndex.from_ids(ids)
    assert index.item_ids.tolist() == expected
    assert index.item_ids.dtype == dtype
    assert len(index) == len(expected)


def test_what_is_not_in_the_index_is_said_to_be_missing() -> None:
    index = ItemIndex.from_ids([10, 20])
    assert index.indices_of(np.array([20, 15, 10])).tolist() == [1, -1, 0]
    assert index.indices_of(np.array([15]), missing=99).tolist() == [99]
    assert index.indices_of(np.array([], dtype=np.int64)).dtype == np.int64
    assert index.get(15) is None
    assert index.get("10") is None


@pytest.mark.parametrize("ids", [[1, "a"], ["a", 1], [1, None], ["a", None], ["a", b"b"], [1, 2.5]])
def test_mixed_types_are_refused(ids: list[Any]) -> None:
    with pytest.raises(TypeError):
        ItemIndex.from_ids(ids)


@pytest.mark.parametrize("ids", [[2, 1], [1, 1], ["b", "a"], ["a", "a"]])
def test_an_index_that_is_not_ascending_and_unique_is_refused(ids: list[Any]) -> None:
    kind = object if isinstance(ids[0], str) else np.int64
    with pytest.raises(ValueError, match="ascending and unique"):
        ItemIndex(np.array(ids, dtype=kind))
