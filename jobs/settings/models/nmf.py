"""``train.nmf.*``: non-negative matrix factorization."""

from typing import ClassVar, Literal

from pydantic import Field

from jobs.settings.models.base import ModelSection, SearchSpace, any_of, log_range


class NmfConfig(ModelSection):
    search_space: ClassVar[SearchSpace] = {
        "n_components": log_range(5, 200),
        "regularization": any_of(0.0, 0.001, 0.01),
        "binary": any_of(False, True),
    }

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
