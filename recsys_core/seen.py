"""Ratings as what was rated at all, however well."""

import numpy as np
from scipy.sparse import csr_matrix

from recsys_core.arrays import Csr


def mark_seen(ratings: Csr) -> Csr:
    """1 for each stored rating, zeros included; CSR float32 of the same shape."""
    ones = np.ones(ratings.nnz, dtype=np.float32)
    return csr_matrix((ones, ratings.indices, ratings.indptr), shape=ratings.shape)
