"""What the simulated readers do: sessions of clicks, hour by hour, and the robots among them.

Shapes: ``S`` sessions that start in an hour, ``A`` items alive in it, ``N`` clicks.

The next click of a session follows the running story with probability ``related_share``;
otherwise, and at first, item ``i`` of the front page is chosen with

    P(i) ~ rank_i ** -exposure_strength
           * exp(taste_strength * taste . vector_i + session_strength * topic . vector_i)

where ``rank`` is its place on the front page, ordered by attention, quality and the clicks of the
hour before.  So clicks make exposure and exposure makes clicks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields

import numpy as np

from pipeline.array_types import Bools, Floats, Ints
from pipeline.hours import DAY_H, US_PER_HOUR, US_PER_S, Hour
from pipeline.settings.simulator import SimulatorSettings
from pipeline.simulator.world import Stream, World, generator, rhythm

# A session's silence and two sessions' distance stay clear of the one-hour rule.
SILENCE_US = US_PER_HOUR
_MOST_DWELL_S = 3599.0
_LEAST_DWELL_S = 0.001
_LEAST_ATTENTION = 0.01
_MOST_SESSION_EVENTS = 60
_LIKE_RATE = 0.08
# How strongly taste decides which topic a session is about.
_TOPIC_SHARPNESS = 4.0


@dataclass(frozen=True)
class Clicks:
    """Clicks as columns; ``user`` is a row of the users, or ``U + r`` for robot ``r``."""

    time_us: Ints  # (N,)
    user: Ints  # (N,)
    item: Ints  # (N,) row of the items
    liked: Bools  # (N,)
    session: Ints  # (N,) start of the session, microseconds
    position: Ints  # (N,) in the session, from 0
    dwell_s: Floats  # (N,) until the next click, NaN on a session's last
    rank: Ints  # (N,) on the front page from 1; 0 for a click in the running story
    affinity: Floats  # (N,) taste . vector; NaN for robots
    robot: Bools  # (N,)

    def __len__(self) -> int:
        return len(self.time_us)

    def take(self, rows: Ints | Bools) -> Clicks:
        """Some of the clicks."""
        return Clicks(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})


def join_clicks(parts: list[Clicks]) -> Clicks:
    """All clicks of several (at least one)."""
    return Clicks(
        **{
            f.name: np.concatenate([getattr(clicks, f.name) for clicks in parts])
            for f in fields(Clicks)
        }
    )


@dataclass
class _FrontPage:
    alive: Ints  # (A,) rows of the items, best place first
    log_exposure: Floats  # (A,)
    vector: Floats  # (A, D)
    story: Ints  # (A,)
    instalment: Ints  # (A,)


@dataclass
class Readers:
    """The state that goes from hour to hour: who may read again when, and what was clicked."""

    world: World
    settings: SimulatorSettings
    free_from_us: Ints = field(init=False)  # (U,)
    recent_clicks: Ints = field(init=False)  # (I,) of the hour before

    def __post_init__(self) -> None:
        self.free_from_us = np.zeros(self.settings.users, dtype=np.int64)
        self.recent_clicks = np.zeros(len(self.world.items.ids), dtype=np.int64)

    def hours(self, stop: Hour) -> Iterator[tuple[Hour, Clicks]]:
        """Each hour from the world's start with the sessions that start in it, all their clicks.

        A session may go on into later hours.  A robot's clicks are those of the hour itself.
        """
        for index in range(self.world.start.index, stop.index):
            hour = Hour(index)
            rng = generator(self.settings.seed, Stream.HOURS, index - self.world.start.index)
            page = self._front_page(hour)
            people = self._read(hour, page, rng)
            self.recent_clicks = np.bincount(people.item, minlength=len(self.world.items.ids))
            yield hour, join_clicks([people, self._robots(hour, page, rng)])

    def _front_page(self, hour: Hour) -> _FrontPage:
        items = self.world.items
        start_us = hour.index * US_PER_HOUR
        attention = items.attention(start_us + US_PER_HOUR // 2)
        alive = np.flatnonzero((items.born_us < start_us) & (attention > _LEAST_ATTENTION))
        clicks = self.recent_clicks[alive]
        usual = max(float(clicks.sum()) / max(len(alive), 1), 1.0)
        lift = 1 + self.settings.popularity_feedback * clicks / usual
        order = np.argsort(-(items.quality[alive] * attention[alive] * lift), kind="stable")
        alive = alive[order]
        rank = np.arange(1, len(alive) + 1)
        return _FrontPage(
            alive,
            -self.settings.exposure_strength * np.log(rank),
            items.vector[alive],
            items.story[alive],
            items.instalment[alive],
        )

    def _read(self, hour: Hour, page: _FrontPage, rng: np.random.Generator) -> Clicks:
        users = self.world.users
        hour_of_day = (hour.index % DAY_H - users.phase_h) % DAY_H
        chance = users.sessions_per_day / DAY_H * rhythm(hour_of_day)
        starts = rng.random(len(users.ids)) < chance
        start_us = hour.index * US_PER_HOUR + rng.integers(US_PER_HOUR, size=len(users.ids))
        user = np.flatnonzero(starts & (start_us >= self.free_from_us))  # (S,)
        mean_events = users.session_events[user]
        most = min(_MOST_SESSION_EVENTS, len(page.alive))
        length = np.minimum(rng.geometric(1 / mean_events), most)  # (S,)
        item, rank = self._choose(page, user, length, rng)  # (S, L), columns beyond length unused
        dwell = rng.gamma(self.settings.dwell_shape, self.settings.dwell_scale_s, item.shape)
        dwell = np.clip(dwell, _LEAST_DWELL_S, _MOST_DWELL_S)
        dwell_us = (dwell * US_PER_S).astype(np.int64)
        elapsed = np.cumsum(dwell_us, axis=1) - dwell_us
        time_us = start_us[user][:, None] + elapsed  # (S, L)
        steps = np.arange(item.shape[1])
        is_read = steps < length[:, None]
        is_last = steps == length[:, None] - 1
        dwell_s = np.where(is_last, np.nan, dwell_us / US_PER_S)
        if item.size:
            last_us = time_us[np.arange(len(user)), np.maximum(length, 1) - 1]
            self.free_from_us[user] = last_us + SILENCE_US
        session_user = np.broadcast_to(user[:, None], item.shape)[is_read]
        read = item[is_read]
        affinity = np.einsum("nd,nd->n", users.taste[session_user], self.world.items.vector[read])
        return Clicks(
            time_us=time_us[is_read],
            user=session_user,
            item=read,
            liked=rng.random(len(read)) < _LIKE_RATE * np.clip(1 + affinity, 0, 2),
            session=np.broadcast_to(start_us[user][:, None], item.shape)[is_read],
            position=np.broadcast_to(steps, item.shape)[is_read],
            dwell_s=dwell_s[is_read],
            rank=rank[is_read],
            affinity=affinity,
            robot=np.zeros(len(read), dtype=np.bool_),
        )

    def _choose(
        self, page: _FrontPage, user: Ints, length: Ints, rng: np.random.Generator
    ) -> tuple[Ints, Ints]:
        settings = self.settings
        n, steps = len(user), int(length.max(initial=0))
        taste = self.world.users.taste[user]  # (S, D)
        wish = _TOPIC_SHARPNESS * taste @ self.world.topics.T  # (S, K)
        topic = self.world.topics[(wish + rng.gumbel(size=wish.shape)).argmax(axis=1)]  # (S, D)
        want = settings.taste_strength * taste + settings.session_strength * topic
        front = want @ page.vector.T + page.log_exposure  # (S, A)
        unseen = np.ones(front.shape, dtype=np.bool_)
        position = np.zeros((n, steps), dtype=np.int64)
        related = np.zeros((n, steps), dtype=np.bool_)
        for step in range(steps):
            row = np.flatnonzero(length > step)
            allowed = unseen[row]  # (s, A)
            score = front[row]
            if step:
                before = position[row, step - 1]
                same = allowed & (page.story == page.story[before][:, None])
                follows = (rng.random(len(row)) < settings.related_share) & same.any(axis=1)
                related[row, step] = follows
                # 0 for the story's next part.
                ahead = page.instalment - page.instalment[before][:, None] - 1
                score = np.where(follows[:, None], -2.0 * np.abs(ahead), score)
                allowed = np.where(follows[:, None], same, allowed)
            score = np.where(allowed, score + rng.gumbel(size=score.shape), -np.inf)
            chosen = score.argmax(axis=1)
            position[row, step] = chosen
            unseen[row, chosen] = False
        item = page.alive[position] if steps else position
        return item, np.where(related, 0, position + 1)

    def _robots(self, hour: Hour, page: _FrontPage, rng: np.random.Generator) -> Clicks:
        """Robots open one living item after another, evenly spaced, day and night."""
        settings = self.settings
        per_day = settings.users * settings.sessions_per_day * settings.session_events
        share = settings.robot_rate / max(1 - settings.robot_rate, 0.01)
        each = max(1, round(share * per_day / DAY_H / settings.robots))
        if not settings.robot_rate or not len(page.alive):
            each = 0
        n = each * settings.robots
        robot = np.repeat(np.arange(settings.robots), each)
        turn = np.tile(np.arange(each), settings.robots)
        jitter = rng.random(n)
        since_us = ((turn + jitter) * (US_PER_HOUR / max(each, 1))).astype(np.int64)
        hours_before = hour.index - self.world.start.index
        position = (turn + each * hours_before) % max(len(page.alive), 1)
        return Clicks(
            time_us=hour.index * US_PER_HOUR + since_us,
            user=settings.users + robot,
            item=page.alive[position],
            liked=np.zeros(n, dtype=np.bool_),
            session=np.full(n, self.world.start.index * US_PER_HOUR),
            position=turn + each * hours_before,
            dwell_s=np.full(n, np.nan),
            rank=position + 1,
            affinity=np.full(n, np.nan),
            robot=np.ones(n, dtype=np.bool_),
        )
