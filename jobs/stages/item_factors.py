"""The factors of each item, as a table."""

import pandas as pd

from recsys_core.items.catalog import ItemCatalog
from recsys_core.model_form.item_model import ItemModel


def list_item_factors(model: ItemModel, catalog: ItemCatalog) -> pd.DataFrame:
    """The columns of ``ITEM_FACTORS``."""
    return pd.DataFrame({"item_id": catalog.item_ids, "factors": list(model.item_factors)})
