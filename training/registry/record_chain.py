"""The chain of all records that act, and its head, which the registry holds beside the champion.

Decisions, answers, promotions, rollbacks, the first champion, and findings of the monitor that
replaced a model are linked in the order in which they were made.  ``<work>/decisions/chain.jsonl``
has one link a line; each names a record by file and SHA-256, and the link before it by digest.
Number and digest of the last link are a tag of the registered model in MLflow.  Whoever acts goes
back from there, so removing, changing, reordering or adding a record shows to all who cannot write
to the registry too.

Three rows in (a decision, an answer, a promotion)::

    {"file": "decisions/2016-...json", "kind": "decision", "n": 1, "previous": "<digest of link 0>"}
    {"file": "decisions/approval-...", "kind": "approval", "n": 2, "previous": "<digest of link 1>"}
    {"file": "decisions/promotion-..", "kind": "promotion", "n": 3, "previous": "<digest of 2>"}

and the tag ``record_chain`` says ``3:<digest of link 3>``.

What is verified when.  Whoever acts verifies a tail of the chain, and what that costs does not grow
with the chain: the last ``RECENT`` links and all back to the record at hand and to those that still
lie in the folder; that each of their records is there; the contents of the last ``RECENT``, of all
since the record at hand, and of the changes of what is live among them.  The last link names the
last change of what is live, however long ago that was.  ``chain_problem``, which the report shows,
verifies every link, that every record is there, and the contents of every change of what is live;
``anchor`` reads every record.  So of a record that nobody acts by any more the report tells that it
is gone, and the next act does not.  What lies more than ``RECENT`` links back is filed away
(`pipeline.sealed_json`), many at a time; links go on naming it where it was written.

What holds.  Without a key: whoever can write to both the files and the registry can make another
chain.  With a key (``HOURGLASS_RECORD_KEY``) every link is signed too, and such a person without
the key can forge no link; but they can put files and registry back together to an earlier state of
both, and no check here shows that.  Whoever has the key can do anything.

A kill between writing a record and moving the head leaves one link too many.  It never took effect:
the next command that acts removes it, sets its record aside, and goes on as if it had not been.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from pipeline.errors import HourglassError, UsageError
from pipeline.files import flush, names_in
from pipeline.sealed_json import (
    all_records,
    file_each_away,
    find_record,
    folder_of,
    is_record,
    read_where_it_lies,
    record_names,
)
from pipeline.text.wording import counted, verb
from training.registry.champion_record import read_event
from training.registry.journal import (
    ANCHOR,
    KEY_VARIABLE,
    REMEDY,
    BrokenChainError,
    Links,
    all_links,
    append,
    check_signatures,
    drop_unconfirmed,
    is_signed,
    last_links,
    link_line,
    parse_head,
    write_journal,
)
from training.registry.mlflow_registry import (
    LiveModel,
    Registry,
    chain_head,
    champion,
    set_chain_head,
)

__all__ = [
    "KEY_VARIABLE",
    "BrokenChainError",
    "Chain",
    "anchor",
    "chain_problem",
    "is_linked",
    "link_record",
    "record_key",
    "refuse_unlinked",
    "verified_chain",
]

JOURNAL = "chain.jsonl"
MONITOR_FOLDER: Final = "monitor"  # of the work folder: what the monitor found
# Links of versions before name records in it, so none of them is ever moved.
FORMER_MONITOR_FOLDER: Final = "watch"
UNLINKED = "unlinked"  # below the decisions: records that no link names
RECENT = 1000  # links that every act reads, and their records; of older ones, what it needs
_LEAST_KEY_CHARS = 16
_LIVE = ("bootstrap", "promotion", "rollback")
_CHANGE = "live"  # in a link: the last change of what is live, up to the link itself


@dataclass(frozen=True)
class Chain:
    """A verified chain; ``digests`` is the SHA-256 of every linked record by its file.

    Of a tail, they are of the records that it names.  Files are named from the work folder on.
    ``voided`` were there when somebody accepted a broken chain, so nobody knows what was decided
    about them since.
    """

    n: int
    head: str
    digests: Mapping[str, str]
    numbers: Mapping[str, int]  # of the link that first named the file
    voided: frozenset[str] = frozenset()
    # File and SHA-256 of the last change of what is live, after all that a person took as found.
    change: tuple[str, str] | None = None
    is_whole: bool = True


def record_key() -> bytes | None:
    """The key that links are signed with; None where the environment has none.

    Raises:
        UsageError: it is too short to be one.
    """
    text = os.environ.get(KEY_VARIABLE, "")
    if not text:
        return None
    if len(text) < _LEAST_KEY_CHARS:
        raise UsageError(
            f"{KEY_VARIABLE} has {len(text)} characters: use at least {_LEAST_KEY_CHARS}, "
            "as `openssl rand -hex 32` makes them"
        )
    return text.encode()


def verified_chain(
    registry: Registry, *, since: str | None = None, naming: Iterable[str] = ()
) -> Chain:
    """Verify the chain from the registry's head back; the caller holds the lock of the live model.

    How far back is said above.  A lake from before there was a chain gets one over the records that
    it has.  What a killed command left behind is set aside.  People read on stderr what was begun
    or set aside.

    Args:
        registry: holds the head.
        since: file of a record; the contents of all that were linked from it on are read.
        naming: files of further records that must be among ``digests`` if they are linked; those
            that are not, and would count though they are filed away, are set aside too.

    Raises:
        BrokenChainError: naming the record or link that is missing, changed or not in its order.
        UsageError: the key is too short.
        HourglassError: MLflow cannot be read.
    """
    key, records, head = record_key(), registry.records, chain_head(registry)
    journal = records / JOURNAL
    if head is None:
        return _begun(registry, journal, key)
    listing = _listing(records)
    wanted = listing.union(naming, [] if since is None else [since])
    links = last_links(journal, head, _enough(wanted))
    if not links.is_whole and _began_unsigned(links, key):
        links = all_links(journal, head)  # what came before says whether that may be
    chain = _checked(records, head, links, listing, since, key)
    if not chain.is_whole and not _is_linked_champion(registry, chain, champion(registry)):
        links = all_links(journal, head)  # it is refused, or became live long ago
        chain = _checked(records, head, links, listing, since, key)
    _refuse_unlinked_champion(registry, chain)
    drop_unconfirmed(journal, links.end)
    _set_aside(records, chain, wanted)
    _file_away_old(records, chain, listing)
    return chain


def chain_problem(registry: Registry) -> str | None:
    """What is wrong with the whole chain, in a sentence; None where it is.  Changes nothing."""
    records = registry.records
    try:
        key, head = record_key(), chain_head(registry)
        if head is not None:
            links = all_links(records / JOURNAL, head)
            listing = _whole_listing(records)
            _checked(records, head, links, listing, None, key)
        elif _first_anchor(_lines(records / JOURNAL)) is None:
            raise _headless(registry)
    except HourglassError as error:
        return str(error)
    return None


def link_record(registry: Registry, chain: Chain, record: Path, kind: str) -> Chain:
    """Link a record that was just written, then move the head; one that is linked already stays.

    Returns:
        The chain with the record.
    """
    file = _file_of(record)
    sha256 = _sha256(record)
    if chain.digests.get(file) == sha256:
        return chain
    change = (file, sha256) if _is_change(file) else chain.change
    content = {"kind": kind, "file": file, "sha256": sha256, _CHANGE: change}
    line, link = link_line(content, chain.n + 1, chain.head, record_key())
    append(registry.records / JOURNAL, line)
    set_chain_head(registry, f"{link.n}:{link.digest}")
    return replace(
        chain,
        n=link.n,
        head=link.digest,
        digests={**chain.digests, file: sha256},
        numbers={file: link.n, **chain.numbers},
        change=change,
    )


def anchor(registry: Registry, by: str, why: str, at: str) -> str:
    """Begin to sign a whole chain, or accept what is left of a broken one; a person's act.

    Decisions that lie there when a broken chain is accepted are promoted no more: what else was
    decided about them may be lost.  The old links are kept beside the new ones.

    Returns:
        What was done, in a sentence.

    Raises:
        HourglassError: nobody or nothing is named, or MLflow cannot be read.
    """
    if not by.strip() or not why.strip():
        raise HourglassError("an anchor needs a name and a reason: pass --by and --why")
    key, records = record_key(), registry.records
    journal, head = records / JOURNAL, chain_head(registry)
    broken: str | None = None
    n, previous = -1, ""
    try:
        if head is None:
            raise BrokenChainError("MLflow has no head of the chain")
        links = all_links(journal, head)
        n, previous = links.links[-1].n, links.links[-1].digest
        if key is None and is_signed(links.links):
            raise BrokenChainError("the links before this one are signed, and there is no key")
        if is_signed(links.links):
            check_signatures(links.links, key)
        chain, listing = _chain_of(links, head), _whole_listing(records)
        _refuse_missing(records.parent, chain, listing)
        _refuse_changed(records.parent, chain, None, len(chain.digests))
        _refuse_unlinked_champion(registry, chain)
        drop_unconfirmed(journal, links.end)
        _set_aside(records, chain, listing)
    except BrokenChainError as error:
        broken = str(error)
        with suppress(BrokenChainError):
            n, previous = (-1, "") if head is None else parse_head(head)
    begins = head is None and not journal.exists()
    content = _anchor_content(records, by=by, why=why, at=at)
    if broken is not None and not begins:
        content["broken"] = broken
    line, link = link_line(content, n + 1, previous, key)
    if broken is None:
        data = journal.read_bytes() + line
    else:
        if journal.exists():
            name = hashlib.sha256(journal.read_bytes()).hexdigest()[:12]
            journal.rename(records / f"chain-until-{name}.jsonl")
        data = line
    write_journal(journal, data)
    set_chain_head(registry, f"{link.n}:{link.digest}")
    count = len(content["records"])
    what = "begun" if begins else "accepted as it is" if broken is not None else "whole"
    signed = ", and is signed from here on" if key else ""
    note = f"; it was broken: {broken}" if broken is not None and not begins else ""
    return f"the chain over {counted(count, 'record')} in {records} is {what}{signed}{note}"


def refuse_unlinked(
    chain: Chain, records: Path, record: Path, sha256: str, acts: bool = True
) -> None:
    """Let a record pass that the chain names, with these contents.

    Args:
        chain: verified.
        records: folder of the decisions.
        record: as it was named.
        sha256: of what was read.
        acts: whether it is to be carried out; else it only counts.

    Raises:
        BrokenChainError: it does not, or somebody accepted a broken chain after the record.
    """
    file = _file_of(record)
    if folder_of(record.resolve()) != records.resolve():
        raise BrokenChainError(
            f"{record} does not lie in {records}, so its answers and what voids it are not beside "
            "it: name the one there"
        )
    if file not in chain.digests:
        raise BrokenChainError(
            f"{record.name} is not in the chain of records: it was not made by a command here, or "
            "the command was killed: run hourglass gate again"
        )
    if chain.digests[file] != sha256:
        raise BrokenChainError(f"{record.name} was changed after it was linked: {REMEDY}")
    if acts and file in chain.voided:
        raise BrokenChainError(
            f"{record.name} was there when a broken chain was accepted, so what was decided about "
            "it since is not known: run hourglass gate again"
        )


def is_linked(registry: Registry, record: Path) -> bool:
    """Whether the chain, which is verified, names a record with what it holds now.

    Raises:
        BrokenChainError, UsageError, HourglassError: as `verified_chain`.
    """
    file = _file_of(record)
    chain = verified_chain(registry, naming=[file])
    return chain.digests.get(file) == _sha256(record)


def _enough(wanted: Iterable[str]) -> Callable[[int, Mapping[str, Any]], bool]:
    """Whether links, read from the last one back, name what is wanted and the last change."""
    missing, knows_change = set(wanted), False

    def is_enough(count: int, link: Mapping[str, Any]) -> bool:
        nonlocal knows_change
        is_anchor = link["kind"] == ANCHOR
        missing.difference_update(link["records"] if is_anchor else (link["file"],))
        knows_change |= is_anchor or _CHANGE in link or _is_change(link["file"])
        return count >= RECENT and knows_change and not missing

    return is_enough


def _began_unsigned(links: Links, key: bytes | None) -> bool:
    signs = key is not None or is_signed(links.links)
    return signs and not is_signed(links.links[:1])


def _checked(
    records: Path,
    head: str,
    links: Links,
    listing: set[str],
    since: str | None,
    key: bytes | None,
) -> Chain:
    check_signatures(links.links, key)
    chain = _chain_of(links, head)
    _refuse_missing(records.parent, chain, listing)
    _refuse_changed(records.parent, chain, since, RECENT)
    return chain


def _lines(journal: Path) -> list[bytes]:
    return journal.read_bytes().splitlines(keepends=True) if journal.exists() else []


def _headless(registry: Registry) -> BrokenChainError:
    return BrokenChainError(
        f"MLflow has no tag `record_chain` of {registry.name}, but {registry.records / JOURNAL} "
        "holds links: MLflow's store is another one or an older one, or the tag was removed: put "
        "it back from a copy, or accept what is there with `hourglass anchor --by NAME --why TEXT`"
    )


def _begun(registry: Registry, journal: Path, key: bytes | None) -> Chain:
    """The first anchor, over what lies there; one that a kill left without a head is made again."""
    records = registry.records
    before = _first_anchor(_lines(journal))
    if before is None:
        raise _headless(registry)
    content = _anchor_content(records, by="", why="", at=None)
    count = len(content["records"])
    if key is not None and (count or champion(registry) is not None):
        were = verb(count, "was", "were")
        raise BrokenChainError(
            f"{counted(count, 'record')} in {records} {were} never signed: look at them, "
            "then begin with `hourglass anchor --by NAME --why TEXT`"
        )
    for file, sha256 in before.items():
        if content["records"].get(file) != sha256:
            raise BrokenChainError(
                f"{file}: missing or changed since the chain of records was begun: {REMEDY}"
            )
    line, link = link_line(content, 0, "", key)
    write_journal(journal, line)
    head = f"0:{link.digest}"
    set_chain_head(registry, head)
    if count:
        _print_line(
            f"the chain of records begins here: {counted(count, 'record')} in {records} "
            f"{verb(count, 'is', 'are')} taken as found; from now on a removal or change shows"
        )
    return _chain_of(Links([link], len(line), True), head)


def _first_anchor(lines: list[bytes]) -> dict[str, str] | None:
    """What a first anchor without a head names; None where the journal holds anything else."""
    if not lines:
        return {}
    try:
        link = json.loads(lines[0])
        is_first = link["kind"] == ANCHOR and link["n"] == 0 and "broken" not in link
        return dict(link["records"]) if is_first and len(lines) == 1 else None
    except (ValueError, KeyError, TypeError):
        return None


def _anchor_content(records: Path, **facts: object) -> dict[str, Any]:
    named = [*all_records(records)]
    for folder in (FORMER_MONITOR_FOLDER, MONITOR_FOLDER):
        named += _replacing_monitor_records(records.parent / folder)
    # Of two copies of a record the one that is read: where it was written, if it lies there.
    digests = {_file_of(path): _sha256(folder_of(path) / path.name) for path in sorted(named)}
    return {"kind": ANCHOR, "records": digests, **facts}


def _replacing_monitor_records(folder: Path) -> Iterator[Path]:
    """Findings of the monitor that replaced a model; others are no acts, and are not linked."""
    for path in all_records(folder):
        if b'"outcome": "replaced"' in read_where_it_lies(path)[1]:
            yield path


def _chain_of(links: Links, head: str) -> Chain:
    digests: dict[str, str] = {}
    numbers: dict[str, int] = {}
    voided: frozenset[str] = frozenset()
    change: tuple[str, str] | None = None
    for link in links.links:
        named = link.records
        if link.is_anchor:
            digests = {}  # what a person accepted replaces what was
            change = None
            if "broken" in link.content:
                voided = frozenset(named)
        for file, sha256 in named.items():
            digests[file] = sha256
            numbers.setdefault(file, link.n)
            if not link.is_anchor and _is_change(file):
                change = file, sha256
        if link.content.get(_CHANGE):
            file, sha256 = link.content[_CHANGE]
            change = file, sha256
    number, digest = parse_head(head)
    return Chain(number, digest, digests, numbers, voided, change, links.is_whole)


def _is_change(file: str) -> bool:
    return file.rpartition("/")[2].startswith(_LIVE)


def _listing(records: Path) -> set[str]:
    """Records that are not filed away, named as in links."""
    return {f"{records.name}/{name}" for name in names_in(records) if is_record(Path(name))}


def _whole_listing(records: Path) -> set[str]:
    """All records, also those that are filed away."""
    return {f"{records.name}/{name}" for name in record_names(records)}


def _refuse_missing(work: Path, chain: Chain, listing: set[str]) -> None:
    missing = [
        file
        for file in sorted(chain.digests.keys() - listing, key=lambda file: chain.numbers[file])
        if find_record(work / file) is None
    ]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise BrokenChainError(
            f"{missing[0]}{more}: missing, though the chain of records names it as link "
            f"{chain.numbers[missing[0]]}: {REMEDY}"
        )


def _refuse_changed(work: Path, chain: Chain, since: str | None, recent: int) -> None:
    files = list(chain.digests)
    begins = max(0, len(files) - recent)
    if since is not None and since in chain.digests:
        begins = min(begins, files.index(since))
    for at, (file, sha256) in enumerate(chain.digests.items()):
        if at >= begins or _is_change(file):
            _refuse_other(work, file, sha256, f"link {chain.numbers[file]}")
    if chain.change is not None and chain.change[0] not in chain.digests:
        _refuse_other(work, *chain.change, "the last change of what is live")


def _refuse_other(work: Path, file: str, sha256: str, what: str) -> None:
    """Let a record pass that is there with the contents that a link names."""
    try:
        _, data = read_where_it_lies(work / file)
    except OSError as error:
        raise BrokenChainError(f"{file}: cannot be read ({error.strerror}): {REMEDY}") from error
    if hashlib.sha256(data).hexdigest() != sha256:
        raise BrokenChainError(
            f"{file}: changed after it was written as {what} of the chain of records: {REMEDY}"
        )


def _is_linked_champion(registry: Registry, chain: Chain, live: LiveModel | None) -> bool:
    """Whether a tail of the chain shows that what is live became so by the last change of it."""
    if live is None:
        return True
    if chain.change is None:
        return f"{registry.records.name}/{live.champion_record}" in chain.digests
    return live.champion_record is not None and live.champion_record in _last_records(
        registry.records, chain.change[0]
    )


def _last_records(records: Path, change: str) -> tuple[str, str | None]:
    """The record of a change and the one before: one that was cut short has not moved the alias."""
    name = change.rpartition("/")[2]
    return name, read_event(records / name).after


def _refuse_unlinked_champion(registry: Registry, chain: Chain) -> None:
    """What is live became so by a record of the chain, or before there were records."""
    live = champion(registry)
    if live is None or (not chain.is_whole and _is_linked_champion(registry, chain, live)):
        return
    record = registry.records / str(live.champion_record)
    file = f"{registry.records.name}/{live.champion_record}"
    if file not in chain.digests and find_record(record) is not None:
        raise BrokenChainError(
            f"{file} made {live.model_id} live, but is in no chain of records: an older version of "
            "the code or a hand did it; accept that with `hourglass anchor --by NAME --why TEXT`, "
            "or put MLflow's store back from a copy"
        )
    if chain.change is not None:
        name, before = _last_records(registry.records, chain.change[0])
        if live.champion_record not in (name, before) or live.champion_record is None:
            raise BrokenChainError(
                f"{live.model_id} is live in MLflow, but the last change of what is live is {name}:"
                " the alias champion was moved by other means; accept that with `hourglass anchor "
                "--by NAME --why TEXT`, or put MLflow's store back from a copy"
            )


def _set_aside(records: Path, chain: Chain, files: set[str]) -> None:
    """Move records that no link names where nothing looks for them."""
    target, extra = records / UNLINKED, False
    for file in sorted(files - chain.digests.keys()):
        name = Path(file).name
        if file != f"{records.name}/{name}" or not is_record(Path(name)):
            continue
        while (path := find_record(records / name)) is not None:
            target.mkdir(exist_ok=True)
            path.replace(target / name)
            extra = True
            _print_line(
                f"{name} is in no chain of records (its command was killed, or it was put there by "
                f"hand): it counts for nothing, and lies in {records.name}/{UNLINKED} now"
            )
    if extra:
        flush(records)


def _file_away_old(records: Path, chain: Chain, listing: set[str]) -> None:
    """File away what was linked long ago, so that the folder stays short; many at a time."""
    linked = sorted(listing & chain.digests.keys(), key=lambda file: chain.numbers[file])
    if linked and chain.numbers[linked[0]] <= chain.n - 2 * RECENT:
        old = (file for file in linked if chain.numbers[file] <= chain.n - RECENT)
        file_each_away(records.parent / file for file in old)


def _sha256(record: Path) -> str:
    """Of a record's bytes, wherever it lies by now."""
    return hashlib.sha256(read_where_it_lies(record)[1]).hexdigest()


def _file_of(record: Path) -> str:
    """A record as links name it: its folder, which lies in the work folder, and its name."""
    return f"{folder_of(record).name}/{record.name}"


def _print_line(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)
