"""Lines: configured models by their names, of which there is a fit for each data set."""

from __future__ import annotations

import json

from pipeline.errors import HourglassError
from pipeline.hours import Hour
from pipeline.settings import Settings
from training.card import read_card


def latest_of_line(settings: Settings, name: str, before: Hour) -> str | None:
    """Id of the line's model of the latest time before an hour; None where there is none.

    Models of that hour itself do not count, so that training the hour again goes on from the same
    model as the first time.  Those whose artefact is gone or damaged do not count either.
    """
    found: list[tuple[Hour, str]] = []
    for path in sorted(settings.path("candidates").glob("*.json")):
        model_id = json.loads(path.read_text("utf-8")).get(name)
        if model_id is None:
            continue
        try:
            card = read_card(settings.path("models") / model_id)
        except HourglassError:
            continue
        if card.as_of < before:
            found.append((card.as_of, model_id))
    return max(found)[1] if found else None
