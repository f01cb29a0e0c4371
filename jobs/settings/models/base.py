"""What every model's section is: its settings, and where ``tune`` searches them."""

from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, ValidationError, model_validator

from jobs.settings.base import Section


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

    def holds(self, value: Any) -> bool:
        """Whether the value is among those that are tried."""
        if self.choices is not None:
            return value in self.choices
        assert self.low is not None
        assert self.high is not None
        return bool(self.low <= value <= self.high)

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


def log_range(low: float, high: float) -> SearchRange:
    """From low to high, by orders of magnitude."""
    return SearchRange(low=low, high=high, log=True)


def any_of(*choices: bool | float | str) -> SearchRange:
    """One of these values."""
    return SearchRange(choices=[*choices])


class ModelSection(Section):
    """Settings of one model. Its trainer takes each of them by its name."""

    search_space: ClassVar[SearchSpace]
    """What ``tune`` searches where ``tune.MODEL`` says nothing else."""
    scores_are_products: ClassVar[bool] = True
    """Whether a score is a product of factors and nothing else, so that factors can be published
    for others to rank with."""

    @property
    def made_of(self) -> tuple[str, ...]:
        """Other models, whose sections the trainer takes too."""
        return ()

    @classmethod
    def to_setting(cls, name: str, value: Any) -> Any:
        """A searched value in the type of the setting: whole numbers stay whole."""
        is_whole = cls.model_fields[name].annotation is int
        return round(value) if is_whole and isinstance(value, float) else value

    @classmethod
    def require_valid(cls, name: str, value: Any) -> None:
        """Raise ValueError unless the setting may have this searched value."""
        try:
            cls.model_validate({name: cls.to_setting(name, value)})
        except ValidationError as error:
            raise ValueError(f"{name} = {value!r}: {error.errors()[0]['msg']}") from None
