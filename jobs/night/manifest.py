"""The account of a run that is written beside its tables."""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from pyspark.sql import SparkSession
from scipy.sparse import csr_matrix

from jobs.input.files import InputFile
from jobs.input.read_ratings import RatingsInput
from jobs.ratings.funnel import FunnelStep
from jobs.runs.run import Run
from jobs.settings.config import Config
from jobs.settings.input import InputConfig
from jobs.settings.train import TrainConfig
from jobs.stages.audit.recommendations import RecommendationsAudit
from jobs.tables.columns import TIMESTAMP
from jobs.tables.published import Table
from recsys_core.models.base import TrainedModel

_PACKAGES = (
    "recsys-nightly",
    "pyspark",
    "numba",
    "numpy",
    "pandas",
    "pyarrow",
    "scipy",
    "scikit-learn",
    "torch",
)


def describe_training(
    train: TrainConfig,
    trained: TrainedModel,
    run: Run,
    source: RatingsInput,
    ratings: csr_matrix,
    *,
    read_as: InputConfig,
    rating_range: tuple[float, float],
) -> dict[str, Any]:
    """Facts of the training; they go into the saved model too.

    Args:
        train: the settings trained with, where ``auto`` has become a model.
        ratings: what the model was trained on.
        read_as: how the files of ratings were read.
    """
    columns = read_as.columns.model_dump()
    columns["timestamp"] = (columns["timestamp"] or TIMESTAMP) if source.has_timestamp else None
    return {
        **run.footer,
        "reused_from": None,
        "model": train.model,
        "settings": train.settings_of(train.model),
        "seed": train.seed,
        "device": trained.device,
        "n_users": ratings.shape[0],
        "n_ratings": ratings.nnz,
        "losses": trained.losses,
        "figures": trained.figures,
        "rating_range": [*rating_range],
        "rating_files": [file.path for file in source.files],
        "columns": {**columns, "separator": read_as.separator},
    }


def make_manifest(
    spark: SparkSession,
    config: Config,
    run: Run,
    *,
    files: Sequence[InputFile],
    funnel: Sequence[FunnelStep],
    refused: Mapping[str, int],
    evaluation: Mapping[str, Any] | None,
    training: Mapping[str, Any],
    incremental: Mapping[str, Any] | None,
    clusters: Mapping[str, Any],
    rules: Mapping[str, Any] | None,
    model_sha256: Mapping[str, str],
    audit: RecommendationsAudit,
    excluded: Mapping[str, int],
    environment: Mapping[str, Any],
    rows: Mapping[Table, int],
    n_partitions: int,
    stage_seconds: Mapping[str, float],
) -> dict[str, Any]:
    """Everything needed to trust, explain and repeat a run, as JSON data."""
    versions = {package: version(package) for package in _PACKAGES}
    return {
        **run.footer,
        "config": config.model_dump(),
        "seeds": {"train": config.train.seed, "cluster": config.cluster.seed},
        "versions": {"python": platform.python_version(), "spark": spark.version, **versions},
        "spark": {"master": spark.sparkContext.master, "partitions": n_partitions},
        "input_files": [asdict(file) for file in files],
        "funnel": [asdict(step) for step in funnel],
        "quarantined": dict(refused),
        "evaluation": None if evaluation is None else dict(evaluation),
        "training": dict(training),
        "incremental": None if incremental is None else dict(incremental),
        "clusters": dict(clusters),
        "rules": None if rules is None else dict(rules),
        "model_sha256": dict(model_sha256),
        "audit": asdict(audit),
        "excluded": dict(excluded),
        "environment": dict(environment),
        "rows": {table.name: count for table, count in rows.items()},
        "stage_seconds": dict(stage_seconds),
    }
