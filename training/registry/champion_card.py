"""Whether the files of a live model are those that the registry recorded: asked at every load.

The card holds the checksums of the model's other files, which
`training.registry.artefact.load_model` verifies; the card's own SHA-256 is a tag of the version in
MLflow, set when the model is registered.  Of a model from before that, it is noted when it is
first met, so that a change before then does not show.
"""

from __future__ import annotations

import sys
from dataclasses import replace

from pipeline.errors import HourglassError
from training.data.reader import sha256_of
from training.registry.mlflow_registry import (
    CARD_SHA256,
    LiveModel,
    Registry,
    named_errors,
    recorded_card,
    tag,
)
from training.registry.mlflow_tables import Version
from training.registry.model_card import CARD_NAME


def verify_card(live: LiveModel) -> None:
    """Refuse a model whose card is not the recorded one; nothing is known of one without.

    Raises:
        HourglassError: the card is missing or was changed.
    """
    if live.card_sha256 is None:
        return
    card = live.folder / CARD_NAME
    if not card.is_file():
        raise HourglassError(
            f"{card}: the card of {live.model_id} (version {live.version}) is missing: put the "
            "model's folder back from a copy, or go back with `hourglass rollback`"
        )
    if sha256_of(card) != live.card_sha256:
        raise HourglassError(
            f"{card}: not the card that MLflow recorded of {live.model_id} (version "
            f"{live.version}), but a changed one: put the model's folder back from a copy, or go "
            "back with `hourglass rollback`"
        )


def trusted(registry: Registry, live: LiveModel) -> LiveModel:
    """A live model whose card is the recorded one, or is recorded now, which stderr tells.

    Args:
        registry: holds the record.
        live: model that is to be used.

    Raises:
        HourglassError: the card is missing or was changed, or MLflow cannot be read.
    """
    recorded = live.card_sha256 or recorded_card(registry, live.version)
    card = live.folder / CARD_NAME
    if recorded is None and card.is_file():
        recorded = sha256_of(card)
        with named_errors(f"note the card of {live.model_id}"):
            tag(registry, live.version, **{CARD_SHA256: recorded})
        print(
            f"{live.model_id} (version {live.version}) was registered before cards were recorded: "
            f"its card is taken as it is, {recorded[:12]}, and verified from now on",
            file=sys.stderr,
            flush=True,
        )
    noted = replace(live, card_sha256=recorded)
    verify_card(noted)
    return noted


def refuse_changed_model(registry: Registry, version: Version) -> None:
    """Let a registered model pass whose card is the recorded one, or of which none was recorded.

    Raises:
        HourglassError: the card is missing or was changed.
    """
    model_id, recorded = version.tags["model_id"], version.tags.get(CARD_SHA256)
    folder = registry.models / model_id
    verify_card(LiveModel(model_id, version.version, folder, None, recorded))
