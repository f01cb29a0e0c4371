"""The third notebook's training loop against ``train_mf``: same epochs, same loss curve.

    ./spark-submit.sh bench mf_vs_notebook

The notebook's side is its own code: an nn.Module of two embeddings, a row-wise Dataset, a
DataLoader with batches of 128, autograd and Adam on the CPU.
"""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from benchmarks.timing import Comparison, compare
from scipy.sparse import csr_matrix
from torch.utils.data import DataLoader, Dataset

from recsys_core.models.mf import train_mf

N_FACTORS, BATCH_SIZE, LEARNING_RATE, EPOCHS = 8, 128, 1e-3, 10
_DATA = Path(os.environ.get("RECSYS_DATA", Path(__file__).parents[3] / "shared" / "data"))
RATINGS = _DATA / "ml-latest-small" / "ratings.csv"


class _RowDataset(Dataset[Any]):
    """One (user, item) pair and its rating at a time, as the notebook's ``MovieDataset``."""

    def __init__(self, ratings: pd.DataFrame) -> None:
        users, _ = pd.factorize(ratings["userId"])
        items, _ = pd.factorize(ratings["movieId"])
        self.pairs = torch.tensor(np.column_stack([users, items]))
        self.ratings = torch.tensor(ratings["rating"].to_numpy())

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self.pairs[index], self.ratings[index]

    def __len__(self) -> int:
        return len(self.ratings)


class _NotebookModel(torch.nn.Module):
    def __init__(self, n_users: int, n_items: int) -> None:
        super().__init__()
        self.user_factors = torch.nn.Embedding(n_users, N_FACTORS)
        self.item_factors = torch.nn.Embedding(n_items, N_FACTORS)
        for table in (self.user_factors, self.item_factors):
            torch.nn.init.uniform_(table.weight, 0, 0.05)

    def forward(self, pairs: torch.Tensor) -> torch.Tensor:
        return (self.user_factors(pairs[:, 0]) * self.item_factors(pairs[:, 1])).sum(1)


def train_as_notebook(ratings: pd.DataFrame, epochs: int, seed: int) -> list[float]:
    """The notebook's loop; the mean batch loss of each epoch."""
    torch.manual_seed(seed)
    model = _NotebookModel(ratings["userId"].nunique(), ratings["movieId"].nunique())
    criterion = torch.nn.MSELoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    loader = DataLoader(_RowDataset(ratings), BATCH_SIZE, shuffle=True)
    curve = []
    for _ in range(epochs):
        losses = []
        for pairs, values in loader:
            loss = criterion(model(pairs).squeeze(), values.type(torch.float32))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        curve.append(float(np.mean(losses)))
    return curve


def train_as_product(ratings: pd.DataFrame, epochs: int, seed: int) -> list[float]:
    """``train_mf`` with the notebook's settings."""
    users, _ = pd.factorize(ratings["userId"], sort=True)
    items, _ = pd.factorize(ratings["movieId"], sort=True)
    matrix = csr_matrix((ratings["rating"].to_numpy(np.float32), (users, items)))
    trained = train_mf(
        matrix,
        n_factors=N_FACTORS,
        epochs=epochs,
        batch_size=BATCH_SIZE,
        learning_rate=LEARNING_RATE,
        biases=False,
        regularization=0.0,
        fold_in_regularization=0.0,
        validation_fraction=0.0,
        patience=1,  # of no effect without a validation part
        seed=seed,
        device="cpu",
    )
    return trained.losses


def vs_notebook(runs: int) -> Comparison:
    """Ten epochs of the third notebook's loop; exact where the loss curves agree within 2%."""
    ratings, curves = pd.read_csv(RATINGS), ([], [])

    def train(side: int) -> None:
        trainer = (train_as_product, train_as_notebook)[side]
        curves[side].append(trainer(ratings, EPOCHS, len(curves[side])))

    train_as_product(ratings, 1, 0)  # compiles, where no earlier run has
    timed = compare(lambda: train(0), lambda: train(1), runs=runs, exact=True, warm_up=False)
    means = [np.mean(losses, axis=0) for losses in curves]
    return replace(timed, exact=bool(np.allclose(*means, rtol=0.02)))
