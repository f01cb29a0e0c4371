"""Non-negative matrix factorization, R ~ P Q with P, Q >= 0 and missing ratings as zeros.

Trained with scikit-learn's coordinate-descent solver (Cichocki and Phan, 2009), as in the
notebooks. Folding in is ``NMF.transform`` solved to the end and for each user alone. With alpha
the regularization and rho the l1_ratio, both minimise what scikit-learn does:

    ||R - P Q||^2 / 2 + alpha * (n_items * penalty(P) + n_users * penalty(Q))
    penalty(F) = rho * sum of F + (1 - rho) * ||F||^2 / 2
"""

import contextlib
import io
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal, Self

import numpy as np

from recsys_core.arrays import Csr, Float32Array, Float64Array
from recsys_core.compile.padding import pad_columns
from recsys_core.errors import DeviceError, TrainingError
from recsys_core.linalg.nnls import solve_nnls
from recsys_core.linalg.projection import project
from recsys_core.model_form.item_model import ItemModel
from recsys_core.models.base import Device, OnEpoch, TrainedModel, require_finite
from recsys_core.sparse import mark_seen

NmfInit = Literal["auto", "random", "nndsvd", "nndsvda", "nndsvdar"]


@dataclass(frozen=True)
class NmfModel(ItemModel):
    """NMF item factors Q' and the non-negative least squares that folds a user in."""

    kind: ClassVar[str] = "nmf"
    factors: Float32Array
    """Float32 [n_items, n_factors], non-negative."""
    regularization: float = 0.0
    """alpha, 0 or above."""
    l1_ratio: float = 0.0
    """rho, from 0 to 1."""
    binary: bool = False
    """Whether 1 stands for each stored rating, as it did in training."""

    @property
    def item_factors(self) -> Float32Array:
        return self.factors

    @cached_property
    def _gram(self) -> Float64Array:
        components = self.factors.astype(np.float64)
        ridge = self._penalty * (1.0 - self.l1_ratio)
        return components.T @ components + ridge * np.eye(components.shape[1])

    @cached_property
    def _rows(self) -> Float32Array:
        """The factors as ``project`` does not have to copy them."""
        return pad_columns(self.factors)

    @property
    def _penalty(self) -> float:
        """Weight of a user's penalty: scikit-learn scales it as the squared error grows."""
        return self.regularization * len(self.factors)

    def fold_in(self, ratings: Csr) -> Float32Array:
        """min over w >= 0 of ||x - w Q||^2 / 2 + alpha n_items penalty(w) for each row x.

        See ``ItemModel.fold_in``.
        """
        sums = project(mark_seen(ratings) if self.binary else ratings, self._rows)
        sums -= self._penalty * self.l1_ratio
        targets = sums[:, : self.factors.shape[1]]
        return solve_nnls(self._gram, targets).astype(np.float32)

    def to_arrays(self) -> dict[str, np.ndarray[Any, Any]]:
        return {
            "item_factors": self.factors,
            "regularization": np.array([self.regularization]),
            "l1_ratio": np.array([self.l1_ratio]),
            "binary": np.array([int(self.binary)]),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray[Any, Any]]) -> Self:
        factors = np.ascontiguousarray(arrays["item_factors"], dtype=np.float32)
        if factors.ndim != 2 or (factors < 0).any():
            raise ValueError("item_factors are not a non-negative matrix")
        # Models saved before there were penalties have item factors alone.
        regularization, l1_ratio, binary = (
            float(arrays[name][0]) if name in arrays else 0.0
            for name in ("regularization", "l1_ratio", "binary")
        )
        if not (0 <= regularization < np.inf and 0 <= l1_ratio <= 1):
            raise ValueError(f"regularization = {regularization}, l1_ratio = {l1_ratio}")
        return cls(factors, regularization, l1_ratio, binary != 0)


def train_nmf(
    ratings: Csr,
    *,
    n_components: int,
    init: NmfInit,
    max_iter: int,
    tol: float,
    regularization: float = 0.0,
    l1_ratio: float = 0.0,
    binary: bool = False,
    seed: int,
    device: Device = "auto",
    on_epoch: OnEpoch | None = None,
) -> TrainedModel:
    """Factorize ``ratings`` with scikit-learn's ``NMF``.

    Args:
        ratings: CSR [n_users, n_items], non-negative; what is not stored counts as zero.
        n_components: number of factors; may exceed both sides of the matrix (random init then).
        init: scikit-learn's initialisation; ``auto`` leaves the choice to it.
        regularization: alpha of users and items alike, scikit-learn's alpha_W and alpha_H.
        l1_ratio: rho, the part of the penalty that is a sum of factors and not of squares.
        binary: train and fold in on 1 for each stored rating, zeros included.
        device: ``auto`` or ``cpu``; scikit-learn has no other.
        on_epoch: called with each iteration's violation, the solver's measure of progress.

    Returns:
        The model, the violation of each iteration, ``reconstruction_error`` (Frobenius norm of
        R - PQ, unsquared) and ``iterations``.

    Raises:
        DeviceError: a GPU was asked for.
        TrainingError: the factors are not finite or all zero.
    """
    if device == "cuda":
        raise DeviceError(
            "train.device = 'cuda', but model 'nmf' trains on the CPU only; "
            "set train.device to 'auto' or 'cpu', or train.model to 'mf'"
        )
    from sklearn.decomposition import NMF  # only the trainer needs scikit-learn
    from sklearn.exceptions import ConvergenceWarning

    solver = NMF(
        n_components=n_components,
        init=None if init == "auto" else init,
        max_iter=max_iter,
        tol=tol,
        alpha_W=regularization,
        alpha_H=regularization,
        l1_ratio=l1_ratio,
        random_state=seed,
        verbose=1,
    )
    progress = _ViolationReader(on_epoch)
    with contextlib.redirect_stdout(progress), warnings.catch_warnings():
        # Stopping at max_iter is a figure of the result, not a surprise. An exact fit makes
        # scikit-learn take the root of a square error that rounding has left below zero.
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", "invalid value encountered in sqrt", RuntimeWarning)
        users = solver.fit_transform((mark_seen(ratings) if binary else ratings).astype(np.float64))
    advice = "lower train.nmf.n_components or try another train.nmf.init"
    if regularization:
        advice = "lower train.nmf.regularization or train.nmf.n_components"
    require_finite("nmf", solver.components_, after=f"iteration {solver.n_iter_}", advice=advice)
    # Items keep the factors they began with where a penalty leaves the users none.
    if not (users.any() and solver.components_.any()):
        raise TrainingError(f"nmf: all factors are zero; {advice}")
    factors = np.ascontiguousarray(solver.components_.T, dtype=np.float32)
    figures = {
        "reconstruction_error": float(np.nan_to_num(solver.reconstruction_err_, nan=0.0)),
        "iterations": float(solver.n_iter_),
    }
    model = NmfModel(factors, regularization, l1_ratio, binary)
    return TrainedModel(model, progress.violations, figures)


class _ViolationReader(io.TextIOBase):
    """Stands in for stdout while scikit-learn prints, which is the only progress it reports."""

    def __init__(self, on_epoch: OnEpoch | None) -> None:
        self.violations: list[float] = []
        self._on_epoch = on_epoch
        self._line = ""

    def write(self, text: str) -> int:
        # print() writes each of its arguments on its own, so a line is whole only at its end.
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            if match := re.match(r"violation: (\S+)", line):
                self.violations.append(float(match[1]))
                if self._on_epoch is not None:
                    self._on_epoch(len(self.violations) - 1, self.violations[-1])
        return len(text)
