"""A data set's shards, decoded once into flat files that later readings only map.

The files lie in a hidden folder of the data set's own, so that they go when it goes, and no
manifest lists them: they can be made again at any time.  A seal beside them says which shards they
were made from.  What is read is trusted on two levels.  A file whose size, times and inode are
those of the seal has not been written to since, and is taken at once; any other (one that was
copied, say) must have the SHA-256 of the seal or, for a shard, of the manifest.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from pipeline.dataset.manifest import Manifest, sha256_of, verify_files
from training.data.shards import Columns, kinds, read_shards

FOLDER = ".flat"
_SEAL = "seal.json"


def flat_columns(folder: Path, manifest: Manifest) -> Columns:
    """The columns of a data set's shards, mapped from flat files; read-only where so.

    The first reading makes the files, other processes wait for it meanwhile.  Where they cannot be
    made (a folder that may not be written to, a full disk), the columns are decoded into memory.

    Raises:
        HourglassError: a shard is missing or damaged, or its columns contradict one another.
    """
    try:
        columns = _mapped(folder, manifest)
        if columns is None:
            with FileLock(folder / f"{FOLDER}.lock", preserve_lock_file=True):
                columns = _mapped(folder, manifest)
                if columns is None:
                    _make(folder, manifest)
                    columns = _mapped(folder, manifest)
    except OSError:
        columns = None
    return _in_memory(folder, manifest) if columns is None else columns


def _mapped(folder: Path, manifest: Manifest) -> Columns | None:
    """The columns if sound flat files are there; None if not.

    Raises:
        HourglassError: a shard that changed since is not what the manifest says.
    """
    try:
        seal = json.loads((folder / FOLDER / _SEAL).read_text("utf-8"))
        made_from = {name: shard["sha256"] for name, shard in seal["shards"].items()}
        if made_from != {name: manifest.files[name] for name in manifest.parts}:
            return None
        changed = [
            name
            for name, shard in seal["shards"].items()
            if not _is_as_sealed(folder / name, shard)
        ]
        verify_files(folder, manifest, changed)
        return {
            name: _map(folder / FOLDER / f"{name}.npy", seal["columns"][name], *kind)
            for name, kind in kinds(manifest).items()
        }
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _map(
    path: Path, sealed: dict[str, Any], shape: tuple[int, ...], kind: type[Any]
) -> NDArray[Any]:
    """One flat file.

    Raises:
        OSError, ValueError: it is missing or not as it was sealed.
    """
    if not _is_as_sealed(path, sealed) and sha256_of(path) != sealed["sha256"]:
        raise ValueError(f"{path} was written to")
    # Nothing can be mapped of a file that holds nothing but its header.
    array = np.load(path, mmap_mode="r" if np.prod(shape) else None)
    if array.shape != shape or array.dtype != kind:
        raise ValueError(f"{path} holds {array.dtype} {array.shape}")
    return np.asarray(array)


def _in_memory(folder: Path, manifest: Manifest) -> Columns:
    verify_files(folder, manifest, manifest.parts)
    columns = {name: np.empty(shape, kind) for name, (shape, kind) in kinds(manifest).items()}
    filled = dict.fromkeys(columns, 0)

    def append(name: str, values: NDArray[Any]) -> None:
        columns[name][filled[name] : filled[name] + len(values)] = values
        filled[name] += len(values)

    _decode(folder, manifest, append)
    return columns


def _decode(folder: Path, manifest: Manifest, append: Callable[[str, NDArray[Any]], None]) -> None:
    """Hand over the columns shard by shard, so that never more than one is held twice."""
    for shard in read_shards(folder, manifest):
        for name, values in shard.items():
            append(name, values)


def _make(folder: Path, manifest: Manifest) -> None:
    """Write the flat files beside their folder, then rename: they appear whole or not at all.

    Raises:
        HourglassError: a shard is missing or damaged, or its columns contradict one another.
        OSError: the files cannot be written.
    """
    for left in (*folder.glob(f"{FOLDER}-*"), folder / FOLDER):
        # Stale, damaged, or of a process that was killed: only one makes them at a time.
        shutil.rmtree(left, ignore_errors=True)
    staging = folder / f"{FOLDER}-{uuid.uuid4().hex}"
    staging.mkdir()
    try:
        # Taken first: a shard that changes meanwhile will not be as sealed.
        stamps = {
            name: _stamp(folder / name) for name in manifest.parts if (folder / name).exists()
        }
        verify_files(folder, manifest, manifest.parts)
        with ExitStack() as closing:
            files = {
                name: _Column(closing.enter_context((staging / f"{name}.npy").open("wb")), *kind)
                for name, kind in kinds(manifest).items()
            }
            _decode(folder, manifest, lambda name, values: files[name].append(values))
        seal = {
            "shards": {
                name: {"sha256": manifest.files[name], "stamp": stamps[name]} for name in stamps
            },
            "columns": {
                name: {"sha256": file.sha256, "stamp": _stamp(staging / f"{name}.npy")}
                for name, file in files.items()
            },
        }
        (staging / _SEAL).write_text(json.dumps(seal, indent=1) + "\n", encoding="utf-8")
        staging.rename(folder / FOLDER)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


class _Column:
    """One flat file that grows; written rather than mapped, so that a full disk is an error."""

    def __init__(self, file: BinaryIO, shape: tuple[int, ...], kind: type[Any]) -> None:
        self._file, self._digest = file, hashlib.sha256()
        header = io.BytesIO()
        described = {
            "descr": np.lib.format.dtype_to_descr(np.dtype(kind)),
            "fortran_order": False,
            "shape": shape,
        }
        np.lib.format.write_array_header_1_0(header, described)
        self._write(header.getbuffer())

    @property
    def sha256(self) -> str:
        """Of all that was written."""
        return self._digest.hexdigest()

    def append(self, values: NDArray[Any]) -> None:
        if values.size:
            self._write(np.ascontiguousarray(values).data.cast("B"))

    def _write(self, content: memoryview) -> None:
        self._file.write(content)
        self._digest.update(content)


def _stamp(path: Path) -> list[int]:
    """What changes whenever a file is written to or replaced (its time of change cannot be set)."""
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def _is_as_sealed(path: Path, sealed: dict[str, Any]) -> bool:
    return path.exists() and _stamp(path) == sealed["stamp"]
