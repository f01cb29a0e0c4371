"""``train.*``: which model, and the settings of each."""

from typing import Annotated, Literal, Self

from pydantic import Field

from jobs.settings.base import Section


class NmfConfig(Section):
    n_components: int = Field(20, ge=1, description="Number of factors.")
    init: Literal["auto", "random", "nndsvd", "nndsvda", "nndsvdar"] = Field(
        "auto", description="Initialisation; 'auto' leaves it to scikit-learn."
    )
    max_iter: int = Field(200, ge=1, description="Most iterations of the solver.")
    tol: float = Field(1e-4, ge=0, description="Violation at which the solver stops.")
    regularization: float = Field(
        0.0,
        ge=0,
        description="Penalty on large factors, scikit-learn's alpha_W and alpha_H: it grows with "
        "the numbers of users and items, so useful values are small.",
    )
    l1_ratio: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Part of the penalty that makes factors zero; the rest keeps them short.",
    )
    binary: bool = Field(False, description="Count each rating as 1, however good it is.")


class MfConfig(Section):
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


class AlsConfig(Section):
    n_factors: int = Field(128, ge=1, description="Number of factors.")
    iterations: int = Field(5, ge=1, description="Times users and items are solved in turn.")
    regularization: float = Field(
        4.0, gt=0, description="L2 weight, scaled as train.als.frequency_exponent says."
    )
    unobserved_weight: float = Field(
        0.1, gt=0, description="Weight of a pair without a rating; one with a rating weighs 1."
    )
    frequency_exponent: float = Field(
        0.0,
        ge=0,
        le=1,
        description="How the L2 weight grows with the ratings of a user or item: 0 not at all, "
        "1 in proportion.",
    )


class EaseConfig(Section):
    n_factors: int = Field(
        256,
        ge=1,
        description="Rank: directions kept, at most those there are. Lists get better with it, "
        "and scoring slower.",
    )
    regularization: float = Field(
        200.0, gt=0, description="Ridge weight, in units of a squared singular value."
    )
    popularity_exponent: float = Field(
        0.25,
        ge=0,
        le=1,
        description="How far directions are kept for items of few ratings: 0 goes by the ratings "
        "alone; more helps where there are many items for the rank.",
    )
    activity_exponent: float = Field(
        0.25,
        ge=0,
        le=1,
        description="How far users of many ratings count for less: 0 not at all, as in EASE.",
    )
    power_iterations: int = Field(
        2,
        ge=0,
        le=100,
        description="How near directions come to the largest singular vectors; not always better.",
    )
    scaling: Literal["diagonal", "length"] = Field(
        "diagonal",
        description="What makes up for items that the directions hardly reach: EASE's diagonal, or "
        "their length, which is better where there are many items for the rank.",
    )


ModelName = Literal["nmf", "mf", "als", "ease"]


MODEL_SECTIONS: dict[str, type[Section]] = {
    "nmf": NmfConfig,
    "mf": MfConfig,
    "als": AlsConfig,
    "ease": EaseConfig,
}


AUTO = "auto"


class TrainConfig(Section):
    model: Literal["nmf", "mf", "als", "ease", "auto"] = Field(
        "nmf",
        description="Which factor model to train; 'auto' measures train.candidates on a split "
        "(evaluate.*) and takes the best.",
    )
    candidates: Annotated[list[ModelName], Field(min_length=1)] = Field(
        ["nmf", "als", "ease"], description="Models that 'auto' chooses from."
    )
    seed: int = Field(0, ge=0, le=2**32 - 1, description="Seed of initialisation and order.")
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="Where torch trains; 'cuda' ends the run where there is no GPU."
    )
    max_users: int | None = Field(
        None,
        ge=1,
        description="Train on at most so many users, drawn by a hash of their ids; everyone is "
        "scored all the same. Unset: all.",
    )
    nmf: NmfConfig = Field(default_factory=NmfConfig, description="Settings of model 'nmf'.")
    mf: MfConfig = Field(default_factory=MfConfig, description="Settings of model 'mf'.")
    als: AlsConfig = Field(default_factory=AlsConfig, description="Settings of model 'als'.")
    ease: EaseConfig = Field(default_factory=EaseConfig, description="Settings of model 'ease'.")

    @property
    def models(self) -> list[str]:
        """The models that a night trains or chooses from."""
        return [*dict.fromkeys(self.candidates)] if self.model == AUTO else [self.model]

    def with_model(self, model: str) -> Self:
        """These settings for one model, as ``auto`` has chosen it."""
        return self.model_copy(update={"model": model})
