"""Small matrices and models that several tests of the core share."""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix

from recsys_core.models.mf import MfModel
from recsys_core.models.nmf import NmfModel
from recsys_core.ranking.top_k import RankedItems


@dataclass(frozen=True)
class Groups:
    """Two groups of users, each fond of one of two groups of items."""

    ratings: csr_matrix
    """Float32 [n_users, n_items]: 5 within the group, 1 outside, most of both not rated."""
    user_group: np.ndarray
    item_group: np.ndarray


def plant_groups(
    n_users: int = 40, n_items: int = 30, *, stray: float = 0.25, seed: int = 0
) -> Groups:
    """Users rate about 60% of their own group's items, and a share of ``stray`` of the other's."""
    rng = np.random.default_rng(seed)
    user_group, item_group = np.arange(n_users) % 2, np.arange(n_items) % 2
    own = user_group[:, None] == item_group[None, :]
    rated = rng.random(own.shape) < np.where(own, 0.6, stray)
    dense = np.where(rated, np.where(own, 5.0, 1.0), 0.0)
    return Groups(csr_matrix(dense.astype(np.float32)), user_group, item_group)


def draw_ratings(n_users: int, n_items: int, *, seed: int = 0, density: float = 0.2) -> csr_matrix:
    """Half stars at random places, float32 [n_users, n_items]."""
    rng = np.random.default_rng(seed)
    stars = rng.integers(1, 11, (n_users, n_items)) / 2
    dense = np.where(rng.random(stars.shape) < density, stars, 0.0)
    return csr_matrix(dense.astype(np.float32))


def make_mf(
    n_items: int, n_factors: int = 4, *, biases: bool = False, ridge: float = 0.1, seed: int = 0
) -> MfModel:
    """Random factors, as if trained."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(0, 0.5, (n_items, n_factors)).astype(np.float32)
    item_bias = rng.normal(0, 0.3, n_items).astype(np.float32) if biases else None
    return MfModel(vectors, item_bias, 3.5 if biases else 0.0, ridge)


def make_nmf(n_items: int, n_factors: int = 4, *, seed: int = 0) -> NmfModel:
    """Random factors, as if trained: non-negative, half of them zero."""
    factors = np.random.default_rng(seed).normal(size=(n_items, n_factors))
    return NmfModel(np.maximum(factors, 0).astype(np.float32))


def make_lists(*lists: list[int]) -> RankedItems:
    """Each user's items, best first, as if ranked."""
    counts = np.array([len(items) for items in lists])
    items = np.array([item for items in lists for item in items], dtype=np.int32)
    return RankedItems(counts, items, np.linspace(1, 0, len(items), dtype=np.float32))


def are_bit_equal(left: np.ndarray, right: np.ndarray) -> bool:
    return (left.dtype, left.shape, left.tobytes()) == (right.dtype, right.shape, right.tobytes())
