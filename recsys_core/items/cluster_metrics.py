"""The names of what makes items alike to a clustering: read by settings, so without numpy."""

from typing import Literal, TypeAlias

ClusterMetric: TypeAlias = Literal["cosine", "euclidean"]
"""The direction of their embeddings alone, or their length too."""
