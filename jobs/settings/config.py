"""Settings, as a closed model: every mistake ends before Spark starts. ``config_file`` reads them.

Each field's description is its documentation: ``./spark-submit.sh config`` prints it.
"""

from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
    model_validator,
)

IdType = Literal["auto", "integer", "string"]
NonEmpty = Annotated[str, Field(min_length=1)]


class Section(BaseModel):
    """A closed, immutable group of settings: an unknown key or a wrong type is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class RatingColumns(Section):
    user: NonEmpty = Field("userId", description="Column of the user id.")
    item: NonEmpty = Field("movieId", description="Column of the item id.")
    rating: NonEmpty = Field("rating", description="Column of the rating.")
    timestamp: NonEmpty | None = Field(
        None,
        description="Column of the rating's time, which must then exist; "
        "unset: a column 'timestamp' is used where there is one.",
    )


class ItemColumns(Section):
    item: NonEmpty = Field("movieId", description="Column of the item id.")
    title: NonEmpty = Field("title", description="Column of the title.")
    genres: NonEmpty | None = Field(
        None,
        description="Column of the genres, separated by '|', which must then exist; "
        "unset: a column 'genres' is used where there is one.",
    )


class InputConfig(Section):
    ratings: NonEmpty = Field(
        description="Ratings: file, directory or glob of CSV (.gz too) or Parquet, any Hadoop path."
    )
    items: NonEmpty | None = Field(
        None, description="Titles and genres of the items, CSV or Parquet; unset: ids stand alone."
    )
    format: Literal["auto", "csv", "parquet"] = Field(
        "auto", description="Format of the input files; 'auto' goes by their names."
    )
    separator: Annotated[str, Field(min_length=1, max_length=1)] = Field(
        ",", description="Field separator of CSV files."
    )
    user_id_type: IdType = Field(
        "auto",
        description="Type of user ids; 'auto' takes Parquet's own, and for CSV looks at the first "
        "thousand rows. State it in production, where the type must not follow the data.",
    )
    item_id_type: IdType = Field("auto", description="Type of item ids, as input.user_id_type.")
    columns: RatingColumns = Field(
        default_factory=RatingColumns, description="Columns of the ratings, found by name."
    )
    item_columns: ItemColumns = Field(
        default_factory=ItemColumns, description="Columns of the items, found by name."
    )


class CleanConfig(Section):
    min_rating: float = Field(
        0.5, ge=0, description="Lowest valid rating; a row below it is quarantined."
    )
    max_rating: float = Field(
        5.0, gt=0, description="Highest valid rating; a row above it is quarantined."
    )
    min_item_ratings: int = Field(
        1, ge=1, description="Items with fewer ratings are left out (the notebooks: 21)."
    )
    min_item_mean_rating: float = Field(
        0.0, ge=0, description="Items with a lower mean rating are left out (the worksheet: 2)."
    )
    min_user_ratings: int = Field(
        1, ge=1, description="Users with fewer ratings of the items kept are left out."
    )

    max_bad_fraction: float = Field(
        0.05,
        ge=0,
        le=1,
        description="Largest share of input rows that may be quarantined; above it the run stops "
        "before training.",
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_rating > self.max_rating:
            raise ValueError(
                f"min_rating = {self.min_rating:g} exceeds max_rating = {self.max_rating:g}"
            )
        return self


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


class EvaluateConfig(Section):
    enabled: bool = Field(
        False,
        description="Measure the model each night on ratings that training did not see. It is "
        "trained once more for that.",
    )
    split: Literal["random", "latest", "time", "new_users"] = Field(
        "random",
        description="What is held out: a random share of each user's ratings, each user's latest "
        "ratings, all ratings after one point in time, or part of the ratings of users who are "
        "not trained on.",
    )
    held_out: float = Field(
        0.2,
        gt=0,
        lt=1,
        description="Share that is held out, of ratings ('random', 'time') or users ('new_users').",
    )
    latest: int = Field(
        1, ge=1, description="Ratings of each user that the split 'latest' holds out."
    )
    known: float = Field(
        0.5, gt=0, lt=1, description="Share of a new user's ratings that it is folded in from."
    )
    cutoffs: Annotated[list[Annotated[int, Field(ge=1, le=10_000)]], Field(min_length=1)] = Field(
        [5, 10, 20], description="Lengths k of the lists that are measured."
    )
    select_by: str = Field(
        "ndcg@10",
        pattern=r"^(ndcg|recall|precision|map|mrr|hit_rate)@[1-9]\d*$",
        description="What 'auto' and the gate compare models by; its k is one of the cutoffs.",
    )
    min_relevant_rating: float = Field(
        0.0, ge=0, description="Held-out ratings below it do not count as relevant."
    )
    seed: int = Field(0, ge=0, le=2**32 - 1, description="Seed of the split and the bootstrap.")

    @property
    def metric(self) -> tuple[str, int]:
        """``select_by`` as the metric and its k."""
        name, k = self.select_by.split("@")
        return name, int(k)

    @model_validator(mode="after")
    def _measures_what_it_selects_by(self) -> Self:
        if self.metric[1] not in self.cutoffs:
            raise ValueError(f"select_by = {self.select_by!r}, but cutoffs = {self.cutoffs}")
        return self


class SearchRange(Section):
    """Values that ``tune`` tries for one setting: from low to high, or one of some choices."""

    low: float | None = None
    high: float | None = None
    log: bool = False
    choices: Annotated[list[bool | int | float | str], Field(min_length=1)] | None = None

    @property
    def ends(self) -> list[Any]:
        """Values that must be valid for all to be."""
        return self.choices if self.choices is not None else [self.low, self.high]

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.choices is not None:
            if (self.low, self.high, self.log) != (None, None, False):
                raise ValueError("takes choices, or low and high, not both")
        elif self.low is None or self.high is None or self.low >= self.high:
            raise ValueError("needs low and high, low below high, or choices")
        elif self.log and self.low <= 0:
            raise ValueError("low must be above 0 where log = true")
        return self


SearchSpace = dict[str, SearchRange]


def _log(low: float, high: float) -> SearchRange:
    return SearchRange(low=low, high=high, log=True)


def _any_of(*choices: bool | float | str) -> SearchRange:
    return SearchRange(choices=[*choices])


class TuneConfig(Section):
    """What ``tune`` searches. The rank of 'ease' is left out: more is better, and slower."""

    models: Annotated[list[ModelName], Field(min_length=1)] | None = Field(
        None, description="Models to tune; unset: train.model, or its candidates."
    )
    metric: str = Field(
        "ndcg@10",
        pattern=r"^((ndcg|recall|precision|map|mrr|hit_rate)@[1-9]\d*|rmse|mae)$",
        description="What is made best: a metric of the lists, or of the predictions of 'mf'.",
    )
    trials: int = Field(30, ge=1, description="Settings tried of each model.")
    seed: int = Field(0, ge=0, le=2**32 - 1, description="Seed of the search.")
    nmf: SearchSpace = Field(
        {
            "n_components": _log(5, 200),
            "regularization": _any_of(0.0, 0.001, 0.01),
            "binary": _any_of(False, True),
        },
        description="Settings of 'nmf' to search, and where.",
    )
    mf: SearchSpace = Field(
        {
            "n_factors": _log(8, 128),
            "regularization": _log(0.01, 0.3),
            "learning_rate": _log(0.001, 0.03),
            "fold_in_regularization": _log(0.01, 0.3),
        },
        description="Settings of 'mf' to search, and where.",
    )
    als: SearchSpace = Field(
        {
            "n_factors": _log(32, 256),
            "iterations": _log(2, 16),
            "regularization": _log(0.3, 30.0),
            "unobserved_weight": _log(0.03, 1.0),
        },
        description="Settings of 'als' to search, and where.",
    )
    ease: SearchSpace = Field(
        {
            "regularization": _log(1.0, 1_000.0),
            "popularity_exponent": SearchRange(low=0.0, high=0.5),
            "activity_exponent": SearchRange(low=0.0, high=0.5),
            "scaling": _any_of("diagonal", "length"),
        },
        description="Settings of 'ease' to search, and where.",
    )

    def space(self, model: str) -> SearchSpace:
        """The ranges for one model."""
        space: SearchSpace = getattr(self, model)
        return space

    @model_validator(mode="after")
    def _searches_settings_that_are_there(self) -> Self:
        for model, section in MODEL_SECTIONS.items():
            for name, search in self.space(model).items():
                if name not in section.model_fields:
                    allowed = ", ".join(section.model_fields)
                    raise ValueError(f"{model}.{name} is no setting of the model; it has {allowed}")
                for value in search.ends:
                    _require_value(section, name, value)
        return self


def _require_value(section: type[Section], name: str, value: Any) -> None:
    try:
        section.model_validate({name: to_setting(section, name, value)})
    except ValidationError as error:
        raise ValueError(f"{name} = {value!r}: {error.errors()[0]['msg']}") from None


def to_setting(section: type[Section], name: str, value: Any) -> Any:
    """A searched value in the type of the setting: whole numbers stay whole."""
    is_whole = section.model_fields[name].annotation is int
    return round(value) if is_whole and isinstance(value, float) else value


class ScoreConfig(Section):
    k: int = Field(10, ge=1, le=10_000, description="Recommendations for each user.")
    fallback: Literal["none", "popularity"] = Field(
        "none",
        description="What users get of whom no rating is left after cleaning: nothing, or the most "
        "rated items, with source 'popularity'.",
    )


def _check_ids_or_file(value: Any) -> Any:
    # In place of pydantic's own check of a union, whose message is about each of its parts.
    is_list = isinstance(value, (list, tuple))
    if is_list and {type(item) for item in value} in (set(), {int}, {str}):
        return [*value]
    if isinstance(value, str) and value:
        return value
    raise ValueError("must be a file, or a list of item ids, all of them numbers or all text")


ItemSet = Annotated[list[int] | list[str] | str, PlainValidator(_check_ids_or_file)]


class RulesConfig(Section):
    """What lists may hold. A list that the rules leave too little for is shorter, never wrong."""

    allow: ItemSet | None = Field(
        None,
        description="Items that may be recommended: a list of ids, or a CSV or Parquet file with "
        "the column input.item_columns.item; unset: all.",
    )
    block: ItemSet | None = Field(
        None,
        description="Items that may not be recommended, nor listed as similar; ids or a file, as "
        "rules.allow.",
    )
    min_score: float | None = Field(
        None, description="Recommendations with a lower score of the model are left out."
    )
    genre_caps: dict[NonEmpty, Annotated[int, Field(ge=0)]] = Field(
        {},
        description="Most items of a genre in a list, by genre; '*' is for each that is not named.",
    )
    max_cluster_share: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Largest share of score.k that items of one cluster may have, rounded down, "
        "but one item always.",
    )
    diversity: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Weight of unlikeness (MMR on the item factors) against the score in the order "
        "of a list; 0: the score alone.",
    )
    diversity_pool: int = Field(
        50,
        ge=1,
        le=10_000,
        description="How many of a user's best items diversity chooses from; at least score.k.",
    )

    @property
    def are_set(self) -> bool:
        """Whether any rule has something to say."""
        unset = type(self)(diversity_pool=self.diversity_pool)
        return self != unset

    def cap_clusters(self, k: int) -> int | None:
        """Most items of one cluster in a list of k; None where there is no such rule."""
        if self.max_cluster_share == 1:
            return None
        return max(1, int(self.max_cluster_share * k + 1e-9))  # 0.29 * 100 is below 29


CHOOSE: Final = "choose"


def _check_n_clusters(value: Any) -> Any:
    # In place of pydantic's own check of a union, whose message is about each of its parts.
    if value == CHOOSE or (type(value) is int and value >= 1):
        return value
    raise ValueError(f"must be a whole number of at least 1, or '{CHOOSE}'")


class ClusterConfig(Section):
    n_clusters: Annotated[int | Literal["choose"], PlainValidator(_check_n_clusters)] = Field(
        10,
        description="Number of item clusters; 'choose' takes the one of cluster.choose_from with "
        "the best silhouette.",
    )
    choose_from: Annotated[list[Annotated[int, Field(ge=2)]], Field(min_length=1)] = Field(
        [4, 6, 8, 10, 12, 15, 20],
        description="Numbers of clusters that 'choose' tries; those not below the number of items "
        "are passed over.",
    )
    seed: int = Field(42, ge=0, le=2**32 - 1, description="Seed of KMeans.")


class PublishConfig(Section):
    similar_items: int = Field(
        10,
        ge=0,
        le=1_000,
        description="Neighbours listed for each item in 'similar_items'; 0: none.",
    )
    factors: bool = Field(
        False, description="Write the tables 'user_factors' and 'item_factors' too."
    )
    scored_users: bool = Field(
        False,
        description="Write the table 'scored_users', by which nightly --reuse-model --changed-only "
        "knows the next night whose ratings have changed.",
    )
    titles: bool = Field(
        False, description="Add the column 'title' to 'recommendations', beside the item's id."
    )
    report: bool = Field(
        True,
        description="Make 'report.html', a page on the run, and the table 'recent_ratings' for it.",
    )
    keep_runs: int = Field(
        7, ge=1, description="Published runs that stay on disk; the current one always does."
    )
    keep_hours: float = Field(
        48.0,
        ge=0,
        description="Runs younger than this stay whatever their number: somebody may be reading.",
    )
    table: str | None = Field(
        None,
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*\.[A-Za-z_][A-Za-z0-9_]*$",
        description="External table 'database.table' of the metastore that is moved to each new "
        "run's recommendations; unset: none.",
    )


class GateConfig(Section):
    """Bounds a run must keep to become current. Those that compare need a run before it."""

    min_users_covered: float = Field(
        0.8, ge=0, le=1, description="Least share of the input's users who must have a list."
    )
    min_rows: int = Field(1, ge=0, description="Least number of recommendations.")
    min_item_coverage: float = Field(
        0.01, ge=0, le=1, description="Least share of the items that are recommended to anybody."
    )
    max_top_item_share: float = Field(
        0.95, ge=0, le=1, description="Largest share of the lists that hold one and the same item."
    )
    min_score: float = Field(-1e6, description="No score of the model may be lower.")
    max_score: float = Field(1e6, description="No score of the model may be higher.")
    max_bad_factors: int = Field(
        0, ge=0, description="Most numbers among the item factors that may not be finite."
    )
    max_quarantined: float = Field(
        0.05, ge=0, le=1, description="Largest share of input rows in quarantine."
    )
    max_input_drop: float = Field(
        0.2, ge=0, le=1, description="Largest loss of input rows since the current run."
    )
    min_overlap: float = Field(
        0.05,
        ge=0,
        le=1,
        description="Least mean share of a user's list that was in the current run's list too.",
    )
    min_gain_over_popularity: float = Field(
        0.0,
        ge=-1,
        le=1,
        description="The model must be above popularity by more than this, in evaluate.select_by; "
        "held where the night is evaluated.",
    )


class OutputConfig(Section):
    path: NonEmpty = Field(description="Directory the runs are published in, any Hadoop path.")


class SparkConfig(Section):
    shuffle_partitions: int | None = Field(
        None,
        ge=1,
        description="Partitions of the ratings; unset: spark.sql.shuffle.partitions where that is "
        "given, else from the input's size.",
    )
    arrow_batch_rows: int | None = Field(
        None, ge=1, description="Rows of one Arrow batch to a Python worker; unset: as in conf/."
    )


class Config(Section):
    """All settings of a run."""

    input: InputConfig = Field(description="What is read.")
    clean: CleanConfig = Field(default_factory=CleanConfig, description="What is left out.")
    train: TrainConfig = Field(default_factory=TrainConfig, description="How the model is trained.")
    evaluate: EvaluateConfig = Field(
        default_factory=EvaluateConfig, description="How the model is measured."
    )
    tune: TuneConfig = Field(default_factory=TuneConfig, description="What `tune` searches.")
    score: ScoreConfig = Field(default_factory=ScoreConfig, description="What users get.")
    rules: RulesConfig = Field(default_factory=RulesConfig, description="What lists may hold.")
    cluster: ClusterConfig = Field(default_factory=ClusterConfig, description="Item clusters.")
    publish: PublishConfig = Field(
        default_factory=PublishConfig, description="What is published beside the lists."
    )
    gate: GateConfig = Field(
        default_factory=GateConfig, description="What a run must keep to become current."
    )
    output: OutputConfig = Field(description="Where it goes.")
    spark: SparkConfig = Field(default_factory=SparkConfig, description="How Spark splits work.")

    @model_validator(mode="after")
    def _pool_fills_a_list(self) -> Self:
        if self.rules.diversity > 0 and self.rules.diversity_pool < self.score.k:
            raise ValueError(
                f"rules.diversity_pool = {self.rules.diversity_pool} is below score.k = "
                f"{self.score.k}: diversity could choose nothing"
            )
        return self

    @property
    def evaluates(self) -> bool:
        """Whether a night measures models: where it is asked to, or has to choose."""
        return self.evaluate.enabled or self.train.model == AUTO
