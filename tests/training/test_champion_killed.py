"""Promotions and rollbacks killed at random instants, while a reader asks what is live."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from kills import MODELS, NothingBehindError, change, go_back, opened, read
from lives import register

from training.deployment.champion import changing
from training.deployment.champion_history import champion_periods
from training.deployment.promote import install_first, promote
from training.registry.mlflow_registry import Registry, aliased, champion, champion_changes
from training.registry.record_chain import chain_problem, verified_chain

KILLS = int(os.environ.get("HOURGLASS_TEST_KILLS", "2"))
CHANGES = 3  # let through before a kill, so that it hits promotions as well as rollbacks

pytestmark = pytest.mark.slow
FORKED = multiprocessing.get_context("forkserver")
Started = tuple[multiprocessing.context.ForkServerProcess, Connection]


def start(what: Callable[[Path, Connection], None], work: Path) -> Started:
    ours, theirs = FORKED.Pipe()
    process = FORKED.Process(target=what, args=(work, theirs), daemon=True)
    process.start()
    theirs.close()
    return process, ours


def test_readers_always_find_one_live_model_that_loads(mlflow_tables: None, tmp_path: Path) -> None:
    registry = opened(tmp_path)
    register(registry, *MODELS)
    install_first(registry, MODELS[0], registry.records)
    rng = random.Random(0)
    reader, ask = start(read, tmp_path)
    cut_short = 0
    for _ in range(KILLS):
        changer, answers = start(change, tmp_path)
        for step in range(CHANGES):
            assert answers.recv() == "done"
            if step == 0:
                began_s = time.monotonic()
        one_s = (time.monotonic() - began_s) / (CHANGES - 1)
        time.sleep(rng.uniform(0, 3 * one_s))
        changer.kill()
        changer.join()
        assert changer.exitcode == -9, "it ended by itself"
        story = champion_periods(registry, registry.records)
        live, _ = aliased(registry)
        assert live is not None
        assert story[-1].version == live.version
        reached = {step.record.name for step in story if step.record}
        recorded = {path.name for path in registry.records.glob("[bpr]*.json")}
        assert reached <= recorded
        cut_short += len(recorded - reached)  # done again, it is the same record
        assert chain_problem(registry) is None
        complete(registry)
        assert reader.is_alive(), "the reader found something wrong: see its traceback"
    ask.send("stop")
    asked = ask.recv()
    assert asked > KILLS
    print(f"{KILLS} kills, {cut_short} changes cut short after their record, {asked} times read")


def complete(registry: Registry) -> None:
    """What was cut short is done again: the newest linked decision, or a step back from it."""
    with changing(registry.records, "setting aside what no link names"):
        verified_chain(registry)
    newest = max(registry.records.glob("[0-9]*.json"))
    decision = json.loads(newest.read_text())
    live = champion(registry)
    assert live is not None
    used = any(event.decision == newest.name for _, event in champion_changes(registry, live))
    if used:
        with suppress(NothingBehindError):
            go_back(registry)
    else:
        assert decision["champion"]["version"] == live.version
        assert promote(registry, newest).changed
        assert not promote(registry, newest).changed
