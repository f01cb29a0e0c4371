"""Settings: TOML files validated by a closed model, so that every mistake ends before Spark starts.

Each field's description is its documentation: ``./spark-submit.sh config`` prints it.
"""

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from jobs.errors import ConfigError

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


class MfConfig(Section):
    n_factors: int = Field(8, ge=1, description="Number of factors, biases not counted.")
    epochs: int = Field(120, ge=1, description="Passes over all ratings.")
    batch_size: int = Field(128, ge=1, description="Ratings of one optimizer step.")
    learning_rate: float = Field(1e-3, gt=0, description="Step size of Adam.")
    biases: bool = Field(False, description="Learn global mean, user biases and item biases too.")
    regularization: float = Field(0.0, ge=0, description="L2 weight, for each rating's parameters.")
    fold_in_regularization: float = Field(
        0.02, ge=0, description="Ridge weight, for each rating, when a user is folded in."
    )


class TrainConfig(Section):
    model: Literal["nmf", "mf"] = Field("nmf", description="Which factor model to train.")
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


class ScoreConfig(Section):
    k: int = Field(10, ge=1, le=10_000, description="Recommendations for each user.")
    fallback: Literal["none", "popularity"] = Field(
        "none",
        description="What users get of whom no rating is left after cleaning: nothing, or the most "
        "rated items, with source 'popularity'.",
    )


class ClusterConfig(Section):
    n_clusters: int = Field(10, ge=1, description="Number of item clusters.")
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
    score: ScoreConfig = Field(default_factory=ScoreConfig, description="What users get.")
    cluster: ClusterConfig = Field(default_factory=ClusterConfig, description="Item clusters.")
    publish: PublishConfig = Field(
        default_factory=PublishConfig, description="What is published beside the lists."
    )
    gate: GateConfig = Field(
        default_factory=GateConfig, description="What a run must keep to become current."
    )
    output: OutputConfig = Field(description="Where it goes.")
    spark: SparkConfig = Field(default_factory=SparkConfig, description="How Spark splits work.")


def load_config(file: Path, overrides: Sequence[str] = ()) -> Config:
    """The settings of a TOML file with ``section.key=value`` overrides laid over them.

    Raises:
        ConfigError: names the file (or the override), the key, and what is allowed.
    """
    values = _read_toml(file)
    overridden = [_apply_override(values, override) for override in overrides]
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        problems = error.errors()
        message = _describe(problems[0], file, overridden)
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise ConfigError(message + more) from None


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{file}: no such configuration file") from None
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: not valid TOML: {error}") from None


def _apply_override(values: dict[str, Any], override: str) -> str:
    """Lay one ``section.key=value`` over ``values``; the dotted key."""
    dotted, equals, text = override.partition("=")
    keys = [key.strip() for key in dotted.split(".")]
    if not equals or len(keys) < 2 or not all(keys):
        raise ConfigError(f"--set {override}: expected section.key=value, as in score.k=20")
    section = values
    for key in keys[:-1]:
        inner = section.setdefault(key, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"--set {override}: '{key}' is a setting, not a section")
        section = inner
    section[keys[-1]] = _parse_value(text)
    return ".".join(keys)


def _parse_value(text: str) -> Any:
    """A TOML value where ``text`` is one, else ``text`` itself: quotes are optional on strings."""
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return parsed["value"] if list(parsed) == ["value"] else text


def _describe(problem: ErrorDetails, file: Path, overridden: Sequence[str]) -> str:
    """One line on one validation error."""
    location = [str(part) for part in problem["loc"]]
    key = ".".join(location)
    by_override = any(key == name or name.startswith(f"{key}.") for name in overridden)
    source = f"--set {key}" if by_override else f"{file}: {key}"
    if problem["type"] == "extra_forbidden":
        return f"{source}: unknown key; {_allowed_keys(location)}"
    if problem["type"] == "missing":
        return f"{source}: missing; set it in the file or with --set {key}=..."
    message = problem["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    given = problem["input"]
    value = "" if isinstance(given, Mapping) else f" = {given!r}"
    return f"{source}{value}: {message}"


def _allowed_keys(location: Sequence[str]) -> str:
    section = _section_at(location[:-1])
    names = list(section.model_fields)
    close = difflib.get_close_matches(location[-1], names, n=1)
    hint = f"did you mean '{close[0]}'? " if close else ""
    return f"{hint}allowed: {', '.join(names)}"


def _section_at(location: Sequence[str]) -> type[Section]:
    section: type[Section] = Config
    for key in location:
        inner = section_type(section.model_fields[key].annotation)
        assert inner is not None
        section = inner
    return section


def section_type(annotation: Any) -> type[Section] | None:
    """The section class behind a field's annotation; None for a plain setting."""
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, Section):
            return candidate
    return None
