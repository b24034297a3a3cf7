"""Making a model live: the record first and its link, then the version's tags, then the alias.

The alias ``champion`` moves in one transaction: whatever is cut short before that changes nothing
that readers see, and can be run again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pipeline.process.locks import locked, this_process
from training.data.reader import sha256_of
from training.registry.artefact import load_model
from training.registry.champion_card import refuse_changed_model
from training.registry.champion_record import (
    MAX_ROLLBACK_TARGETS,
    ChampionChange,
    ModelRef,
    write_event,
)
from training.registry.mlflow_registry import (
    CARD_SHA256,
    CHAMPION,
    CHAMPION_RECORD,
    PREVIOUS,
    LiveModel,
    Registry,
    artefact_folder,
    champion,
    drop,
    model_ref,
    named_errors,
    point,
    registered_version,
    tag,
)
from training.registry.model_card import CARD_NAME
from training.registry.model_store import available
from training.registry.record_chain import Chain, link_record, verified_chain

WAIT_S = 30.0


def install_first(
    registry: Registry, model_id: str, records: Path, at: str | None = None
) -> LiveModel:
    """Make a registered model, the baseline, the first champion; with a champion, do nothing.

    Args:
        registry: holds the model.
        model_id: of the baseline.
        records: folder for the record, ``<work>/decisions``.
        at: the time to record, if any.

    Returns:
        The champion, whichever it is.

    Raises:
        HourglassError: the model was not registered, or its artefact is gone or damaged.
    """
    with changing(records, f"installing {model_id}"):
        live = champion(registry)
        if live is not None:
            return live
        chain = verified_chain(registry)
        new = loadable(registry, model_id)
        event = ChampionChange(
            kind="bootstrap",
            champion=new,
            before=None,
            stack=(),
            after=None,
            reason="bootstrap",
            sentence=f"{model_id} is live: nothing was before, and it is the baseline.",
            at=at,
        )
        return make_live(registry, chain, event)[0]


def make_live(registry: Registry, chain: Chain, event: ChampionChange) -> tuple[LiveModel, Path]:
    """The one place where the alias moves; the caller holds the lock, and verified the chain."""
    record = write_event(registry.records, event)
    link_record(registry, chain, record, event.kind)
    new = event.champion
    folder = registry.models / new.model_id
    card = sha256_of(folder / CARD_NAME)
    with named_errors(f"make {new.model_id} live"):
        tag(registry, new.version, **{CHAMPION_RECORD: record.name, CARD_SHA256: card})
        point(registry, CHAMPION, new.version)
    show_previous(registry, event.stack)
    return LiveModel(new.model_id, new.version, folder, record.name, card), record


def show_previous(registry: Registry, stack: tuple[ModelRef, ...]) -> None:
    """Let the alias ``previous`` show people what the champion's record says."""
    with named_errors("show the previous model"):
        if stack:
            point(registry, PREVIOUS, stack[0].version)
        else:
            drop(registry, PREVIOUS)


def without(stack: Sequence[ModelRef], new: ModelRef) -> tuple[ModelRef, ...]:
    """Nobody goes back to where he is."""
    return tuple(model for model in stack if model.version != new.version)[:MAX_ROLLBACK_TARGETS]


def loadable(registry: Registry, model_id: str) -> ModelRef:
    """A registered model whose artefact is whole, with the card that was recorded."""
    version = registered_version(registry, model_id)
    available(registry, model_id)
    refuse_changed_model(registry, version)
    load_model(artefact_folder(registry, model_id))
    return model_ref(registry, str(version.version))


# One change of the live model at a time.


@contextmanager
def changing(records: Path, doing: str, wait_s: float = WAIT_S) -> Iterator[None]:
    """Hold the right to change what is live; the system frees it even when the process is killed.

    Args:
        records: ``<work>/decisions``, which everyone who changes the live model shares.
        doing: what others are told, such as ``promoting hrnn-0123``.
        wait_s: how long to wait for another process.

    Raises:
        HourglassError: another process still holds it after ``wait_s``.
    """

    def busy(holder: str) -> str:
        return f"the live model is being changed by another process ({holder})"

    with locked(records / ".live.lock", f"{doing}, {this_process()}", wait_s, busy):
        yield
