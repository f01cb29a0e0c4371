"""What nmf computes: scikit-learn's factors, and a fold-in that equals its transform."""

import numpy as np
import pytest
from core_examples import are_bit_equal, draw_ratings, make_nmf
from model_cases import CASES, GROUPS, NMF
from scipy.optimize import nnls
from scipy.sparse import csr_matrix
from sklearn import decomposition
from sklearn.decomposition import non_negative_factorization

from recsys_core.errors import DeviceError, TrainingError
from recsys_core.models.nmf import NmfModel, train_nmf


def test_nmf_folds_in_by_non_negative_least_squares() -> None:
    model, ratings = make_nmf(80, 10), draw_ratings(30, 80)
    exact = [nnls(model.factors.astype(float), row)[0] for row in ratings.toarray().astype(float)]
    np.testing.assert_allclose(model.fold_in(ratings), np.array(exact), rtol=1e-4, atol=1e-5)


def test_nmf_folds_in_as_scikit_learn_does() -> None:
    ratings = draw_ratings(60, 50)
    model = train_nmf(ratings, n_components=5, init="nndsvda", max_iter=300, tol=1e-4, seed=0).model
    weights, _, _ = non_negative_factorization(
        ratings.astype(np.float64),
        H=model.item_factors.T.astype(np.float64),
        update_H=False,
        tol=1e-12,
        max_iter=20_000,
    )
    np.testing.assert_allclose(model.fold_in(ratings), weights, atol=1e-5)


@pytest.mark.parametrize(("alpha", "l1_ratio"), [(0.02, 0.0), (0.01, 0.3), (0.01, 1.0)])
def test_nmf_folds_in_with_the_penalty_of_scikit_learn(alpha: float, l1_ratio: float) -> None:
    """Another number of users than in training: the penalty of a user must not depend on it."""
    trained_on, ratings = draw_ratings(60, 50), draw_ratings(25, 50, seed=1)
    penalty = {"regularization": alpha, "l1_ratio": l1_ratio}
    model = train_nmf(
        trained_on, n_components=5, init="nndsvda", max_iter=5000, tol=1e-4, seed=0, **penalty
    ).model
    transformer = decomposition.NMF(
        n_components=5,
        init="nndsvda",
        alpha_W=alpha,
        l1_ratio=l1_ratio,
        max_iter=5000,
        tol=1e-4,
        random_state=0,
    ).fit(trained_on.astype(np.float64))
    np.testing.assert_allclose(model.item_factors.T, transformer.components_, rtol=1e-5)
    transformer.set_params(tol=1e-13, max_iter=100_000)
    expected = transformer.transform(ratings.astype(np.float64))
    assert expected.any()
    np.testing.assert_allclose(model.fold_in(ratings), expected, atol=1e-6)
    free = NmfModel(model.item_factors).fold_in(ratings)
    assert not np.allclose(free, expected, atol=1e-2)


def test_nmf_may_count_each_rating_as_one() -> None:
    ratings = draw_ratings(60, 50)
    ratings.data[::7] = 0.0  # stored all the same
    ones = csr_matrix((np.ones_like(ratings.data), ratings.indices, ratings.indptr))
    model, of_ones = (
        train_nmf(
            matrix, n_components=5, init="random", max_iter=50, tol=1e-4, seed=0, binary=binary
        ).model
        for matrix, binary in ((ratings, True), (ones, False))
    )
    assert are_bit_equal(model.item_factors, of_ones.item_factors)
    assert are_bit_equal(model.fold_in(ratings), of_ones.fold_in(ones))


def test_nmf_keeps_in_its_arrays_how_it_folds_in() -> None:
    ratings = draw_ratings(20, 30)
    model = NmfModel(make_nmf(30).factors, regularization=0.02, l1_ratio=0.4, binary=True)
    again = NmfModel.from_arrays(model.to_arrays())
    assert (again.regularization, again.l1_ratio, again.binary) == (0.02, 0.4, True)
    assert are_bit_equal(again.fold_in(ratings), model.fold_in(ratings))


def test_nmf_saved_before_there_were_penalties_has_none() -> None:
    model = make_nmf(30)
    older = NmfModel.from_arrays({"item_factors": model.factors})
    assert (older.regularization, older.l1_ratio, older.binary) == (0.0, 0.0, False)


@pytest.mark.parametrize(
    "broken", [{"regularization": -1.0}, {"regularization": np.nan}, {"l1_ratio": 1.1}]
)
def test_nmf_refuses_penalties_that_are_none(broken: dict[str, float]) -> None:
    arrays = make_nmf(30).to_arrays() | {name: np.array([value]) for name, value in broken.items()}
    with pytest.raises(ValueError, match=r"regularization = .*, l1_ratio = "):
        NmfModel.from_arrays(arrays)


def test_nmf_of_too_great_a_penalty_names_it() -> None:
    with pytest.raises(TrainingError, match=r"all factors are zero; lower train\.nmf\.regular"):
        CASES["nmf"].train(regularization=100.0, l1_ratio=1.0)


def test_nmf_factors_are_not_negative_and_its_error_is_that_of_its_product() -> None:
    trained = CASES["nmf"].train(tol=1e-7, max_iter=2000)
    users, items = trained.model.fold_in(GROUPS.ratings), trained.model.item_factors
    assert min(users.min(), items.min()) >= 0
    error = np.linalg.norm(GROUPS.ratings - users @ items.T)
    assert trained.figures["reconstruction_error"] == pytest.approx(error, rel=1e-4)


def test_nmf_counts_its_iterations_and_stops_at_the_limit() -> None:
    trained = CASES["nmf"].train(tol=0.0, max_iter=7)
    assert trained.figures["iterations"] == len(trained.losses) == 7


def test_nmf_takes_more_components_than_the_matrix_has_sides() -> None:
    trained = CASES["nmf"].train(n_components=60, init="auto", max_iter=20)
    assert trained.model.item_factors.shape == (30, 60)
    assert np.isfinite(trained.model.fold_in(GROUPS.ratings)).all()


def test_nmf_of_nothing_names_what_to_change() -> None:
    nothing = csr_matrix((6, 5), dtype=np.float32)
    with pytest.raises(TrainingError, match=r"^nmf: .*train\.nmf\."):
        train_nmf(nothing, n_components=2, init="random", max_iter=5, tol=1e-4, seed=0)


def test_nmf_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    CASES["nmf"].train()
    assert capsys.readouterr() == ("", "")


def test_nmf_never_trains_on_a_gpu() -> None:
    with pytest.raises(DeviceError, match=r"train\.device = 'cuda'.*'nmf' trains on the CPU"):
        train_nmf(GROUPS.ratings, seed=0, device="cuda", **NMF)


def test_nmf_arrays_of_another_dtype_become_float32() -> None:
    model = NmfModel.from_arrays({"item_factors": np.ones((3, 2), order="F")})
    assert model.item_factors.dtype == np.float32
    assert model.item_factors.flags.c_contiguous
