import inspect
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from paths import ROOT
from pydantic import ValidationError

from jobs.cli.experiments import evaluate
from jobs.errors import ConfigError
from jobs.settings.lists import RulesConfig
from jobs.settings.models.sections import MODEL_SECTIONS
from jobs.settings.toml import list_settings, load_config
from jobs.settings.train import TrainConfig
from jobs.settings.tune import TuneConfig
from recsys_core.models.blend import LOW_RANK
from recsys_core.models.registry import MODELS

CONF = ROOT / "conf"
SETTINGS = sorted(file for file in CONF.glob("*.toml") if file.name != "personas.toml")
MINIMAL = '[input]\nratings = "r.csv"\n[output]\npath = "out"\n'


@pytest.fixture
def minimal(tmp_path: Path) -> Path:
    file = tmp_path / "job.toml"
    file.write_text(MINIMAL)
    return file


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("score.kk=5", "score.kk: unknown key; did you mean 'k'? allowed: k"),
        ("scoring.k=5", "scoring: unknown key; did you mean 'score'?"),
        ("score.k=0", "score.k = 0: must be greater than or equal to 1"),
        ("score.k=ten", "score.k = 'ten': must be a valid integer"),
        ("score.k=1.5", "score.k = 1.5: must be a valid integer"),
        ("score.k=true", "score.k = True: must be a valid integer"),
        (
            "train.model=svd",
            f"train.model = 'svd': must be {', '.join(map(repr, MODELS))} or 'auto'",
        ),
        ("clean.min_rating=6", "min_rating = 6 exceeds max_rating = 5"),
        ("clean.max_rating=nan", "clean.max_rating = nan: must be a finite number"),
        ("train.mf.learning_rate=0", "train.mf.learning_rate = 0: must be greater than 0"),
        ("input.separator=;;", "input.separator = ';;': "),
        ("score.k", "expected section.key=value"),
        ("k=5", "expected section.key=value"),
        ("score.k.deep=1", "score.k = {'deep': 1}"),
        ("rules.block=[1, 'a']", "rules.block = [1, 'a']: must be a file, or a list of item ids"),
        ("rules.allow=7", "rules.allow = 7: must be a file, or a list of item ids"),
        ("rules.genre_caps.Drama=-1", "rules.genre_caps.Drama = -1: must be greater than or equal"),
        ("cluster.metric=manhattan", "metric = 'manhattan': must be 'cosine' or 'euclidean'"),
        ("rules.max_cluster_share=0", "rules.max_cluster_share = 0: must be greater than 0"),
    ],
)
def test_a_mistake_is_one_line_that_names_key_and_allowed_values(
    minimal: Path, override: str, expected: str
) -> None:
    with pytest.raises(ConfigError) as error:
        load_config(minimal, [override])
    message = str(error.value)
    assert expected.split(" = {")[0] in message
    assert "--set" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[input]\nratings = ", "not valid TOML"),
        ('[output]\npath = "x"\n', "input: missing"),
        (MINIMAL + "[score]\nk = 0\n", "score.k = 0"),
        (MINIMAL + "surprise = 1\n", "output.surprise: unknown key; allowed: path"),
        (
            MINIMAL + "[rules]\ndiversity = 0.1\ndiversity_pool = 9\n",
            "rules.diversity_pool = 9 is below score.k = 10",
        ),
    ],
)
def test_a_mistake_in_the_file_names_the_file(tmp_path: Path, text: str, expected: str) -> None:
    file = tmp_path / "job.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=f"job.toml: .*{expected}|job.toml: {expected}"):
        load_config(file)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml: no such configuration file"):
        load_config(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("override", "value"),
    [("score.k=3", 3), ("score.k = 3", 3)],
)
def test_overrides_win_over_the_file(minimal: Path, override: str, value: int) -> None:
    assert load_config(minimal, [override]).score.k == value


@pytest.mark.parametrize("text", ["a b=c.csv", '"quoted.csv"', "s3a://bucket/x", "3"])
def test_strings_need_no_quotes(minimal: Path, text: str) -> None:
    if text == "3":  # a TOML integer: paths that look like numbers take quotes
        with pytest.raises(ConfigError, match=r"input\.ratings"):
            load_config(minimal, [f"input.ratings={text}"])
        return
    assert load_config(minimal, [f"input.ratings={text}"]).input.ratings == text.strip('"')


@pytest.mark.parametrize("file", SETTINGS, ids=lambda file: file.name)
def test_every_configuration_we_ship_is_valid(file: Path) -> None:
    load_config(file)


@pytest.mark.parametrize("file", SETTINGS, ids=lambda file: file.name)
def test_items_are_clustered_by_direction_but_in_the_notebook_that_was_not(file: Path) -> None:
    metric = "euclidean" if file.name == "notebook_torch.toml" else "cosine"
    assert load_config(file).cluster.metric == metric


def test_the_listing_is_the_same_configuration(minimal: Path, tmp_path: Path) -> None:
    changes = ["train.mf.learning_rate=0.003", "input.separator=;", "rules.block=[3, 1]"]
    changes += ["output.path='a \"b\" \\c é'"]
    config = load_config(minimal, [*changes, 'rules.genre_caps={"*" = 1, Sci-Fi = 2}'])
    listed = tmp_path / "listed.toml"
    listed.write_text(list_settings(config))
    assert load_config(listed) == config


@pytest.mark.parametrize(
    ("share", "k", "cap"), [(1.0, 10, None), (0.5, 10, 5), (0.29, 100, 29), (0.01, 10, 1)]
)
def test_a_share_of_the_list_is_so_many_items(share: float, k: int, cap: int | None) -> None:
    assert RulesConfig(max_cluster_share=share).cap_clusters(k) == cap


def test_rules_are_set_by_any_that_has_something_to_say() -> None:
    assert not RulesConfig(diversity_pool=99).are_set
    for rule in ({"block": [1]}, {"min_score": 0.0}, {"genre_caps": {"A": 1}}, {"diversity": 0.1}):
        assert RulesConfig.model_validate(rule).are_set


def test_every_setting_is_described(minimal: Path) -> None:
    lines = list_settings(load_config(minimal)).splitlines()
    settings = [position for position, line in enumerate(lines) if " = " in line and line[0] != "#"]
    assert len(settings) > 25
    assert all(lines[position - 1].startswith("# ") for position in settings)


def test_every_list_of_models_is_the_registrys() -> None:
    choice = next(option for option in evaluate.params if option.name == "models").type
    assert isinstance(choice, click.Choice)
    names = [*MODELS]
    assert names == [*MODEL_SECTIONS] == [*choice.choices]
    assert names == [*TrainConfig.model_fields][-len(names) :]
    assert names == [*TuneConfig.model_fields][-len(names) :]
    train = TrainConfig(candidates=names)
    assert [train.with_model(model).models for model in names] == [[model] for model in names]
    assert TuneConfig(models=names).models == names


@pytest.mark.parametrize("model", MODELS)
def test_a_models_settings_are_what_its_trainer_takes(model: str) -> None:
    kind, section = MODELS[model], MODEL_SECTIONS[model]
    taken = inspect.signature(kind.train).parameters.values()
    own = {p.name for p in taken if p.kind is inspect.Parameter.KEYWORD_ONLY}
    assert own - {"seed", "device", "on_epoch", "n_threads"} == set(section.model_fields)
    assert kind.rounds is None or kind.rounds in section.model_fields
    size = kind.size_parts(**TrainConfig().settings_of(model))
    assert size.columns + size.weights > 0
    assert section.scores_are_products == (size.weights == 0)
    assert TuneConfig().space(model) == section.search_space != {}


def test_a_blends_parts_are_models_of_the_registry() -> None:
    for low_rank in LOW_RANK:
        train = TrainConfig(model="blend", blend={"low_rank": low_rank})
        assert train.section("blend").made_of == ("slim", low_rank)
        assert train.settings_of("blend")[low_rank] == train.settings_of(low_rank)
        assert MODELS[low_rank].model is LOW_RANK[low_rank][0]
    with pytest.raises(ValidationError, match="low_rank"):
        TrainConfig(blend={"low_rank": "nmf"})


@pytest.mark.parametrize("model", ["slim", "blend"])
def test_factors_of_a_model_with_weights_are_not_published(model: str) -> None:
    given = [f"train.model={model}", "publish.factors=true"]
    with pytest.raises(ConfigError, match=rf"scores of model '{model}' are no products of factors"):
        load_config(ROOT / "conf" / "nightly.toml", given)


def test_validating_settings_brings_no_compiler_and_no_solver(tmp_path: Path) -> None:
    code = """
import sys, jobs.settings.toml
print(*sorted({"numba", "torch", "scipy", "sklearn", "numpy", "pyspark"} & {*sys.modules}))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == ""
