"""The direction of an item's factors, without their length.

Lengths say how well a model knows an item, and span orders of magnitude; directions say what it is
like. So items are compared by cosine.
"""

import numpy as np

from recsys_core.arrays import Float32Array


def find_directions(item_embeddings: Float32Array) -> Float32Array:
    """The rows scaled to length one; a row of zeros has no direction, and stays as it is.

    Args:
        item_embeddings: float32 [n_items, n_factors], finite.

    Returns:
        Float32 [n_items, n_factors].
    """
    lengths = np.linalg.norm(item_embeddings.astype(np.float64), axis=1, keepdims=True)
    return (item_embeddings / np.where(lengths > 0, lengths, 1.0)).astype(np.float32)
