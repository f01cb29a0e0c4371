"""``train.mf.*``: matrix factorization with Adam."""

from typing import ClassVar

from pydantic import Field

from jobs.settings.models.base import ModelSection, SearchSpace, log_range


class MfConfig(ModelSection):
    search_space: ClassVar[SearchSpace] = {
        "n_factors": log_range(8, 128),
        "regularization": log_range(0.01, 0.3),
        "learning_rate": log_range(0.001, 0.03),
        "fold_in_regularization": log_range(0.01, 0.3),
    }

    n_factors: int = Field(8, ge=1, description="Number of factors, biases not counted.")
    epochs: int = Field(
        120, ge=1, description="Passes over all ratings; with a validation part the most of them."
    )
    batch_size: int = Field(128, ge=1, description="Ratings of one optimizer step.")
    learning_rate: float = Field(
        1e-3,
        gt=0,
        description="Step size of Adam: 1e-3 for batches of 128; it may grow with the square root "
        "of the batch.",
    )
    biases: bool = Field(False, description="Learn global mean, user biases and item biases too.")
    regularization: float = Field(0.0, ge=0, description="L2 weight, for each rating's parameters.")
    fold_in_regularization: float = Field(
        0.02, ge=0, description="Ridge weight, for each rating, when a user is folded in."
    )
    validation_fraction: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Share of the ratings held out of training to choose the best epoch; 0: none, "
        "and the last epoch's model.",
    )
    patience: int = Field(
        3, ge=1, description="Epochs without a better validation RMSE after which training stops."
    )
