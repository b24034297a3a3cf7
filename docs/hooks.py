"""What MkDocs calls while it builds the site."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

# MkDocs imports this file by its path: the project's packages lie beside docs/.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from docs.generate import expand

# What a browser would load by itself from another host.
_LOADED = re.compile(r"<(?:script|img|iframe|link)\b[^>]*\b(?:src|href)=\"?https?://[^\">\s]+")


def on_page_markdown(markdown: str, **_context: Any) -> str:  # noqa: ANN401 - MkDocs' own types
    """Put generated tables in the place of their markers."""
    return expand(markdown)


def on_post_page(output: str, page: Any, **_context: Any) -> str:  # noqa: ANN401 - as above
    """Refuse a page that needs another host when it is read.

    Raises:
        ValueError: naming the page and what it would load.
    """
    loaded = _LOADED.search(output)
    if loaded:
        raise ValueError(f"{page.file.src_uri} loads from another host: {loaded[0]}")
    return output
