"""``evaluate`` and ``tune``."""

import importlib.util
from functools import partial
from pathlib import Path

import click

from jobs.cli.options import config_options, exits_with_one_line, load_settings, opened_spark
from jobs.errors import MachineError
from jobs.settings.models.sections import MODEL_SECTIONS


@click.command()
@click.option(
    "--model",
    "models",
    multiple=True,
    type=click.Choice([*MODEL_SECTIONS]),
    help="What to measure; several are compared.  [default: train.model, or its candidates]",
)
@click.option(
    "--output", type=click.Path(path_type=Path), help="Also write the results in this directory."
)
@config_options
@exits_with_one_line
def evaluate(
    models: tuple[str, ...], output: Path | None, config_file: Path, overrides: tuple[str, ...]
) -> None:
    """Measure models on ratings held out of their training, beside popularity and item means."""
    from jobs.process.log import set_up_logging

    set_up_logging()
    config = load_settings(config_file, overrides)
    from jobs.experiments.bring_ratings import bring_ratings
    from jobs.experiments.evaluation_table import (
        tabulate_lists,
        tabulate_makeup,
        tabulate_predictions,
        write_evaluation,
    )
    from jobs.process.terminal import print_table
    from jobs.stages.evaluate import evaluate_candidates
    from jobs.stages.train import train_model

    with opened_spark(config.spark) as spark:
        ratings = bring_ratings(
            spark, config.input, config.clean, config.evaluate, config.train, config.spark
        )
        report = evaluate_candidates(
            ratings,
            models or config.train.models,
            train_model,
            settings=config.train,
            rules=config.evaluate,
            rating_range=config.clean.rating_range,
        )
    for k in config.evaluate.cutoffs:
        print_table(tabulate_lists(report, k))
        print_table(tabulate_makeup(report, k))
    predictions = tabulate_predictions(report)
    if predictions is not None:
        print_table(predictions)
    if output is not None:
        write_evaluation(report, output)


@click.command()
@click.option(
    "--trials",
    type=click.IntRange(min=1),
    help="Settings tried of each model.  [default: tune.trials]",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default="output/tuning",
    show_default=True,
    help="Where table, plot and best settings go.",
)
@config_options
@exits_with_one_line
def tune(trials: int | None, output: Path, config_file: Path, overrides: tuple[str, ...]) -> None:
    """Search for better settings; write them as a configuration for nightly."""
    from jobs.process.log import set_up_logging

    set_up_logging()
    config = load_settings(config_file, overrides)
    for package in ("optuna", "matplotlib"):
        if importlib.util.find_spec(package) is None:
            raise MachineError(f"tune needs {package}: pip install 'recsys-nightly[tune]'")
    from jobs.experiments.bring_ratings import bring_ratings
    from jobs.experiments.tune import tune_models
    from jobs.experiments.tuning_report import require_directory, tabulate_tuning, write_tuning
    from jobs.process.terminal import print_table
    from jobs.stages.train import train_model

    require_directory(output)
    with opened_spark(config.spark) as spark:
        ratings = bring_ratings(
            spark, config.input, config.clean, config.evaluate, config.train, config.spark
        )
        tuning = tune_models(
            ratings,
            config.tune.with_trials(trials or config.tune.trials),
            partial(train_model, quiet=True),
            settings=config.train,
            rules=config.evaluate,
            rating_range=config.clean.rating_range,
        )
    write_tuning(tuning, config.with_training(tuning.best), output)
    print_table(tabulate_tuning(tuning))
    click.echo(f"best settings: {output}/best.toml; all trials: {output}/trials.parquet, .png")
