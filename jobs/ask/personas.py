"""Typical users: the list each gets from a model, and how much of it they would call right."""

import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, ValidationError
from rich.table import Table

from jobs.errors import ConfigError
from jobs.settings.base import Section
from recsys_core.query.recommender import Recommendation, recommend_resolved, resolve_query
from recsys_core.query.saved_model import SavedModel


class Persona(Section):
    """A typical user, by MovieLens ids."""

    name: str = Field(min_length=1)
    note: str = ""
    relevant: list[int | str] = Field(min_length=1)
    ratings: dict[str, float] = Field(min_length=1)


class _PersonaFile(Section):
    persona: list[Persona] = Field(min_length=1)


@dataclass(frozen=True)
class PersonaResult:
    """One persona asked of one model."""

    persona: Persona
    recommendations: list[Recommendation]
    ignored: list[str]

    @property
    def precision(self) -> float:
        """The share of the list that is relevant; 0 for an empty list."""
        relevant = {str(item) for item in self.persona.relevant}
        hits = sum(str(item.item_id) in relevant for item in self.recommendations)
        return hits / len(self.recommendations) if self.recommendations else 0.0


def load_personas(file: Path) -> list[Persona]:
    """The personas of a TOML file.

    Raises:
        ConfigError: the file cannot be read or is not one of personas.
    """
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
        return _PersonaFile.model_validate(values).persona
    except OSError as error:
        raise ConfigError(f"--file {file}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"--file {file}: not valid TOML: {error}") from None
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(map(str, problem["loc"]))
        raise ConfigError(f"--file {file}: {key}: {problem['msg']}") from None


def ask_persona(persona: Persona, model: SavedModel, k: int) -> PersonaResult:
    """The persona's list; an empty one where the model knows none of its items."""
    query = resolve_query(dict(persona.ratings), model)
    found = recommend_resolved(query, model, k) if query.ratings else []
    return PersonaResult(persona, found, query.ignored)


def compare_models(
    names: Sequence[str], results: Sequence[Sequence[PersonaResult]], k: int
) -> Table:
    """precision@k of each persona (rows) with each model (columns), and the means."""
    table = Table(title=f"precision@{k} against the relevant items", title_justify="left")
    table.add_column("persona")
    for name in names:
        table.add_column(name, justify="right")
    for row in zip(*results, strict=True):
        table.add_row(row[0].persona.name, *[f"{result.precision:.1f}" for result in row])
    means = [sum(result.precision for result in one) / len(one) for one in results]
    table.add_section()
    table.add_row("mean", *[f"{mean:.2f}" for mean in means])
    return table


def describe_model(model: SavedModel) -> str:
    """A column's heading: the model and its number of factors, where it has any."""
    n_factors = model.model.item_embeddings.shape[1] if model.model.item_factors.shape[1] else ""
    return f"{model.model.kind} {n_factors}".rstrip()


def list_result(result: PersonaResult) -> Iterator[str]:
    """Lines for a terminal: who, what was ignored, the list with its hits marked."""
    relevant = {str(item) for item in result.persona.relevant}
    yield f"{result.persona.name}: precision {result.precision:.1f}"
    for line in result.ignored:
        yield f"  ignored: {line}"
    for item in result.recommendations:
        mark = "*" if str(item.item_id) in relevant else " "
        yield f"  {item.rank:2d} {mark} {item.title or item.item_id} [{item.item_id}]"
