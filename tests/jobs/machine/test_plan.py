"""What a night is said to need, and what is refused before it starts."""

from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from builders import make_config
from nights import SampleNight
from pyspark.sql import SparkSession

from jobs.errors import MachineError
from jobs.machine.limits import Limits, find_misfits, read_limits
from jobs.machine.plan import MIB, InputSize, Plan, bound_training, make_plan
from jobs.night.night import plan_night, run_nightly

SIZE = InputSize(ratings=20_000_000, users=200_000, items=20_000)
ROOMY = Limits(64 * 1024 * MIB, 4096 * MIB, 2, None, "", None)


def plan_with(size: InputSize = SIZE, **sections: Any) -> Plan:
    config = make_config("unused", **sections)
    model = bound_training(size, config.train, evaluates=config.evaluates)
    return make_plan(size, model, config.rules, k=config.score.k, n_partitions=8)


def plan(size: InputSize = SIZE, **train: Any) -> Plan:
    return plan_with(size, train=train)


def test_a_workers_bound_knows_items_and_factors_alone() -> None:
    bound = plan().worker
    assert plan(replace(SIZE, ratings=10**10, users=10**9)).worker == bound
    assert plan(max_users=10).worker == bound
    assert plan(replace(SIZE, items=200_000)).worker >= bound + 6 * 4 * 20 * 180_000
    wider = plan(nmf={"n_components": 640}).worker
    assert wider == bound + 6 * 4 * (640 - 32) * 20_000  # the 20 factors in whole vectors


def test_rules_and_long_lists_need_room() -> None:
    plain, factors = plan(), 4 * 20 * SIZE.items
    assert plan_with(rules={"block": [1]}).broadcast == plain.broadcast + 32 * SIZE.items
    diverse = plan_with(rules={"diversity": 0.3})
    assert diverse.broadcast == plain.broadcast + 32 * SIZE.items + factors
    assert diverse.worker > plain.worker + 3 * factors
    assert plan_with(score={"k": 1_000}).worker > plain.worker + 8 * 4_608 * 990


def test_a_sample_of_users_makes_training_smaller() -> None:
    whole, sample = plan(), plan(max_users=20_000)
    assert (whole.trained_ratings, sample.trained_ratings) == (20_000_000, 2_000_000)
    assert sample.driver < whole.driver
    assert sample.collected < whole.collected
    assert plan(max_users=10**9) == whole


def test_a_model_with_biases_has_room_for_them() -> None:
    assert plan(model="mf", mf={"n_factors": 8, "biases": True}).broadcast == 20_000 * (4 * 10 + 16)


def test_a_choice_of_models_has_room_for_each() -> None:
    choices = [plan(model=model) for model in ("nmf", "als", "ease")]
    chosen = plan(model="auto")
    assert chosen.worker == max(choice.worker for choice in choices)
    assert chosen.driver == max(choice.driver for choice in choices) + 24 * SIZE.ratings


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (
            replace(ROOMY, worker=200 * MIB, worker_setting="spark.executor.memoryOverhead"),
            "20,000 items .* has 200 MiB: raise spark.executor.memoryOverhead",
        ),
        (
            replace(ROOMY, max_result=100 * MIB),
            "20,000,000 ratings .* spark.driver.maxResultSize is 100 MiB: .*train.max_users",
        ),
        (replace(ROOMY, machine=4200 * MIB), "which has 4,200 MiB: set train.max_users"),
    ],
)
def test_what_cannot_fit_is_named_with_the_setting_to_change(limits: Limits, message: str) -> None:
    assert list(find_misfits(plan(), ROOMY)) == []
    [problem] = find_misfits(plan(), limits)
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(problem)


def test_limits_are_those_of_the_session(spark: SparkSession) -> None:
    limits = read_limits(spark)
    assert limits.heap == 2048 * MIB
    assert limits.local_workers == 2
    assert limits.worker is None
    assert limits.machine > limits.heap


def test_a_dry_run_prints_the_plan_and_writes_nothing(
    spark: SparkSession,
    sample_night: SampleNight,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = tmp_path / "out"
    plan_night(spark, make_config(sample_night.data / "ratings.csv", output))
    printed = capsys.readouterr().out
    for text in ("4,000", "384 x 384", "broadcast", "Python worker", "MiB"):
        assert text in printed
    assert not output.exists()


def test_a_night_that_cannot_fit_ends_before_training(
    spark: SparkSession, sample_night: SampleNight, tmp_path: Path
) -> None:
    config = make_config(
        sample_night.data / "ratings.csv",
        tmp_path / "out",
        train={"nmf": {"n_components": 100_000_000}},
    )
    for act in (
        lambda: plan_night(spark, config),
        lambda: run_nightly(spark, config, date(2026, 11, 21)),
    ):
        with pytest.raises(MachineError, match="lower the number of factors"):
            act()
    assert not (tmp_path / "out" / "current").exists()
