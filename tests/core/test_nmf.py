"""What nmf computes: scikit-learn's factors, and a fold-in that equals its transform."""

import numpy as np
import pytest
from core_examples import draw_ratings, make_nmf
from model_cases import CASES, GROUPS, NMF
from scipy.optimize import nnls
from scipy.sparse import csr_matrix
from sklearn.decomposition import non_negative_factorization

from recsys_core.errors import DeviceError, TrainingError
from recsys_core.nmf import NmfModel, train_nmf


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
