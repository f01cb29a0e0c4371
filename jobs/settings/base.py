"""What every section of the settings is."""

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, create_model

NonEmpty = Annotated[str, Field(min_length=1)]
AnySection = TypeVar("AnySection", bound="Section")


class Section(BaseModel):
    """A closed, immutable group of settings: an unknown key or a wrong type is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def with_fields(
    fields: dict[str, Any],
) -> Callable[[type[AnySection]], type[AnySection]]:
    """Give a section fields after its own whose names are worked out: type and ``Field`` of each.

    They are checked, described and listed as if they were written in it.
    """

    def add(section: type[AnySection]) -> type[AnySection]:
        return create_model(
            section.__name__,
            __base__=section,
            __module__=section.__module__,
            __doc__=section.__doc__,
            **fields,
        )

    return add
