"""Models at an MLflow server: an artefact of the run that made them, fetched where one lacks them.

A server takes no address of a folder that only the client has.  There a model is a folder of its
run, uploaded before its version is registered; the version tells the SHA-256 of the card, and the
card that of every other file.  In an embedded store the models folder itself is registered, so
that large weights lie on the disk once.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from pipeline.errors import HourglassError
from pipeline.settings.folders import is_plain
from training.registry.mlflow_registry import (
    CARD_SHA256,
    Registry,
    named_errors,
    registered_version,
)
from training.registry.model_card import CARD_NAME, read_card, verify_file

ARTIFACT = "model"  # the model's folder among the artefacts of its run
_RUNS = "runs:/"


def store_model(registry: Registry, run_id: str, folder: Path) -> str:
    """The address under which a model's version is registered; at a server it is there by then.

    Args:
        registry: where it will be registered.
        run_id: of the run that made it.
        folder: of the model.

    Raises:
        MlflowException, OSError: the server refuses a file, or cannot be reached.
    """
    if not registry.at_server:
        return folder.as_uri()
    # The card comes last: where it is, the others are.
    for path in sorted(folder.iterdir(), key=lambda path: (path.name == CARD_NAME, path.name)):
        registry.client.log_artifact(run_id, str(path), ARTIFACT)
    return f"{_RUNS}{run_id}/{ARTIFACT}"


def available(registry: Registry, model_id: str) -> Path:
    """The folder of a model, fetched from the server where this machine lacks it.

    Of an embedded store, whose models are nowhere else, it is just the folder, there or not.

    Raises:
        HourglassError: the server does not know it, or gives other files than were registered.
    """
    folder = registry.models / model_id
    if folder.is_dir() or not registry.at_server:
        return folder
    version = registered_version(registry, model_id)
    expected = version.tags.get(CARD_SHA256)
    source = str(version.source)
    if not source.startswith(_RUNS) or expected is None:
        raise HourglassError(
            f"{folder}: the artefact is missing, and version {version.version} of {registry.name} "
            "does not say where else it is: run hourglass train"
        )
    run_id, _, artifact_path = source.removeprefix(_RUNS).partition("/")
    registry.models.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{model_id}-", dir=registry.models) as staging:
        fetched = Path(staging) / ARTIFACT
        fetched.mkdir()

        def fetch(name: str, sha256: str) -> None:
            with named_errors(f"fetch {name} of {model_id}"):
                path = registry.client.download_artifacts(
                    run_id, f"{artifact_path}/{name}", staging
                )
                Path(path).replace(fetched / name)
            verify_file(fetched / name, sha256)

        fetch(CARD_NAME, expected)
        card = read_card(fetched)
        for name, sha256 in card.files.items():
            if card.model_id != model_id or not is_plain(name):
                raise HourglassError(
                    f"{folder}: version {version.version} of {registry.name} is {card.model_id} "
                    f"with a file {name!r}: run hourglass train"
                )
            fetch(name, sha256)
        try:
            fetched.rename(folder)
        except OSError as error:
            # Another process may have been quicker.
            if not folder.is_dir():
                raise HourglassError(f"{folder}: cannot be written: {error.strerror}") from error
    return folder
