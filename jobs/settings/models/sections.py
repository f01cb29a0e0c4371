"""Every model's settings by its name. What else lists models in the settings takes them from here.

``recsys_core.models.registry`` has the models themselves; a test holds both to the same names.
"""

from typing import Annotated, Final

from pydantic import GetPydanticSchema
from pydantic_core import core_schema

from jobs.settings.models.als import AlsConfig
from jobs.settings.models.base import ModelSection
from jobs.settings.models.blend import BlendConfig
from jobs.settings.models.ease import EaseConfig
from jobs.settings.models.mf import MfConfig
from jobs.settings.models.nmf import NmfConfig
from jobs.settings.models.slim import SlimConfig

MODEL_SECTIONS: Final[dict[str, type[ModelSection]]] = {
    "nmf": NmfConfig,
    "mf": MfConfig,
    "als": AlsConfig,
    "ease": EaseConfig,
    "slim": SlimConfig,
    "blend": BlendConfig,
}
AUTO: Final = "auto"
"""In place of a model's name: the best of some, as measured."""


def _one_of(*names: str) -> GetPydanticSchema:
    """As ``Literal``, which takes no names that are worked out."""
    return GetPydanticSchema(lambda _source, _handler: core_schema.literal_schema([*names]))


ModelName = Annotated[str, _one_of(*MODEL_SECTIONS)]
ModelChoice = Annotated[str, _one_of(*MODEL_SECTIONS, AUTO)]
