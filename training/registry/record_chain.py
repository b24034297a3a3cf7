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

What holds.  Without a key: whoever can write to both the files and the registry can make another
chain.  With a key (``HOURGLASS_RECORD_KEY``) every link is signed too, and such a person without
the key can forge no link; but they can put files and registry back together to an earlier state of
both, and no check here shows that.  Whoever has the key can do anything.

A kill between writing a record and moving the head leaves one link too many.  It never took effect:
the next command that acts removes it, sets its record aside, and goes on as if it had not been.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.errors import HourglassError, UsageError
from pipeline.files import flush, written_whole
from pipeline.sealed_json import is_record
from pipeline.text.wording import counted, verb
from training.registry.champion_record import read_event
from training.registry.mlflow_registry import Registry, chain_head, champion, set_chain_head

JOURNAL = "chain.jsonl"
MONITOR_FOLDER = "monitor"  # of the work folder: what the monitor found
# Links of versions before name records in it, so none of them is ever moved.
FORMER_MONITOR_FOLDER = "watch"
UNLINKED = "unlinked"  # below the decisions: records that no link names
KEY_VARIABLE = "HOURGLASS_RECORD_KEY"
ANCHOR = "anchor"
RECENT = 1000  # links whose records are read at every act; of older ones, that they are there
_LEAST_KEY_CHARS = 16
_LIVE = ("bootstrap", "promotion", "rollback")
_REMEDY = (
    "put the folder `decisions` back from a copy made since, or accept what is there with "
    "`hourglass anchor --by NAME --why TEXT`"
)


class BrokenChainError(HourglassError):
    """Records are missing, changed, reordered, or not those that the registry's head names."""


@dataclass(frozen=True)
class Chain:
    """A verified chain; ``digests`` is the SHA-256 of every linked record by its file.

    Files are named from the work folder on.  ``voided`` were there when somebody accepted a broken
    chain, so nobody knows what was decided about them since.
    """

    n: int
    head: str
    digests: Mapping[str, str]
    numbers: Mapping[str, int]  # of the link that first named the file
    voided: frozenset[str] = frozenset()
    anchored: int = 0  # of the link that took all before it as found


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


def verified_chain(registry: Registry, *, since: str | None = None) -> Chain:
    """Verify the chain from the registry's head back; the caller holds the lock of the live model.

    Records of the last ``RECENT`` links are read, those of live changes in any case.  A lake from
    before there was a chain gets one over the records that it has.  What a killed command left
    behind is set aside.  People read on stderr what was begun or set aside.

    Args:
        registry: holds the head.
        since: file of a record; the contents of all that were linked from it on are read.

    Raises:
        BrokenChainError: naming the record or link that is missing, changed or not in its order.
        UsageError: the key is too short.
        HourglassError: MLflow cannot be read.
    """
    key, records, head = record_key(), registry.records, chain_head(registry)
    journal = records / JOURNAL
    if head is None:
        return _begun(registry, journal, key)
    chain, offset, listing = _checked(registry, head, since, key)
    _refuse_unlinked_champion(registry, chain, listing)
    _drop_unconfirmed(journal, offset)
    _set_aside(records, chain, listing)
    return chain


def chain_problem(registry: Registry) -> str | None:
    """What is wrong with the chain, in a sentence; None where it is whole.  Changes nothing."""
    try:
        key, head = record_key(), chain_head(registry)
        if head is not None:
            _checked(registry, head, None, key)
        elif _first_anchor(_lines(registry.records / JOURNAL)) is None:
            raise _headless(registry)
    except HourglassError as error:
        return str(error)
    return None


def link_record(registry: Registry, chain: Chain, record: Path, kind: str) -> Chain:
    """Link a record that was just written, then move the head; one that is linked already stays.

    Returns:
        The chain with the record.
    """
    file = _file_of(registry.records, record)
    sha256 = hashlib.sha256(record.read_bytes()).hexdigest()
    if chain.digests.get(file) == sha256:
        return chain
    content = {"kind": kind, "file": file, "sha256": sha256}
    line, digest = _link(content, chain.n + 1, chain.head, record_key())
    with (registry.records / JOURNAL).open("ab") as out:
        out.write(line)
        out.flush()
        os.fsync(out.fileno())
    set_chain_head(registry, f"{chain.n + 1}:{digest}")
    return replace(
        chain,
        n=chain.n + 1,
        head=digest,
        digests={**chain.digests, file: sha256},
        numbers={file: chain.n + 1, **chain.numbers},
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
        links, offset = _confirmed(journal, head)
        n, previous = links[-1][0]["n"], links[-1][1]
        if key is None and any("mac" in link for link, _ in links):
            raise BrokenChainError("the links before this one are signed, and there is no key")
        if any("mac" in link for link, _ in links):
            _check_signatures(links, key)
        chain = _chain_of(links, head)
        listing = _listing(records, chain)
        _refuse_missing(chain, listing)
        _refuse_changed(records.parent, chain, None, len(chain.digests))
        _refuse_unlinked_champion(registry, chain, listing)
        _drop_unconfirmed(journal, offset)
        _set_aside(records, chain, listing)
    except BrokenChainError as error:
        broken = str(error)
        with suppress(BrokenChainError):
            n, previous = (-1, "") if head is None else _parse_head(head)
    begins = head is None and not journal.exists()
    content = _anchor_content(records, by=by, why=why, at=at)
    if broken is not None and not begins:
        content["broken"] = broken
    line, digest = _link(content, n + 1, previous, key)
    if broken is None:
        data = journal.read_bytes() + line
    else:
        if journal.exists():
            name = hashlib.sha256(journal.read_bytes()).hexdigest()[:12]
            journal.rename(records / f"chain-until-{name}.jsonl")
        data = line
    _write_journal(journal, data)
    set_chain_head(registry, f"{n + 1}:{digest}")
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
    file = _file_of(records, record)
    if record.resolve().parent != records.resolve():
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
        raise BrokenChainError(f"{record.name} was changed after it was linked: {_REMEDY}")
    if acts and file in chain.voided:
        raise BrokenChainError(
            f"{record.name} was there when a broken chain was accepted, so what was decided about "
            "it since is not known: run hourglass gate again"
        )


def is_linked(chain: Chain, records: Path, record: Path) -> bool:
    """Whether the chain names a record, with what it holds now."""
    sha256 = hashlib.sha256(record.read_bytes()).hexdigest()
    return chain.digests.get(_file_of(records, record)) == sha256


def _checked(
    registry: Registry, head: str, since: str | None, key: bytes | None
) -> tuple[Chain, int, set[str]]:
    """The chain, where its last link ends in the journal, and the files there are."""
    records = registry.records
    links, offset = _confirmed(records / JOURNAL, head)
    _check_signatures(links, key)
    chain = _chain_of(links, head)
    listing = _listing(records, chain)
    _refuse_missing(chain, listing)
    _refuse_changed(records.parent, chain, since, RECENT)
    return chain, offset, listing


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
                f"{file}: missing or changed since the chain of records was begun: {_REMEDY}"
            )
    line, digest = _link(content, 0, "", key)
    _write_journal(journal, line)
    set_chain_head(registry, f"0:{digest}")
    if count:
        _print_line(
            f"the chain of records begins here: {counted(count, 'record')} in {records} "
            f"{verb(count, 'is', 'are')} taken as found; from now on a removal or change shows"
        )
    return _chain_of([(json.loads(line), digest)], f"0:{digest}")


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
    named = [records / name for name in _names(records) if is_record(Path(name))]
    for folder in (FORMER_MONITOR_FOLDER, MONITOR_FOLDER):
        named += _replacing_monitor_records(records.parent / folder)
    digests = {
        _file_of(records, path): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(named)
    }
    return {"kind": ANCHOR, "records": digests, **facts}


def _replacing_monitor_records(folder: Path) -> Iterator[Path]:
    """Findings of the monitor that replaced a model; others are no acts, and are not linked."""
    for name in sorted(_names(folder)):
        path = folder / name
        if is_record(path) and b'"outcome": "replaced"' in path.read_bytes():
            yield path


def _confirmed(journal: Path, head: str) -> tuple[list[tuple[dict[str, Any], str]], int]:
    """The links up to the head with their digests, and where they end in the file.

    Raises:
        BrokenChainError: they do not lead there, or more than a kill can leave follows.
    """
    number, wanted = _parse_head(head)
    try:
        lines = journal.read_bytes().splitlines(keepends=True)
    except OSError as error:
        raise BrokenChainError(
            f"{journal}: missing, though MLflow says that it has {number + 1} links: {_REMEDY}"
        ) from error
    links: list[tuple[dict[str, Any], str]] = []
    before, offset = "", 0
    for at, line in enumerate(lines):
        try:
            link = json.loads(line)
            n, previous = int(link["n"]), str(link["previous"])
        except (ValueError, KeyError, TypeError) as error:
            raise BrokenChainError(f"{journal}: line {at + 1} is no link: {_REMEDY}") from error
        if links and (previous != before or n != links[-1][0]["n"] + 1):
            name = link.get("file", "an anchor")
            raise BrokenChainError(
                f"{journal}: line {at + 1} ({name}) does not follow the link before it: one was "
                f"removed, changed or moved: {_REMEDY}"
            )
        before = hashlib.sha256(line).hexdigest()
        links.append((link, before))
        offset += len(line)
        if n == number and before == wanted:
            _refuse_older_head(journal, lines[at + 1 :])
            return links, offset
    last = links[-1][0]["n"] if links else -1
    raise BrokenChainError(
        f"{journal}: link {number}, which MLflow names as the last, is not there (the file ends "
        f"with link {last}): links were removed or changed: {_REMEDY}"
    )


def _refuse_older_head(journal: Path, after: list[bytes]) -> None:
    """A kill leaves one link too many, whole or not; more were confirmed once."""
    if len(after) > 1:
        raise BrokenChainError(
            f"{journal}: {len(after)} links follow the last that MLflow names: an older state of "
            "MLflow's store was put back: put the newer one back, or accept what is there with "
            "`hourglass anchor --by NAME --why TEXT`"
        )


def _chain_of(links: list[tuple[dict[str, Any], str]], head: str) -> Chain:
    digests: dict[str, str] = {}
    numbers: dict[str, int] = {}
    voided: frozenset[str] = frozenset()
    anchored = 0
    for link, _ in links:
        named = link["records"] if link["kind"] == ANCHOR else {link["file"]: link["sha256"]}
        if link["kind"] == ANCHOR:
            digests = {}  # what a person accepted replaces what was
            anchored = link["n"]
            if "broken" in link:
                voided = frozenset(named)
        for file, sha256 in named.items():
            digests[file] = sha256
            numbers.setdefault(file, link["n"])
    number, digest = _parse_head(head)
    return Chain(number, digest, digests, numbers, voided, anchored)


def _check_signatures(links: list[tuple[dict[str, Any], str]], key: bytes | None) -> None:
    """From the first signed link on, all are; with a key, there is one."""
    first = next((at for at, (link, _) in enumerate(links) if "mac" in link), None)
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
    for link, _ in links[first:]:
        if not hmac.compare_digest(str(link.get("mac", "")), _mac(link, key)):
            raise BrokenChainError(
                f"link {link['n']} ({link.get('file', 'an anchor')}) is not signed with the key in "
                f"{KEY_VARIABLE}: {_REMEDY}"
            )


def _listing(records: Path, chain: Chain) -> set[str]:
    """Files there are, named as in links; folders are read only where a link names one of them."""
    folders = {file.partition("/")[0] for file in chain.digests} | {records.name}
    return {f"{folder}/{name}" for folder in folders for name in _names(records.parent / folder)}


def _refuse_missing(chain: Chain, listing: set[str]) -> None:
    missing = sorted(chain.digests.keys() - listing, key=lambda file: chain.numbers[file])
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise BrokenChainError(
            f"{missing[0]}{more}: missing, though the chain of records names it as link "
            f"{chain.numbers[missing[0]]}: {_REMEDY}"
        )


def _refuse_changed(work: Path, chain: Chain, since: str | None, recent: int) -> None:
    files = list(chain.digests)
    begins = max(0, len(files) - recent)
    if since is not None and since in chain.digests:
        begins = min(begins, files.index(since))
    for at, (file, sha256) in enumerate(chain.digests.items()):
        if at < begins and not file.rpartition("/")[2].startswith(_LIVE):
            continue
        try:
            data = (work / file).read_bytes()
        except OSError as error:
            raise BrokenChainError(f"{file}: cannot be read ({error.strerror})") from error
        if hashlib.sha256(data).hexdigest() != sha256:
            raise BrokenChainError(
                f"{file}: changed after it was written as link {chain.numbers[file]} of the chain "
                f"of records: {_REMEDY}"
            )


def _refuse_unlinked_champion(registry: Registry, chain: Chain, listing: set[str]) -> None:
    """What is live became so by a record of the chain, or before there were records."""
    live = champion(registry)
    if live is None:
        return
    file = f"{registry.records.name}/{live.champion_record}"
    if file in listing and file not in chain.digests:
        raise BrokenChainError(
            f"{file} made {live.model_id} live, but is in no chain of records: an older version of "
            "the code or a hand did it; accept that with `hourglass anchor --by NAME --why TEXT`, "
            "or put MLflow's store back from a copy"
        )
    latest = max(
        (
            (n, file)
            for file, n in chain.numbers.items()
            if n > chain.anchored and file.rpartition("/")[2].startswith(_LIVE)
        ),
        default=(0, None),
    )[1]
    if latest is not None:
        name = latest.rpartition("/")[2]
        # A change that was cut short after its link has not moved the alias yet.
        before = read_event(registry.records / name).after
        if live.champion_record not in (name, before) or live.champion_record is None:
            raise BrokenChainError(
                f"{live.model_id} is live in MLflow, but the last change of what is live is {name}:"
                " the alias champion was moved by other means; accept that with `hourglass anchor "
                "--by NAME --why TEXT`, or put MLflow's store back from a copy"
            )


def _drop_unconfirmed(journal: Path, offset: int) -> None:
    """Remove a link that the head never named."""
    if journal.stat().st_size > offset:
        with journal.open("r+b") as file:
            file.truncate(offset)
            file.flush()
            os.fsync(file.fileno())


def _set_aside(records: Path, chain: Chain, listing: set[str]) -> None:
    """Move records that no link names where nothing looks for them."""
    extra = [
        name
        for file in sorted(listing - chain.digests.keys())
        if file.startswith(f"{records.name}/") and is_record(Path(name := file.partition("/")[2]))
    ]
    for name in extra:
        target = records / UNLINKED
        target.mkdir(exist_ok=True)
        (records / name).replace(target / name)
        _print_line(
            f"{name} is in no chain of records (its command was killed, or it was put there by "
            f"hand): it counts for nothing, and lies in {records.name}/{UNLINKED} now"
        )
    if extra:
        flush(records)


def _link(content: dict[str, Any], n: int, previous: str, key: bytes | None) -> tuple[bytes, str]:
    """A line of the journal and its digest."""
    link = {**content, "n": n, "previous": previous}
    if key is not None:
        link["mac"] = _mac(link, key)
    line = (json.dumps(link, sort_keys=True) + "\n").encode()
    return line, hashlib.sha256(line).hexdigest()


def _mac(link: Mapping[str, Any], key: bytes) -> str:
    covered = {name: value for name, value in link.items() if name != "mac"}
    text = json.dumps(covered, sort_keys=True)
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def _parse_head(head: str) -> tuple[int, str]:
    number, _, digest = head.partition(":")
    if not number.isdecimal() or not digest:
        raise BrokenChainError(
            f"MLflow's tag `record_chain` is {head!r}, no number and digest: {_REMEDY}"
        )
    return int(number), digest


def _write_journal(journal: Path, data: bytes) -> None:
    written_whole(journal, lambda path: path.write_bytes(data))
    flush(journal)
    flush(journal.parent)


def _file_of(records: Path, record: Path) -> str:
    """A record as links name it: its folder, which lies in the work folder, and its name."""
    folder = record.parent.name if record.parent != records else records.name
    return f"{folder}/{record.name}"


def _names(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries]
    except FileNotFoundError:
        return []


def _print_line(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)
