"""Texts as columns."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa

from pipeline.array_types import Ints


def texts_of(content: bytes, sizes: Ints) -> pa.Array:
    """Texts that follow one another in UTF-8, each of so many bytes, (n,)."""
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
    buffers = [None, pa.py_buffer(offsets.tobytes()), pa.py_buffer(content)]
    return pa.Array.from_buffers(pa.string(), len(sizes), buffers)


def mapped(texts: pa.Array, function: Callable[[str], str]) -> pa.Array:
    """What a function makes of each text, each distinct one once; null and "" stay as they are."""
    packed = texts.dictionary_encode()
    values = [text and function(text) for text in packed.dictionary.to_pylist()]
    return pa.array(values, pa.string()).take(packed.indices)
