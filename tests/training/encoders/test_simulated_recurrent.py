"""What recurrent encoders remember, and what their levels, gates and norms are for, on logs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from simulated_shallow import (
    BEGIN_S,
    HOUR_S,
    fitted,
    mean_hits,
    over_seeds,
    over_seeds_by_night,
    two_parts,
)
from synthetic import AS_OF_S

from pipeline.hours import Hour
from training.data.reader import DataSet, Requests
from training.models.parts.base import Model

NOTHING_DROPPED = {"dropout": 0.0, "input_dropout": 0.0}


@over_seeds
def test_one_table_knows_items_that_were_rarely_a_target(
    tmp_path: Path, seeds: tuple[int, ...]
) -> None:
    """x, a marker, x again: a hundred items, each an input 20 times and a target twice."""
    n_items, n_markers, rng = 100, 4, np.random.default_rng(1)
    window = Hour(AS_OF_S // HOUR_S - 24)
    window_s = window.index * HOUR_S
    returning = np.concatenate([rng.permutation(n_items) for _ in range(3)])
    users = []
    for item in returning[:266]:  # three quarters of them are learned from
        marker = n_items + int(rng.integers(n_markers))
        events = [
            (int(other), window_s - 700.0 + at)
            for at, other in enumerate(rng.integers(n_items, size=9))
        ]
        events += [(int(item), window_s - 120.0), (marker, window_s - 60.0)]
        users.append([*events, (int(item), window_s + 60.0)])
    parts = two_parts(tmp_path, users, n_items + n_markers, window_start=str(window))
    learned = {
        "counts": lambda place: place == 11,
        "plan": "users",
        "epochs": 15,
        "learning_rate": 0.02,
    }
    tied = mean_hits("gru_layers", parts, seeds, tied=True, **learned)
    assert tied > mean_hits("gru_layers", parts, seeds, tied=False, **learned) + 0.1


@over_seeds_by_night
def test_normalised_layers_learn_a_machine_in_half_the_epochs(
    tmp_path: Path, seeds: tuple[int, ...]
) -> None:
    """A machine of 16 states that shows 4 faces; a coin, shown too, bends its way.

    Two layers at LSTR's rates.  Batches are large: in an epoch of many small ones both learn it.
    """
    n_states, n_faces, rng = 16, 4, np.random.default_rng(1)
    face = rng.permutation(np.repeat(np.arange(n_faces), n_states // n_faces))
    follower = [rng.permutation(n_states) for _ in range(2)]
    users = []
    for _ in range(120):
        state, events = int(rng.integers(n_states)), []
        for at in range(200):
            coin = int(rng.random() > 0.93)
            state = int(follower[coin][state])
            events.append((int(face[state]) * 2 + coin, BEGIN_S + 30.0 * at))
        users.append(events)
    parts = two_parts(tmp_path, users, 2 * n_faces)
    learned = {
        "counts": lambda place: place >= 20,
        "plan": "users",
        "layers": 2,
        "bptt_steps": 50,
        "batch_events": 4000,
        "min_batches": 1,
        "learning_rate": 0.01,
        "final_rate": 0.001,
        "decay_power": 0.5,
        **NOTHING_DROPPED,
    }
    normalised = mean_hits("gru_layers", parts, seeds, layer_norm=True, epochs=2, **learned)
    plain = mean_hits("gru_layers", parts, seeds, layer_norm=False, epochs=4, **learned)
    print(f"hits: normalised {normalised:.3f}, plain in twice the epochs {plain:.3f}")
    assert normalised > 0.8
    assert plain < 0.8


# Short sessions teach what the long ones ask for: when all had 20, one GRU did not learn it either.
LENGTHS = (2, 2, 2, 2, 3, 3, 3, 5, 10, 20)
LONGEST = max(LENGTHS)


def levels_log(folder: Path, n_sessions: int, n_users: int) -> tuple[DataSet, DataSet]:
    """Sessions whose first item follows from the last session's first one, and from the pause.

    After a day and more it is another follower than after two hours.  The rest is a round.
    """
    n_firsts, n_round, rng = 5, 5, np.random.default_rng(1)
    followers = [rng.permutation(n_firsts) for _ in range(2)]
    users = []
    for _ in range(n_users):
        first, time_s, events = int(rng.integers(n_firsts)), float(BEGIN_S), []
        for _ in range(n_sessions):
            length = int(rng.choice(LENGTHS))
            items = [first, *(n_firsts + at % n_round for at in range(length - 1))]
            events += [(item, time_s + 30 * at) for at, item in enumerate(items)]
            is_long = int(rng.integers(2))
            time_s += 30 * length + (30 if is_long else 2) * HOUR_S
            first = int(followers[is_long][first])
        users.append(events)
    return two_parts(folder, users, n_firsts + n_round)


def hits_of_firsts(model: Model, data: DataSet) -> float:
    """hit@1 of the first items of sessions that come after a session of 20 events."""
    h = data.histories
    begin = np.flatnonzero(h.session_start)
    follows_longest = np.append(False, np.diff(begin) == LONGEST)
    event = begin[follows_longest & ~np.isin(begin, h.offsets)]
    scores = model.score(h, Requests.before(h, event))
    return float(np.mean(scores.argmax(axis=1) + 1 == h.item[event]))


@over_seeds_by_night
def test_a_level_of_sessions_remembers_what_the_last_one_began_with(
    tmp_path: Path, seeds: tuple[int, ...]
) -> None:
    base, test = levels_log(tmp_path, n_sessions=24, n_users=400)
    learned = {
        "min_batches": 60,
        "batch_events": 640,
        "epochs": 15,
        "bptt_steps": 40,
        "learning_rate": 0.01,
        "session_input": True,
        "delta_input": True,
        **NOTHING_DROPPED,
    }

    def shares(name: str, **more: Any) -> NDArray[np.float64]:
        models = (fitted(name, base, seed, **learned, **more) for seed in seeds)
        hit = np.array([hits_of_firsts(model, test) for model in models])
        print(name, more, hit.round(3), flush=True)
        return hit

    two_levels = shares("hgru").mean()
    assert two_levels > shares("gru4rec").mean() + 0.3
    assert two_levels >= shares("hrnn").mean() - 0.05
    assert two_levels > shares("hgru", rerun=False).mean()


@over_seeds_by_night
def test_layers_with_boundaries_learn_words_as_well_as_layers_without(
    tmp_path: Path, seeds: tuple[int, ...]
) -> None:
    """Words of 2 to 6 letters that follow a chain of their own, all from one alphabet."""
    n_letters, n_words, n_events, rng = 12, 12, 48, np.random.default_rng(1)
    words: list[list[int]] = []
    for _ in range(n_words):
        word = [int(rng.integers(n_letters))]
        for _ in range(int(rng.integers(1, 6))):
            word.append((word[-1] + int(rng.integers(1, n_letters))) % n_letters)
        words.append(word)
    follower = rng.integers(n_words, size=n_words)
    users = []
    for _ in range(240):
        word, letters = int(rng.integers(n_words)), []
        while len(letters) < n_events:
            letters += words[word]
            word = int(follower[word] if rng.random() < 0.9 else rng.integers(n_words))
        users.append(
            [(letter, BEGIN_S + 30.0 * at) for at, letter in enumerate(letters[:n_events])]
        )
    parts = two_parts(tmp_path, users, n_letters)
    learned = {"plan": "users", "epochs": 10, "bptt_steps": n_events, **NOTHING_DROPPED}
    plain = mean_hits("gru_layers", parts, seeds, layers=2, **learned)
    assert mean_hits("hm_lstm", parts, seeds, layer_norm=True, **learned) > plain - 0.02


@over_seeds_by_night
def test_the_time_to_the_request_decides(tmp_path: Path, seeds: tuple[int, ...]) -> None:
    """After hours the user's favourite, with which all began; else the follower of the last."""
    n_items, rng = 12, np.random.default_rng(1)
    follower = rng.permutation(n_items)
    users = []
    for _ in range(240):
        favourite, time_s = int(rng.integers(n_items)), float(BEGIN_S)
        events = [(favourite, time_s)]
        for _ in range(12):
            last = events[-1][0]
            waits = last != favourite and rng.random() < 0.5
            time_s += rng.uniform(6, 20) * HOUR_S if waits else rng.uniform(30, 300)
            item = favourite if waits else int(follower[last])
            events.append(((item + 1) % n_items if item == last else item, time_s))
        users.append(events)
    parts = two_parts(tmp_path, users, n_items)
    learned = {
        "counts": lambda place: place >= 3,
        "min_batches": 60,
        "epochs": 10,
        **NOTHING_DROPPED,
    }
    spans = mean_hits("t_seqrec", parts, seeds, gates="both", **learned)
    for gates in ("interval", "none"):
        assert spans > mean_hits("t_seqrec", parts, seeds, gates=gates, **learned) + 0.1, gates
