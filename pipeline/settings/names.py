"""Names that become part of a path: one check for all of them."""

from __future__ import annotations

import re

from pipeline.errors import UsageError

_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


def is_plain(text: str) -> bool:
    """Whether a text is one plain name: it leads neither out of its folder nor into a hidden one.

    Letters, digits, underscore, point and hyphen; neither a point nor a hyphen comes first.
    """
    return _PLAIN.fullmatch(text) is not None


def plain_name(option: str, text: str) -> str:
    """The value of an option that names something in a folder, as it was given.

    Args:
        option: what people know the value by, such as ``--dataset``.
        text: the value.

    Raises:
        UsageError: it is no plain name.
    """
    if not is_plain(text):
        raise UsageError(
            f"{option} {text!r} is not an id: write one name of letters, digits, underscore, "
            "point and hyphen, no path"
        )
    return text
