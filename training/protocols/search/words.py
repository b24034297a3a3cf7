"""Bags of words: the most frequent ones, by the square root of how often each occurs (HRNN 4.4)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from itertools import chain

import numpy as np

from pipeline.array_types import Objects
from training.protocols.metadata import MetadataTable
from training.protocols.search.raw_log import Words


def most_frequent(words: Iterable[Iterable[str]], most: int | None) -> frozenset[str]:
    """The ``most`` frequent words, every occurrence counted; of equal ones the first by name.

    None: all words.
    """
    counts = Counter(chain.from_iterable(words))
    ranked = sorted(counts, key=lambda word: (-counts[word], word))
    return frozenset(ranked[:most])


def bags(ids: Objects, words: Words, vocabulary: Collection[str]) -> MetadataTable:
    """Rows as bags of the words in ``vocabulary``; a word counts sqrt(how often it is there)."""
    counts = [Counter(word for word in row if word in vocabulary) for row in words]
    tokens = [sorted(row) for row in counts]
    weights = [
        [float(np.sqrt(row[word])) for word in names]
        for row, names in zip(counts, tokens, strict=True)
    ]
    return MetadataTable(ids, tokens, weights=weights)
