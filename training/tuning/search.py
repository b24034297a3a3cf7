"""A search for the best parameters that can be killed at any time and goes on where it was."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import HourglassError
from pipeline.settings.learning import SearchRange
from training.tuning.space import Space

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.trial import FrozenTrial

_WHY = "why"
_FIRST = "as configured"
# Of a trial, each with a seed of its own: the first is led by what came of the others.
_DRAWS = 50
_TRIALS = 1_000_003
#: What parameters come to; raises HourglassError where they come to nothing.
ValueOf = Callable[[Mapping[str, Any]], float]


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
    is made again.  However often a search was interrupted, the trials are those of one that was
    not.

    Args:
        file: where trials are kept; a line each time one begins or ends.
        space: what may be tried.
        configured: the values to begin with, which the space need not hold.
        value_of: what is to become large.
        budget: when to stop.
        seed: of what is tried.
        report: told of each trial that ends.
    """
    study = _study(file)
    trials = [_first(study, {name: configured[name] for name in space}, value_of, report)]
    _again_what_was_killed(study)
    trials += _ended(study)
    while len(trials) < budget.trials and not budget.is_over():
        trial = _new_trial(study, space, trials, seed)
        if trial is None:
            break
        value, why = _outcome(trial.params, value_of)
        if why:
            trial.set_user_attr(_WHY, why)
        _tell(study, trial.number, value)
        trials.append(Tried(len(trials), dict(trial.params), value, why))
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


def _first(
    study: Study,
    parameters: dict[str, Any],
    value_of: ValueOf,
    report: Callable[[Tried], None],
) -> Tried:
    """The trial of what is configured, beside the study, whose ranges may not hold it."""
    if _FIRST not in study.user_attrs:
        value, why = _outcome(parameters, value_of)
        study.set_user_attr(_FIRST, [None if why else value, why])
        report(Tried(0, parameters, value, why))
    value, why = study.user_attrs[_FIRST]
    return Tried(0, parameters, math.nan if value is None else value, why)


def _outcome(parameters: Mapping[str, Any], value_of: ValueOf) -> tuple[float, str]:
    try:
        return value_of(parameters), ""
    except HourglassError as error:
        return math.nan, str(error)


def _study(file: Path) -> Study:
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    file.parent.mkdir(parents=True, exist_ok=True)
    storage = JournalStorage(JournalFileBackend(str(file)))
    return optuna.create_study(
        storage=storage, study_name="tune", direction="maximize", load_if_exists=True
    )


def _new_trial(study: Study, space: Space, trials: list[Tried], seed: int) -> Trial | None:
    """Something that was not tried before; None where it cannot be found."""
    from optuna.trial import TrialState

    before = [trial.parameters for trial in trials]
    for draw in range(_DRAWS):
        study.sampler = _sampler((seed * _DRAWS + draw) * _TRIALS + len(trials), draw > 0)
        trial = study.ask()
        for name, tried in space.items():
            _suggest(trial, name, tried)
        if trial.params not in before:
            return trial
        study.tell(trial.number, state=TrialState.FAIL)
    return None


def _sampler(seed: int, at_random: bool) -> Any:  # noqa: ANN401 - a sampler of Optuna's
    """Of one draw, which depends on the trials before it, and not on when they were made."""
    from optuna.exceptions import ExperimentalWarning
    from optuna.samplers import RandomSampler, TPESampler

    if at_random:
        return RandomSampler(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return TPESampler(seed=seed, multivariate=True)


def _again_what_was_killed(study: Study) -> None:
    from optuna.trial import TrialState

    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if not _why(trial):  # else it had come to its end
            study.enqueue_trial(trial.params)
        study.tell(trial.number, state=TrialState.FAIL)


def _ended(study: Study) -> list[Tried]:
    """Those after the first that came to an end of their own, in their order."""
    from optuna.trial import TrialState

    ended = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.FAIL))
    ours = [trial for trial in ended if trial.state == TrialState.COMPLETE or _why(trial)]
    return [
        Tried(number, dict(trial.params), _value(trial), _why(trial))
        for number, trial in enumerate(sorted(ours, key=lambda trial: trial.number), start=1)
    ]


def _why(trial: FrozenTrial) -> str:
    return str(trial.user_attrs.get(_WHY, ""))


def _value(trial: FrozenTrial) -> float:
    return math.nan if trial.value is None else trial.value


def _tell(study: Study, number: int, value: float) -> None:
    from optuna.trial import TrialState

    if math.isnan(value):
        study.tell(number, state=TrialState.FAIL)
    else:
        study.tell(number, value)


def _suggest(trial: Trial, name: str, tried: SearchRange | tuple[Any, ...]) -> None:
    if not isinstance(tried, SearchRange):
        trial.suggest_categorical(name, tried)
    elif isinstance(tried.low, int) and isinstance(tried.high, int):
        trial.suggest_int(name, tried.low, tried.high, log=tried.log)
    else:
        trial.suggest_float(name, tried.low, tried.high, log=tried.log)
