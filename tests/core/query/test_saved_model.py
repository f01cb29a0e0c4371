"""A saved model comes back as it was, or not at all."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from core_examples import Groups, are_bit_equal, draw_ratings, make_mf, make_nmf
from hypothesis import example, given, settings
from hypothesis import strategies as st
from model_cases import CASES
from safetensors.numpy import load, save

from recsys_core.errors import ModelFormatError
from recsys_core.items.catalog import ExcludedItem, ItemCatalog
from recsys_core.items.index import ItemIndex
from recsys_core.model_form.item_model import ItemModel
from recsys_core.query.saved_model import (
    ARRAYS_FILE,
    FACTS_FILE,
    FILES,
    SavedModel,
    decode_model,
    encode_model,
)
from recsys_core.ranking.model_scorer import ModelScorer

N_ITEMS = 6
MODELS: dict[str, Callable[[], ItemModel]] = {
    "nmf": lambda: make_nmf(N_ITEMS),
    "mf": lambda: make_mf(N_ITEMS),
    "mf with biases": lambda: make_mf(N_ITEMS, biases=True),
    "slim": lambda: train_case("slim"),
    "blend": lambda: train_case("blend"),
}


def train_case(name: str) -> ItemModel:
    ratings = draw_ratings(30, N_ITEMS, density=0.6)
    return CASES[name].train(Groups(ratings, np.zeros(30), np.zeros(N_ITEMS))).model


def make_saved(kind: str = "mf with biases", *, text_ids: bool = False) -> SavedModel:
    ids: list[Any] = [f"tt{i:03d} é" for i in range(N_ITEMS)] if text_ids else list(range(3, 9))
    catalog = ItemCatalog(
        ItemIndex.from_ids(ids),
        titles=['Say "Hi"\n(1994)', "Amélie", None, "愛", "\U0001f600", ""],
        genres=["Comedy|War", None, "Drama", "", "War", "War"],
        rating_count=np.arange(20, 20 + N_ITEMS),
        mean_rating=np.linspace(0.5, 5.0, N_ITEMS),
        excluded=[
            ExcludedItem("x" if text_ids else 99, "Ålien", "unpopular", 3),
            ExcludedItem("y" if text_ids else 100, None, "disliked", 40),
        ],
    )
    facts = {"run_id": "r1", "losses": [1.5, 0.1], "settings": {"tol": 1e-4}, "note": "naïve"}
    return SavedModel(MODELS[kind](), catalog, facts)


@cache
def encode_example() -> dict[str, bytes]:
    return encode_model(make_saved(text_ids=True))


def edit_facts(files: dict[str, bytes], **changes: Any) -> dict[str, bytes]:
    facts = json.loads(files[FACTS_FILE]) | changes
    return files | {FACTS_FILE: json.dumps(facts).encode()}


def edit_array(files: dict[str, bytes], name: str, array: np.ndarray | None) -> dict[str, bytes]:
    """Another array under a valid checksum; None takes it out."""
    arrays = load(files[ARRAYS_FILE]) | {name: array}
    tensors = save({name: array for name, array in arrays.items() if array is not None})
    checksum = hashlib.sha256(tensors).hexdigest()
    return edit_facts(files, arrays_sha256=checksum) | {ARRAYS_FILE: tensors}


def names_its_file(error: ModelFormatError) -> bool:
    return str(error).startswith(tuple(f"{name}: " for name in FILES))


def assert_refused(files: dict[str, bytes], message: str | None = None) -> None:
    with pytest.raises(ModelFormatError, match=message) as error:
        decode_model(files)
    assert names_its_file(error.value)


@pytest.mark.parametrize("text_ids", [False, True])
@pytest.mark.parametrize("kind", MODELS)
def test_a_model_comes_back_with_identical_lists(kind: str, text_ids: bool) -> None:
    saved = make_saved(kind, text_ids=text_ids)
    again = decode_model(encode_model(saved))
    assert type(again.model) is type(saved.model)
    ratings = draw_ratings(20, N_ITEMS, density=0.4)
    before, after = (
        ModelScorer(model, 3).rank(model.fold(ratings)) for model in (saved.model, again.model)
    )
    assert are_bit_equal(before.item_index, after.item_index)
    assert are_bit_equal(before.score, after.score)
    assert are_bit_equal(before.counts, after.counts)


@pytest.mark.parametrize("text_ids", [False, True])
def test_the_catalog_and_the_facts_come_back(text_ids: bool) -> None:
    saved = make_saved(text_ids=text_ids)
    again = decode_model(encode_model(saved))
    assert again.facts == saved.facts
    assert again.catalog.item_ids.tolist() == saved.catalog.item_ids.tolist()
    assert again.catalog.item_ids.dtype == saved.catalog.item_ids.dtype
    for name in ("titles", "genres", "excluded"):
        assert getattr(again.catalog, name) == getattr(saved.catalog, name)
    for name in ("rating_count", "mean_rating"):
        assert are_bit_equal(getattr(again.catalog, name), getattr(saved.catalog, name))


@pytest.mark.parametrize("kind", MODELS)
def test_equal_models_give_equal_bytes(kind: str) -> None:
    files = encode_model(make_saved(kind))
    assert encode_model(make_saved(kind)) == files
    assert encode_model(decode_model(files)) == files
    assert tuple(files) == FILES


def test_facts_that_are_not_json_are_refused_when_saving() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        encode_model(replace(make_saved(), facts={"loss": float("nan")}))


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.9, 0.999])
def test_truncated_files_are_refused(name: str, share: float) -> None:
    files = encode_example()
    assert_refused(files | {name: files[name][: int(share * len(files[name]))]})


@pytest.mark.parametrize("name", FILES)
def test_a_byte_too_few_or_too_many_is_refused(name: str) -> None:
    files = encode_example()
    assert_refused(files | {name: files[name][:-1]})
    assert_refused(files | {name: files[name] + b"0"})


def flip(data: bytes, position: int, mask: int) -> bytes:
    return data[:position] + bytes([data[position] ^ mask]) + data[position + 1 :]


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(encode_example()[ARRAYS_FILE]) - 1), st.integers(1, 255))
@example(position=0, mask=1)
def test_any_changed_byte_of_the_arrays_is_refused(position: int, mask: int) -> None:
    files = encode_example()
    assert_refused(
        files | {ARRAYS_FILE: flip(files[ARRAYS_FILE], position, mask)}, f"^{ARRAYS_FILE}: damaged"
    )


def assert_decoded_or_refused(files: dict[str, bytes]) -> None:
    """No error but the promised one; what is only another text may pass."""
    refusal: ModelFormatError | None = None
    try:
        decode_model(files)
    except ModelFormatError as error:
        refusal = error
    assert refusal is None or names_its_file(refusal)


@pytest.mark.parametrize("mask", [0x01, 0x20, 0x80, 0xFF])
@pytest.mark.parametrize("text_ids", [False, True])
def test_no_flipped_bits_of_the_facts_raise_another_error(mask: int, text_ids: bool) -> None:
    files = encode_model(make_saved(text_ids=text_ids))
    for position in range(len(files[FACTS_FILE])):
        assert_decoded_or_refused(files | {FACTS_FILE: flip(files[FACTS_FILE], position, mask)})


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(encode_example()[FACTS_FILE]) - 1), st.integers(0, 255))
def test_no_changed_byte_of_the_facts_raises_another_error(position: int, byte: int) -> None:
    files = encode_example()
    data = bytearray(files[FACTS_FILE])
    data[position] = byte
    assert_decoded_or_refused(files | {FACTS_FILE: bytes(data)})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=7) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=10,
)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(sorted(json.loads(encode_example()[FACTS_FILE]))), JSON)
def test_no_value_in_place_of_a_fact_raises_another_error(name: str, value: Any) -> None:
    assert_decoded_or_refused(edit_facts(encode_example(), **{name: value}))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not valid JSON"),
        (b"\xff\xfe\x00", "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b"null", "not a model of this program"),
        (b"[1, 2]", "not a model of this program"),
        (b'{"format": "pt", "version": 1}', "not a model of this program"),
        (b"{}", "not a model of this program"),
    ],
)
def test_foreign_json_is_refused(data: bytes, message: str) -> None:
    assert_refused(encode_example() | {FACTS_FILE: data}, f"^{FACTS_FILE}: .*{message}")


@pytest.mark.parametrize("version", [2, 0, "1", None])
def test_another_version_is_refused_and_named(version: Any) -> None:
    files = edit_facts(encode_example(), version=version)
    assert_refused(files, f"^{FACTS_FILE}: format version {version!r}, this program reads 1")


@pytest.mark.parametrize("kind", ["svd", "", None, 3, [], {}])
def test_an_unknown_model_is_refused_and_the_known_are_named(kind: Any) -> None:
    assert_refused(edit_facts(encode_example(), kind=kind), "unknown model .* known: nmf, mf")


@pytest.mark.parametrize("name", ["titles", "genres", "item_ids"])
def test_lists_of_another_length_are_refused(name: str) -> None:
    short = json.loads(encode_example()[FACTS_FILE])[name][:-1]
    assert_refused(edit_facts(encode_example(), **{name: short}), "5 .* for 6 item factors")


@pytest.mark.parametrize(
    "name", ["kind", "titles", "genres", "item_ids", "excluded_items", "facts", "arrays_sha256"]
)
def test_a_missing_fact_is_refused(name: str) -> None:
    facts = json.loads(encode_example()[FACTS_FILE])
    del facts[name]
    assert_refused(encode_example() | {FACTS_FILE: json.dumps(facts).encode()})


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("rating_count", None),
        ("rating_count", np.arange(5)),
        ("mean_rating", None),
        ("mean_rating", np.zeros(7)),
        ("factors.item_factors", None),
        ("factors.item_factors", np.zeros((5, 4), np.float32)),
        ("factors.item_factors", np.zeros(N_ITEMS, np.float32)),
        ("factors.item_factors", np.full((N_ITEMS, 4), np.nan, np.float32)),
        ("factors.item_factors", np.full((N_ITEMS, 4), np.inf, np.float32)),
        ("factors.item_bias", np.zeros(5, np.float32)),
        ("factors.item_bias", np.full(N_ITEMS, np.nan, np.float32)),
        ("factors.global_mean", np.zeros(0)),
        ("factors.global_mean", np.array([np.nan])),
        ("factors.regularization", np.array([np.nan])),
    ],
)
def test_arrays_that_do_not_make_a_model_are_refused(name: str, array: np.ndarray | None) -> None:
    assert_refused(edit_array(encode_example(), name, array), "does not describe a whole model")


def test_ids_out_of_order_are_refused() -> None:
    ids = json.loads(encode_example()[FACTS_FILE])["item_ids"][::-1]
    assert_refused(edit_facts(encode_example(), item_ids=ids), "ascending and unique")


def test_files_of_two_models_are_refused() -> None:
    other = encode_model(make_saved("nmf"))
    assert_refused(encode_example() | {ARRAYS_FILE: other[ARRAYS_FILE]}, "sha256")
