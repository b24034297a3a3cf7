"""The features of a data set's items and users as files of its folder."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.dataset.features import Encoder, Metadata, encode, fit_encoder
from pipeline.dataset.write import read_manifest, write_table
from pipeline.settings.settings import DatasetSettings


def fit_features(
    folder: Path, known: dict[str, Metadata], rules: DatasetSettings, base: Path | None
) -> dict[str, Any]:
    """Write ``<of>_features.parquet`` and ``<of>_tokens.parquet`` for each of ``known``.

    They are left out where nothing is known of any row, and nothing is to be continued.

    Args:
        folder: of the data set in the making.
        known: ``item`` and ``user``; what is known of the vocabulary's items, the shards' users.
        rules: what becomes a feature.
        base: the data set that is extended, whose features keep their places.

    Returns:
        What the manifest tells of them.
    """
    told: dict[str, Any] = {}
    for of, metadata in known.items():
        before = None if base is None else _read_encoder(base, of, read_manifest(base))
        if before is None and metadata.is_empty:
            continue
        told |= _write(folder, of, metadata, fit_encoder(metadata, rules, before))
    return told


def follow_features(
    folder: Path, base: Path, base_manifest: dict[str, Any], users: Metadata
) -> dict[str, Any]:
    """Take over the item features of ``base``, and tell of other users in its terms.

    Returns:
        What the manifest tells of the users; the base's tells of the items.
    """
    for name in ("item_features.parquet", "item_tokens.parquet"):
        if name in base_manifest["files"]:
            shutil.copyfile(base / name, folder / name)
    encoder = _read_encoder(base, "user", base_manifest)
    return {} if encoder is None else _write(folder, "user", users, encoder)


def _write(folder: Path, of: str, metadata: Metadata, encoder: Encoder) -> dict[str, Any]:
    write_table(encode(metadata, encoder), folder / f"{of}_features.parquet")
    tokens = pa.table({"name": pa.array(encoder.tokens, pa.string())})
    write_table(tokens, folder / f"{of}_tokens.parquet")
    return {f"{of}_numbers": list(encoder.scales)}


def _read_encoder(folder: Path, of: str, manifest: dict[str, Any]) -> Encoder | None:
    """The encoder of a data set's items or users; None where it has no features of them."""
    name = f"{of}_tokens.parquet"
    if name not in manifest["files"]:
        return None
    tokens = pq.read_table(folder / name)["name"].to_pylist()
    return Encoder(tokens, manifest[f"{of}_numbers"])
