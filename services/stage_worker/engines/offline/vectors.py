"""Vectors: texts as weighted stems, compared and clustered by scikit-learn.

Only what clusters imports this module, when it has something to cluster: scikit-learn takes a hundred megabytes and a
second. Weights are rounded before anything is decided by them, so that the last bit of a sum decides nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy
from numpy.typing import NDArray
from sklearn.cluster import AgglomerativeClustering
from sklearn.feature_extraction.text import TfidfVectorizer

from services.stage_worker.engines.offline.weights import stems

_APART = 2.0
"""The distance of two things that must not meet; cosine distances are at most 1."""


class Space:
    """Some texts of one language as vectors, in which the words that tell them apart weigh most."""

    def __init__(self, texts: Sequence[str], language: str) -> None:
        self._vectorizer = TfidfVectorizer(analyzer=lambda text: stems(text, language), sublinear_tf=True)
        try:
            self._rows = self._vectorizer.fit_transform(texts)
        except ValueError:  # nothing but stop words
            self._rows = None

    def similarities(self) -> NDArray[numpy.float64]:
        """How alike each two texts are, from 0 to 1."""
        if self._rows is None:
            return numpy.zeros((0, 0))
        product = (self._rows @ self._rows.T).toarray()
        rounded: NDArray[numpy.float64] = numpy.round(product, 6)
        return rounded


def clusters(similarities: NDArray[numpy.float64], owners: Sequence[int], least: float) -> list[int]:
    """A number for each thing: equal for things that belong together.

    Things of one owner are never put together, however alike: their order is their author's.

    Args:
        similarities: of each two things.
        owners: the document each thing comes from.
        least: the mean similarity from which two groups become one.
    """
    count = len(owners)
    if count < 2 or similarities.shape != (count, count):
        return list(range(count))
    distances = 1.0 - similarities
    same = numpy.equal.outer(numpy.asarray(owners), numpy.asarray(owners))
    distances[same] = _APART
    numpy.fill_diagonal(distances, 0.0)
    clustering = AgglomerativeClustering(
        n_clusters=None, metric="precomputed", linkage="complete", distance_threshold=1.0 - least
    )
    labels: list[int] = clustering.fit_predict(distances).tolist()
    return labels
