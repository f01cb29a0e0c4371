from typing import Any

import numpy as np
import pytest
from core_examples import Groups
from model_cases import CASES
from scipy.sparse import csr_matrix

from recsys_core.errors import QueryError
from recsys_core.items.catalog import ExcludedItem, ItemCatalog
from recsys_core.items.index import ItemIndex
from recsys_core.model_form.item_weights import ItemWeights
from recsys_core.model_form.rating_weights import RatingWeights
from recsys_core.models.nmf import NmfModel, train_nmf
from recsys_core.models.registry import MODELS
from recsys_core.models.slim import SlimModel
from recsys_core.query.recommender import find_similar, recommend, resolve_query
from recsys_core.query.saved_model import SavedModel, decode_model, encode_model
from recsys_core.ranking.similarity import rank_neighbours, rank_similar

TITLES = [
    "Cat (1990)",
    "Kitten, The (1991)",
    "Lion (1992)",
    "Dog (1990)",
    "Puppy (1991)",
    "Wolf (1992)",
]
IDS = [10, 20, 30, 40, 50, 60]
CATS_AND_DOGS = np.kron(np.eye(2), np.ones((4, 3))) * 4.0 + 0.5  # users x items


def make_saved(ids: list[Any] | None = None, titles: list[str | None] | None = None) -> SavedModel:
    trained = train_nmf(
        csr_matrix(CATS_AND_DOGS), n_components=2, init="nndsvd", max_iter=500, tol=1e-6, seed=0
    )
    catalog = ItemCatalog(
        ItemIndex.from_ids(ids or IDS),
        titles or list(TITLES),
        [None] * 6,
        np.full(6, 8),
        np.full(6, 2.5),
        [ExcludedItem(70, "Rare Bird (1993)", "fewer than 5 ratings", 2)],
    )
    return SavedModel(trained.model, catalog, {"rating_range": [0.5, 5.0]})


@pytest.fixture(scope="module")
def saved() -> SavedModel:
    return make_saved()


def test_a_cat_lover_gets_the_other_cats_first(saved: SavedModel) -> None:
    found = recommend({"Cat (1990)": 5}, saved, k=5)
    assert {item.title for item in found[:2]} == {"Kitten, The (1991)", "Lion (1992)"}
    assert [item.rank for item in found] == [1, 2, 3, 4, 5]
    assert [item.score for item in found] == sorted((i.score for i in found), reverse=True)
    assert "Cat (1990)" not in {item.title for item in found}


@pytest.mark.parametrize("key", [10, "10", "Cat (1990)", "cat", "CAT (1990)"])
def test_items_are_named_by_id_or_title(saved: SavedModel, key: Any) -> None:
    assert resolve_query({key: 4}, saved).ratings == {0: 4.0}


def test_string_ids_are_matched_as_they_are() -> None:
    saved = make_saved(ids=["007", "7", "a", "b", "c", "d"])
    assert resolve_query({"007": 4}, saved).ratings == {0: 4.0}
    assert resolve_query({"7": 4}, saved).ratings == {1: 4.0}


def test_unknown_and_left_out_items_are_named_and_the_rest_goes_on(saved: SavedModel) -> None:
    query = {"70": 5, "rare bird": 5, "Unicorn": 5, "Dog (1990)": 5}
    resolved = resolve_query(query, saved)
    assert resolved.ratings == {3: 5.0}
    assert resolved.ignored == [
        "'70' (Rare Bird (1993)) was left out of the model: fewer than 5 ratings (it has 2)",
        "'rare bird' (Rare Bird (1993)) was left out of the model: fewer than 5 ratings (it has 2)",
        "'Unicorn' is not an item of this model",
    ]


@pytest.mark.parametrize(
    ("query", "k", "message"),
    [
        ({"Unicorn": 5}, 3, "no rating of an item this model knows: 'Unicorn' is not an item"),
        ({}, 3, "no rating of an item"),
        ({"cat": 5}, 0, "k = 0: must be at least 1"),
        ({"cat": 5.5}, 3, "'cat': rating 5.5 is not a number from 0.5 to 5"),
        ({"cat": -1}, 3, "is not a number from"),
        ({"cat": float("nan")}, 3, "is not a number from"),
        ({"cat": "5"}, 3, "is not a number from"),
        ({"cat": True}, 3, "is not a number from"),
        ({"cat": None}, 3, "is not a number from"),
        ({"cat": 5, "10": 4}, 3, "'10' is rated twice"),
    ],
)
def test_a_query_that_cannot_be_answered_says_why(
    saved: SavedModel, query: dict[str, Any], k: int, message: str
) -> None:
    with pytest.raises(QueryError, match=message):
        recommend(query, saved, k)


def test_several_matches_are_listed_and_nothing_is_guessed() -> None:
    saved = make_saved(titles=["Cat (1990)", "Cat (1999)", "Lion", None, None, None])
    with pytest.raises(QueryError, match=r"'cat' may be any of: Cat \(1990\) \[10\], Cat \(1999\)"):
        recommend({"cat": 5}, saved)


def test_fewer_items_than_k_give_a_shorter_list(saved: SavedModel) -> None:
    assert len(recommend({"cat": 5, "dog": 1}, saved, k=100)) == 4


def test_contributions_are_what_a_score_loses_without_the_rating(saved: SavedModel) -> None:
    query = {"cat": 5, "dog": 3, "wolf": 1}
    for item in recommend(query, saved, k=2, explain=True):
        assert {reason.item_id for reason in item.because} == {10, 40, 60}
        amounts = [reason.amount for reason in item.because]
        assert amounts == sorted(amounts, reverse=True)
        for reason in item.because:
            fewer = {"10": 5, "40": 3, "60": 1}
            del fewer[str(reason.item_id)]
            others = {other.item_id: other.score for other in recommend(fewer, saved, k=6)}
            assert item.score - others[item.item_id] == pytest.approx(reason.amount, abs=1e-5)


def test_a_saved_and_loaded_model_gives_identical_lists(saved: SavedModel) -> None:
    loaded = decode_model(encode_model(saved))
    for query in ({"cat": 5}, {"dog": 2.5, "lion": 4}):
        assert recommend(query, loaded) == recommend(query, saved)


def test_similar_items_are_those_of_the_same_kind(saved: SavedModel) -> None:
    found = find_similar("the kitten", saved, k=5)
    assert {item.title for item in found[:2]} == {"Cat (1990)", "Lion (1992)"}
    assert all(-1.0001 <= item.similarity <= 1.0001 for item in found)
    assert "Kitten, The (1991)" not in {item.title for item in found}
    with pytest.raises(QueryError, match=r"'70' .* was left out of the model"):
        find_similar("70", saved)
    with pytest.raises(QueryError, match="k = 0"):
        find_similar("cat", saved, k=0)


def test_similarity_is_the_cosine() -> None:
    rng = np.random.default_rng(0)
    embeddings = rng.normal(size=(40, 5)).astype(np.float32)
    embeddings[7] = 0.0
    directions = embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-30)
    cosines = directions.astype(np.float64) @ directions.astype(np.float64).T
    np.fill_diagonal(cosines, -np.inf)
    ranked = rank_similar(embeddings, 3)
    assert ranked.counts.tolist() == [3] * 40
    best = np.sort(cosines, axis=1)[:, ::-1][:, :3]
    assert np.allclose(ranked.score.reshape(40, 3), best, atol=1e-6)
    one = rank_similar(embeddings, 3, items=np.array([11]))
    assert one.item_index.tolist() == ranked.item_index.reshape(40, 3)[11].tolist()


def train_saved(name: str) -> SavedModel:
    model = CASES[name].train(Groups(csr_matrix(CATS_AND_DOGS), np.zeros(8), np.zeros(6))).model
    return SavedModel(model, make_saved().catalog, {"rating_range": [0.5, 5.0]})


@pytest.mark.parametrize("name", ["slim with ratings", "blend with ease"])
def test_contributions_are_read_off_the_weights(name: str) -> None:
    saved = train_saved(name)
    query = {"cat": 5, "dog": 1, "wolf": 3}
    found = recommend(query, saved, k=3, explain=True)
    weights = saved.model.item_weights
    assert weights is not None
    matrix = weights.matrix.toarray()
    for item in found:
        amounts = {IDS.index(int(reason.item_id)): reason.amount for reason in item.because}
        assert sorted(amounts.values(), reverse=True) == [r.amount for r in item.because]
        target = IDS.index(int(item.item_id))
        for rated, stars in ((0, 5), (3, 1), (5, 3)):
            weight = 1 + weights.ratings.per_unit * (stars - weights.ratings.mean_rating)
            by_weights = weight * matrix[rated, target]
            if saved.model.kind == "slim":
                assert amounts[rated] == pytest.approx(by_weights, rel=1e-5)
            else:
                fewer = {
                    key: query[key] for key in query if key != TITLES[rated].split()[0].lower()
                }
                others = {o.item_id: o.score for o in recommend(fewer, saved, k=6)}
                lost = item.score - others[item.item_id]
                assert amounts[rated] == pytest.approx(lost, abs=1e-4)
        if saved.model.kind == "slim":
            assert sum(amounts.values()) == pytest.approx(item.score, rel=1e-5)


def test_similar_items_are_those_with_the_largest_weights() -> None:
    matrix = np.zeros((5, 5), np.float32)
    matrix[[1, 2, 3, 4], 0] = [0.2, 0.5, -0.1, 0.2]
    matrix[0, 1] = 0.3
    weights = ItemWeights(csr_matrix(matrix), np.zeros(5, np.float32), RatingWeights())
    model = SlimModel(weights, np.zeros((5, 1), np.float32))
    ranked = rank_neighbours(model, 2)
    assert ranked.counts.tolist() == [2, 1, 0, 0, 0]
    assert ranked.item_index.tolist() == [2, 1, 0]
    assert ranked.score.tolist() == pytest.approx([0.5, 0.2, 0.3])
    some = rank_neighbours(model, 3, items=np.array([0]), among=np.array([1, 4], np.int32))
    assert some.item_index.tolist() == [1, 4]
    found = find_similar("kitten", train_saved("slim"), k=2)
    assert {item.title for item in found} == {"Cat (1990)", "Lion (1992)"}


def test_every_model_of_the_registry_can_answer() -> None:
    suited: dict[str, dict[str, Any]] = {
        "nmf": {"init": "nndsvd"},
        "mf": {
            "n_factors": 2,
            "epochs": 300,
            "batch_size": 8,
            "learning_rate": 0.05,
            "biases": True,
            "fold_in_regularization": 0.1,
        },
        "als": {"regularization": 0.01},
    }
    liked = csr_matrix(np.where(CATS_AND_DOGS > 1, CATS_AND_DOGS, 0.0))
    for kind, entry in MODELS.items():
        # To some models whatever is rated is liked: theirs is the matrix without what is not.
        goes_by_ratings = CASES[kind].goes_by_ratings
        ratings = csr_matrix(CATS_AND_DOGS) if goes_by_ratings else liked
        settings = {**CASES[kind].settings, **suited.get(kind, {})}
        trained = entry.train(ratings, seed=0, device="cpu", **settings)
        saved = SavedModel(trained.model, make_saved().catalog, {"rating_range": [0.5, 5.0]})
        query = {"cat": 5, "dog": 0.5} if goes_by_ratings else {"cat": 5}
        found = recommend(query, saved, k=2)
        assert {item.title for item in found} == {"Kitten, The (1991)", "Lion (1992)"}, kind
    assert isinstance(make_saved().model, NmfModel)
