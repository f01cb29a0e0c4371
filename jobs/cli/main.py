"""All commands together."""

import click

from jobs.cli.ask import inspect, personas, recommend, show, similar
from jobs.cli.datasets import fetch, sample
from jobs.cli.experiments import evaluate, tune
from jobs.cli.nightly import check, nightly
from jobs.cli.runs import report, rollback, runs
from jobs.cli.setup import config, warmup


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Nightly recommendations on Spark."""


for command in (
    *(nightly, check, evaluate, tune, runs, rollback, report),
    *(show, recommend, similar, inspect, personas, config, warmup, sample, fetch),
):
    main.add_command(command)
