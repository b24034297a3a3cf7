"""The journal of the chain of records: its links, one JSON object a line, read from its end.

The head, which the registry holds, names the last link by number and digest; each link names the
one before it by digest.  So a tail of the journal proves itself, and how much of it is read is for
the reader to say: an hour reads what it needs, however long the journal is.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import HourglassError
from pipeline.files import flush, written_whole

KEY_VARIABLE = "HOURGLASS_RECORD_KEY"
ANCHOR = "anchor"
REMEDY = (
    "put the folder `decisions` back from a copy made since, or accept what is there with "
    "`hourglass anchor --by NAME --why TEXT`"
)
_BLOCK_BYTES = 1 << 16


class BrokenChainError(HourglassError):
    """Records are missing, changed, reordered, or not those that the registry's head names."""


@dataclass(frozen=True)
class Link:
    """A line of the journal: what it says, and its digest."""

    content: Mapping[str, Any]
    digest: str

    @property
    def n(self) -> int:
        """Its number; the first is 0."""
        return int(self.content["n"])

    @property
    def is_anchor(self) -> bool:
        """Whether it names all records that lay there then."""
        return bool(self.content["kind"] == ANCHOR)

    @property
    def records(self) -> dict[str, str]:
        """SHA-256 of each record that it names, by its file."""
        if self.is_anchor:
            return dict(self.content["records"])
        return {self.content["file"]: self.content["sha256"]}


@dataclass(frozen=True)
class Links:
    """Links up to the head, in order; ``end`` is where they end in the file."""

    links: Sequence[Link]
    end: int
    is_whole: bool  # from the first on


def all_links(journal: Path, head: str) -> Links:
    """Every link up to the head.

    Raises:
        BrokenChainError: they do not lead there, or more than a kill can leave follows.
    """
    number, wanted = parse_head(head)
    try:
        lines = journal.read_bytes().splitlines(keepends=True)
    except OSError as error:
        raise BrokenChainError(
            f"{journal}: missing, though MLflow says that it has {number + 1} links: {REMEDY}"
        ) from error
    links: list[Link] = []
    end = 0
    for at, line in enumerate(lines):
        link = _parse(line)
        if link is None:
            raise BrokenChainError(f"{journal}: line {at + 1} is no link: {REMEDY}")
        if links and not _follows(link, links[-1]):
            name = link.content.get("file", "an anchor")
            raise BrokenChainError(
                f"{journal}: line {at + 1} ({name}) does not follow the link before it: one was "
                f"removed, changed or moved: {REMEDY}"
            )
        links.append(link)
        end += len(line)
        if link.n == number and link.digest == wanted:
            _refuse_older_head(journal, len(lines) - at - 1)
            return Links(links, end, True)
    last = links[-1].n if links else -1
    raise BrokenChainError(
        f"{journal}: link {number}, which MLflow names as the last, is not there (the file ends "
        f"with link {last}): links were removed or changed: {REMEDY}"
    )


def last_links(
    journal: Path, head: str, is_enough: Callable[[int, Mapping[str, Any]], bool]
) -> Links:
    """As many links up to the head as are enough, read from the end of the file.

    Args:
        journal: the file.
        head: of the registry.
        is_enough: is told how many links were read and what the last one read says, the head's
            first; reading ends where it agrees.

    Raises:
        BrokenChainError: as `all_links`, which also finds the words for what is wrong.
    """
    backwards: list[Link] = []
    end = 0
    try:
        for at, (start, line) in enumerate(_lines_back(journal)):
            link = _parse(line)
            if not backwards and (link is None or (link.n, link.digest) != parse_head(head)):
                if at:
                    break
                continue  # one that was never confirmed may follow the head
            if link is None or (backwards and not _follows(backwards[-1], link)):
                break
            end = end or start + len(line)
            backwards.append(link)
            if start == 0 or is_enough(len(backwards), link.content):
                return Links(backwards[::-1], end, start == 0)
    except OSError:
        pass
    return all_links(journal, head)


def _lines_back(journal: Path) -> Iterator[tuple[int, bytes]]:
    """Lines with the place where each begins, last one first."""
    with journal.open("rb") as file:
        start, rest = file.seek(0, os.SEEK_END), b""
        while start > 0:
            size = min(_BLOCK_BYTES, start)
            start -= size
            file.seek(start)
            first, *lines = (file.read(size) + rest).splitlines(keepends=True)
            at = start + len(first) + sum(map(len, lines))
            for line in reversed(lines):
                at -= len(line)
                yield at, line
            rest = first
        if rest:
            yield 0, rest


def _parse(line: bytes) -> Link | None:
    try:
        content = json.loads(line)
        int(content["n"]), str(content["previous"])
    except (ValueError, KeyError, TypeError):
        return None
    return Link(content, hashlib.sha256(line).hexdigest())


def _follows(link: Link, before: Link) -> bool:
    return bool(link.content["previous"] == before.digest and link.n == before.n + 1)


def _refuse_older_head(journal: Path, after: int) -> None:
    """A kill leaves one link too many, whole or not; more were confirmed once."""
    if after > 1:
        raise BrokenChainError(
            f"{journal}: {after} links follow the last that MLflow names: an older state of "
            "MLflow's store was put back: put the newer one back, or accept what is there with "
            "`hourglass anchor --by NAME --why TEXT`"
        )


def is_signed(links: Sequence[Link]) -> bool:
    """Whether any of them is signed."""
    return any("mac" in link.content for link in links)


def check_signatures(links: Sequence[Link], key: bytes | None) -> None:
    """From the first signed link on, all are; with a key, there is one.

    Raises:
        BrokenChainError: naming the link that is not.
    """
    first = next((at for at, link in enumerate(links) if "mac" in link.content), None)
    if key is None:
        if first is not None:
            raise BrokenChainError(
                f"the chain of records is signed: set {KEY_VARIABLE} to the key that signed it"
            )
        return
    if first is None:
        raise BrokenChainError(
            f"{KEY_VARIABLE} is set, but no link of the chain of records is signed: look at the "
            "records, then begin with `hourglass anchor --by NAME --why TEXT`"
        )
    for link in links[first:]:
        if not hmac.compare_digest(str(link.content.get("mac", "")), _mac(link.content, key)):
            raise BrokenChainError(
                f"link {link.n} ({link.content.get('file', 'an anchor')}) is not signed with the "
                f"key in {KEY_VARIABLE}: {REMEDY}"
            )


def link_line(
    content: Mapping[str, Any], n: int, previous: str, key: bytes | None
) -> tuple[bytes, Link]:
    """A line of the journal, and the link that it is."""
    link = {**content, "n": n, "previous": previous}
    if key is not None:
        link["mac"] = _mac(link, key)
    line = (json.dumps(link, sort_keys=True) + "\n").encode()
    return line, Link(link, hashlib.sha256(line).hexdigest())


def _mac(link: Mapping[str, Any], key: bytes) -> str:
    covered = {name: value for name, value in link.items() if name != "mac"}
    text = json.dumps(covered, sort_keys=True)
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def parse_head(head: str) -> tuple[int, str]:
    """Number and digest of the last link.

    Raises:
        BrokenChainError: the tag says neither.
    """
    number, _, digest = head.partition(":")
    if not number.isdecimal() or not digest:
        raise BrokenChainError(
            f"MLflow's tag `record_chain` is {head!r}, no number and digest: {REMEDY}"
        )
    return int(number), digest


def append(journal: Path, line: bytes) -> None:
    """Add a link, durably."""
    with journal.open("ab") as out:
        out.write(line)
        out.flush()
        os.fsync(out.fileno())


def write_journal(journal: Path, data: bytes) -> None:
    """Write the whole file anew, durably."""
    written_whole(journal, lambda path: path.write_bytes(data))
    flush(journal)
    flush(journal.parent)


def drop_unconfirmed(journal: Path, end: int) -> None:
    """Remove a link that the head never named."""
    if journal.stat().st_size > end:
        with journal.open("r+b") as file:
            file.truncate(end)
            file.flush()
            os.fsync(file.fileno())
