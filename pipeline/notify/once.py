"""Each thing is told once: what was sent, and to which addresses, is noted in a file of its own.

``<work>/notices/<key>.json`` names the addresses by their number, none of their text.  An address
that was not reached is tried again when the same thing happens again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from pipeline.errors import HourglassError
from pipeline.files import write_text
from pipeline.notify.notice import Notice
from pipeline.notify.send import named, send
from pipeline.process.locks import locked
from pipeline.settings.notify import NotifySettings


def send_once(
    rules: NotifySettings,
    folder: Path,
    message: Notice,
    environment: Mapping[str, str],
    at: str,
) -> list[str]:
    """Send a message to the addresses that have not had it yet.

    Args:
        rules: the addresses, and how long they may take together.
        folder: of what was sent, ``<work>/notices``.
        message: what people are told; its key says whether they know already.
        environment: where the variables in addresses come from.
        at: when this is, for the note.

    Returns:
        A sentence for each address that was not reached.  Nothing is raised: a message must not
        fail the step that sends it.
    """
    if not rules.to:
        return []
    path = folder / f"{message.key}.json"
    try:
        # Of two processes that meet the same thing one sends; the other need not wait for it.
        with locked(folder / "sending.lock", "", rules.timeout_s, lambda _: "busy"):
            reached = _reached(path)
            numbers = [number for number in range(len(rules.to)) if number not in reached]
            if not numbers:
                return []
            addresses = [rules.to[number] for number in numbers]
            reasons = send(message, addresses, environment, rules.timeout_s)
            outcome = dict(zip(numbers, reasons, strict=True))
            reached |= {number for number, reason in outcome.items() if reason is None}
            if reached:
                facts = {"subject": message.subject, "at": at, "reached": sorted(reached)}
                write_text(path, json.dumps(facts) + "\n")
    except (OSError, HourglassError) as error:
        kind = error.strerror if isinstance(error, OSError) else "another process is sending"
        return [f"nobody was told of {message.key}: {kind}"]
    return [
        f"{named(number, rules.to[number])} was not told of {message.key}: {reason}"
        for number, reason in outcome.items()
        if reason is not None
    ]


def _reached(path: Path) -> set[int]:
    """Numbers of the addresses that had the message; a damaged note knows of none."""
    with suppress(OSError, ValueError, TypeError, KeyError):
        return set(json.loads(path.read_text(encoding="utf-8"))["reached"])
    return set()
