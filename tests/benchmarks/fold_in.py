"""Folding users in against scikit-learn and against the top-k of the same users. One thread."""

import warnings
from collections.abc import Callable

import numpy as np
from benchmarks.timing import Comparison, compare
from benchmarks.top_k_peers import one_thread
from scipy.optimize import nnls
from scipy.sparse import csr_matrix

from recsys_core.linalg.weighted_ridge import Penalty
from recsys_core.model_form.item_model import ItemModel
from recsys_core.models.als import AlsModel
from recsys_core.models.ease import EaseModel
from recsys_core.models.mf import MfModel
from recsys_core.models.nmf import NmfModel, train_nmf
from recsys_core.ranking.first_pass import Float32FirstPass
from recsys_core.ranking.top_k import TopKScorer
from recsys_core.sample.generator import iter_ratings, make_items

N_ITEMS = 10_000


def draw_ratings(n_users: int = 4_096, per_user: int = 100) -> csr_matrix:
    """Generated ratings, CSR float32 [n_users, N_ITEMS]."""
    items = make_items(N_ITEMS, seed=0)
    chunks = list(iter_ratings(n_users, per_user * n_users, items, seed=0))
    user, item, rating = (
        np.concatenate([getattr(chunk, name) for chunk in chunks])
        for name in ("user_id", "item_id", "rating")
    )
    columns = np.searchsorted(items.item_id, item)
    return csr_matrix((rating, (user - 1, columns)), shape=(n_users, N_ITEMS))


def make_nmf(ratings: csr_matrix, n_factors: int) -> NmfModel:
    trained = train_nmf(
        ratings, n_components=n_factors, init="nndsvd", max_iter=20, tol=1e-4, seed=0
    )
    assert isinstance(trained.model, NmfModel)
    return trained.model


def make_mf(ratings: csr_matrix, n_factors: int) -> MfModel:
    """Factors of the size that training gives; the work does not depend on their values."""
    vectors = np.random.default_rng(0).normal(0.1, 0.3, (ratings.shape[1], n_factors))
    return MfModel(vectors.astype(np.float32), None, 0.0, 0.02)


def vs_sklearn(runs: int) -> Comparison:
    """NMF with 55 factors against ``NMF.transform`` at its default tolerance."""
    from sklearn.decomposition import NMF

    ratings = draw_ratings()
    model = make_nmf(ratings, 55)
    peer = NMF(n_components=55, init="random", max_iter=1)
    wide = ratings.astype(np.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer.fit(wide[:64])
        peer.components_ = np.ascontiguousarray(model.factors.T.astype(np.float64))
        peer.max_iter = 200
        with one_thread():
            return compare(
                lambda: model.fold_in(ratings),
                lambda: peer.transform(wide),
                runs=runs,
                exact=_is_nnls(model, ratings[:50]),
            )


def vs_top_k(
    make: Callable[[csr_matrix, int], ItemModel],
    is_exact: Callable[[ItemModel, csr_matrix], bool],
    product: type[Float32FirstPass] | None = None,
) -> Callable[[int], Comparison]:
    """Fold-in with 64 factors against ranking the users that come out of it.

    Args:
        product: of ``TopKScorer``.
    """

    def run(runs: int) -> Comparison:
        ratings = draw_ratings()
        model = make(ratings, 64)
        users = model.fold_in(ratings)
        scorer = TopKScorer(model.item_factors, 10, product)
        with one_thread():
            return compare(
                lambda: model.fold_in(ratings),
                lambda: scorer.rank(users, ratings),
                runs=3 * runs,
                exact=is_exact(model, ratings[:50]),
            )

    return run


def _is_nnls(model: ItemModel, ratings: csr_matrix) -> bool:
    factors = model.item_factors.astype(np.float64)
    expected = [nnls(factors, row)[0] for row in ratings.toarray().astype(np.float64)]
    return bool(np.allclose(model.fold_in(ratings), expected, rtol=1e-4, atol=1e-5))


def _is_ridge(model: ItemModel, ratings: csr_matrix) -> bool:
    assert isinstance(model, MfModel)
    expected = []
    for row in ratings:
        rated = model.vectors[row.indices].astype(np.float64)
        gram = rated.T @ rated + model.regularization * row.nnz * np.eye(rated.shape[1])
        expected.append(np.linalg.solve(gram, rated.T @ row.data))
    return bool(np.allclose(model.fold_in(ratings), expected, rtol=1e-4, atol=1e-5))


def make_als(ratings: csr_matrix, n_factors: int) -> AlsModel:
    """Factors of the size that training gives; the work does not depend on their values."""
    vectors = np.random.default_rng(0).normal(0.0, 0.1, (ratings.shape[1], n_factors))
    return AlsModel(vectors.astype(np.float32), Penalty(4.0, 0.1, 0.0))


def _solves_als(model: ItemModel, ratings: csr_matrix) -> bool:
    assert isinstance(model, AlsModel)
    factors = model.factors.astype(np.float64)
    everything = 0.1 * factors.T @ factors + 4.0 * np.eye(factors.shape[1])
    expected = []
    for row in ratings:
        rated = factors[row.indices]
        expected.append(np.linalg.solve(everything + rated.T @ rated, rated.sum(axis=0)))
    return bool(np.allclose(model.fold_in(ratings), expected, rtol=1e-4, atol=1e-5))


def make_ease(ratings: csr_matrix, n_factors: int) -> EaseModel:
    vectors = np.random.default_rng(0).normal(0.0, 0.1, (ratings.shape[1], n_factors))
    return EaseModel(vectors.astype(np.float32), np.ones(len(vectors), np.float32))


def _sums_rows(model: ItemModel, ratings: csr_matrix) -> bool:
    assert isinstance(model, EaseModel)
    expected = (ratings > 0).astype(np.float64) @ model.vectors.astype(np.float64)
    return bool(np.allclose(model.fold_in(ratings), expected, rtol=1e-4, atol=1e-5))


als_vs_top_k = vs_top_k(make_als, _solves_als)
ease_vs_top_k = vs_top_k(make_ease, _sums_rows)
nmf_vs_top_k = vs_top_k(make_nmf, _is_nnls)
mf_vs_top_k = vs_top_k(make_mf, _is_ridge)
als_vs_float32_top_k = vs_top_k(make_als, _solves_als, Float32FirstPass)
nmf_vs_float32_top_k = vs_top_k(make_nmf, _is_nnls, Float32FirstPass)
mf_vs_float32_top_k = vs_top_k(make_mf, _is_ridge, Float32FirstPass)
