"""A search for the best parameters that can be killed at any time and goes on where it was."""

from __future__ import annotations

import itertools
import json
import math
import random
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import HourglassError, one_line
from pipeline.settings.learning import SearchRange
from training.tuning.space import Space

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution

# Of a trial, each with a seed of its own: the first is led by what came of the others.
_DRAWS = 50
_TRIALS = 1_000_003
# Of a space of lists alone, beyond which nobody tries them all.
_MOST_COMBINATIONS = 10_000
_MOST_BEGUN = 2
_KILLED = "the process ended during it, twice: there may be too little memory for it"
#: What parameters come to; raises HourglassError where they come to nothing.
ValueOf = Callable[[Mapping[str, Any]], float]


class SearchStoppedError(HourglassError):
    """There is no use in trying anything else either."""


@dataclass(frozen=True)
class Tried:
    """One trial; ``value`` is NaN where it failed, and ``why`` says so."""

    number: int
    parameters: dict[str, Any]
    value: float
    why: str = ""


@dataclass(frozen=True)
class Budget:
    """How long a search goes on; ``trials`` counts those of earlier runs too.

    ``is_over`` is asked before each trial but the first, which is what is configured.
    """

    trials: int
    is_over: Callable[[], bool] = lambda: False


def search(
    file: Path,
    space: Space,
    configured: Mapping[str, Any],
    value_of: ValueOf,
    budget: Budget,
    seed: int,
    report: Callable[[Tried], None] = lambda _tried: None,
) -> list[Tried]:
    """All trials in their order; the first is of the parameters that are configured.

    Nothing is tried twice: a search ends early where all has been tried.  A trial that was killed
    is made again, once.  However often a search was interrupted, the trials are those of one that
    was not.

    Args:
        file: where trials are kept; a line each time one begins or ends.
        space: what may be tried.
        configured: the values to begin with, which the space need not hold.
        value_of: what is to become large.
        budget: when to stop.
        seed: of what is tried.
        report: told of each trial that ends.

    Raises:
        SearchStoppedError: ``value_of`` did.
    """
    trials, begun = _read(file)
    while len(trials) < budget.trials and not (trials and budget.is_over()):
        if trials:
            parameters = _new_parameters(space, trials, seed)
        else:
            parameters = {name: configured[name] for name in space}
        if parameters is None:
            break
        number, value, why = len(trials), math.nan, ""
        if begun >= _MOST_BEGUN:
            why = _KILLED
        else:
            _append(file, {"begun": parameters})
            try:
                value = value_of(parameters)
            except SearchStoppedError:
                raise
            except Exception as error:
                why = one_line(error)
        begun = 0
        trials.append(Tried(number, parameters, value, why))
        _append(file, {**asdict(trials[-1]), "value": None if why else value})
        report(trials[-1])
    return trials


def best_of(trials: list[Tried]) -> Tried:
    """The trial of the largest value; of equal ones the first.

    Raises:
        HourglassError: none came to anything.
    """
    good = [trial for trial in trials if not math.isnan(trial.value)]
    if not good:
        reason = trials[0].why if trials else "none was made"
        raise HourglassError(f"no trial came to an end: {reason}")
    return max(good, key=lambda trial: (trial.value, -trial.number))


def _read(file: Path) -> tuple[list[Tried], int]:
    """The trials that ended, and how often the one after them was begun.

    What a kill or a full disk left of a line is cut off.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    trials: list[Tried] = []
    begun = whole = 0
    content = file.read_bytes() if file.is_file() else b""
    for line in content.splitlines(keepends=True):
        if not line.endswith(b"\n"):
            break
        try:
            entry = json.loads(line)
        except ValueError as error:
            raise HourglassError(
                f"{file}: the trials cannot be read: remove the file to begin anew"
            ) from error
        whole += len(line)
        if "begun" in entry:
            begun += 1
        else:
            value = math.nan if entry["value"] is None else entry["value"]
            trials.append(Tried(**{**entry, "value": value}))
            begun = 0
    if whole < len(content):
        with file.open("r+b") as opened:
            opened.truncate(whole)
    return trials, begun


def _append(file: Path, entry: Mapping[str, Any]) -> None:
    with file.open("a", encoding="utf-8") as opened:
        opened.write(json.dumps(entry) + "\n")


def _new_parameters(space: Space, trials: list[Tried], seed: int) -> dict[str, Any] | None:
    """Something that was not tried before; None where there is nothing."""
    before = [trial.parameters for trial in trials]
    left = _untried(space, before)
    if left == []:
        return None
    for draw in range(_DRAWS):
        own_seed = (seed * _DRAWS + draw) * _TRIALS + len(trials)
        study = _study(space, trials, own_seed, at_random=draw > 0)
        parameters = study.ask(_distributions(space)).params
        if parameters not in before:
            return parameters
        if left:
            return random.Random(own_seed).choice(left)  # noqa: S311 - no secret is drawn
    return None


def _untried(space: Space, before: list[dict[str, Any]]) -> list[dict[str, Any]] | None:
    """What is left of a space of lists; None where there are ranges, or too many combinations."""
    lists = [tried for tried in space.values() if isinstance(tried, tuple)]
    if len(lists) < len(space) or math.prod(map(len, lists)) > _MOST_COMBINATIONS:
        return None
    combinations = (dict(zip(space, chosen, strict=True)) for chosen in itertools.product(*lists))
    return [parameters for parameters in combinations if parameters not in before]


def _study(space: Space, trials: list[Tried], seed: int, *, at_random: bool) -> Study:
    """What is drawn depends on the trials and the seed alone, not on when they were made."""
    import optuna
    from optuna.samplers import BaseSampler, RandomSampler, TPESampler

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler: BaseSampler = TPESampler(seed=seed, multivariate=True)
    if at_random:
        sampler = RandomSampler(seed)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    distributions = _distributions(space)
    for trial in trials[1:]:  # the first need not lie within the ranges
        if not trial.why:
            study.add_trial(
                optuna.trial.create_trial(
                    params=trial.parameters, distributions=distributions, value=trial.value
                )
            )
    return study


def _distributions(space: Space) -> dict[str, BaseDistribution]:
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    distributions: dict[str, BaseDistribution] = {}
    for name, tried in space.items():
        if not isinstance(tried, SearchRange):
            distributions[name] = CategoricalDistribution(tried)
        elif isinstance(tried.low, int) and isinstance(tried.high, int):
            distributions[name] = IntDistribution(tried.low, tried.high, log=tried.log)
        else:
            distributions[name] = FloatDistribution(tried.low, tried.high, log=tried.log)
    return distributions
