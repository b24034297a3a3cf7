"""Robots that say so: user agents on the public list of the package crawler-user-agents."""

from __future__ import annotations

from functools import lru_cache
from importlib.metadata import version

_LIST = "crawler-user-agents"
# Most records come from a few thousand programs.
_REMEMBERED_AGENTS = 1 << 14


@lru_cache(_REMEMBERED_AGENTS)
def is_robot(user_agent: str) -> bool:
    """Whether the list has the program that calls itself so."""
    from crawleruseragents import is_crawler

    return bool(is_crawler(user_agent))


def list_version() -> str:
    """Which version of the list decides."""
    return version(_LIST)
