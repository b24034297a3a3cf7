"""The features of a data set's items and users as files of its folder."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.dataset.features import Encoder, Metadata, encode, fitted_encoder
from pipeline.dataset.manifest import Manifest
from pipeline.dataset.write import write_table
from pipeline.settings.tables import DatasetSettings


def fit_features(
    folder: Path,
    metadata_of: dict[str, Metadata],
    rules: DatasetSettings,
    former: Mapping[str, Encoder],
) -> dict[str, Any]:
    """Write ``<of>_features.parquet`` and ``<of>_tokens.parquet`` for each of ``metadata_of``.

    They are left out where nothing is known of any row, and nothing is to be continued.

    Args:
        folder: of the data set in the making.
        metadata_of: ``item`` and ``user``; what is known of the items, the users.
        rules: what becomes a feature.
        former: those of the data set that is extended, whose features keep their places.

    Returns:
        What the manifest tells of them.
    """
    facts: dict[str, Any] = {}
    for of, metadata in metadata_of.items():
        encoder = fitted_encoder(metadata, rules, former.get(of))
        if encoder is not None:
            facts |= _write(folder, of, metadata, encoder)
    return facts


def apply_features(
    folder: Path, base: Path, base_manifest: Manifest, users: Metadata
) -> dict[str, Any]:
    """Take over the item features of ``base``, and tell of other users in its terms.

    Returns:
        What the manifest tells of the users; the base's tells of the items.
    """
    for name in ("item_features.parquet", "item_tokens.parquet"):
        if name in base_manifest.files:
            shutil.copyfile(base / name, folder / name)
    encoder = read_encoders(base, base_manifest).get("user")
    return {} if encoder is None else _write(folder, "user", users, encoder)


def _write(folder: Path, of: str, metadata: Metadata, encoder: Encoder) -> dict[str, Any]:
    write_table(encode(metadata, encoder), folder / f"{of}_features.parquet")
    tokens = pa.table({"name": pa.array(encoder.tokens, pa.string())})
    write_table(tokens, folder / f"{of}_tokens.parquet")
    return {f"{of}_numbers": list(encoder.scales)}


def read_encoders(folder: Path, manifest: Manifest) -> dict[str, Encoder]:
    """The encoders of a data set's ``item`` and ``user``, where it has features of them."""
    numbers = {"item": manifest.item_numbers, "user": manifest.user_numbers}
    return {
        of: Encoder(
            pq.read_table(folder / f"{of}_tokens.parquet")["name"].to_pylist(),
            [scale.model_dump() for scale in scales],
        )
        for of, scales in numbers.items()
        if f"{of}_tokens.parquet" in manifest.files
    }
