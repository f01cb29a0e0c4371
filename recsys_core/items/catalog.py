"""Everything a run knows of its items, in order of ``item_index``."""

from dataclasses import dataclass, field

from recsys_core.arrays import Float64Array, IdArray, Int64Array
from recsys_core.items.index import ItemIndex


@dataclass(frozen=True)
class ExcludedItem:
    """An item the training data held and the cleaning rules left out."""

    item_id: int | str
    title: str | None
    reason: str
    rating_count: int


@dataclass(frozen=True)
class ItemCatalog:
    """The items of a model, in order of ``item_index``."""

    index: ItemIndex
    titles: list[str | None]
    genres: list[str | None]
    rating_count: Int64Array
    mean_rating: Float64Array
    excluded: list[ExcludedItem] = field(default_factory=list)

    @property
    def item_ids(self) -> IdArray:
        return self.index.item_ids

    def __len__(self) -> int:
        return len(self.index)

    def id_at(self, item_index: int) -> int | str:
        """The caller's id of an item, as a Python value."""
        item_id: int | str = self.item_ids[item_index : item_index + 1].tolist()[0]
        return item_id
