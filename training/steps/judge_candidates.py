"""Gate: each configured candidate against baselines and champion, on what was evaluated."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pipeline.errors import HourglassError, one_line
from pipeline.hours import Hour, HourRange, parse_duration_h
from pipeline.sealed_json import dated_records
from pipeline.settings.settings import Settings
from training.data.reader import DataSet
from training.deployment.champion import changing
from training.deployment.champion_history import ChampionPeriod, champion_periods
from training.deployment.promote import install_first
from training.evaluation.evaluate import BOOTSTRAP_SEED, read_evaluation, with_current_popularity
from training.evaluation.lists import ListFigures
from training.evaluation.slices import FirstSeen, judged_slices, slice_masks
from training.gate.artefact_checks import ArtefactProblem, ArtefactReport, check_artefact
from training.gate.decision_file import contestant, write_decision
from training.gate.evidence import Contestant, Evidence
from training.gate.gate import Decision, choose, decide
from training.gate.past_looks import ALL, definition, earlier_looks, first_look, period_start
from training.gate.roles import CANDIDATE, CHAMPION, FLOOR
from training.registry.artefact import load_model
from training.registry.candidates import candidates
from training.registry.champion_card import trusted
from training.registry.mlflow_registry import LiveModel, Registry, champion
from training.registry.model_card import read_card
from training.registry.model_store import available
from training.registry.record_chain import link_record, refuse_unlinked, verified_chain


def ensure_champion(
    settings: Settings, registry: Registry, dataset: Path, at: str, frozen_id: str = ""
) -> LiveModel:
    """Something is always live: before the first promotion it is a baseline.

    Of several it is the one that was best on the test set ``frozen_id``; of those that were as good
    as each other, or where no figures are there, the first that the settings list.

    Raises:
        HourglassError: a baseline was not trained on the data set.
    """
    live = champion(registry)
    if live is not None:
        return live
    models = candidates(settings, dataset.name)
    floors = [_trained(models, FLOOR, name, dataset.name) for name in settings.gate.baselines]
    figures = _figures(settings, frozen_id) if len(floors) > 1 else {}
    floor = max(floors, key=lambda model_id: figures.get(model_id, -math.inf))
    return install_first(registry, floor, settings.path("decisions"), at)


def judge_candidates(
    settings: Settings,
    registry: Registry,
    learned: DataSet,
    test_data: DataSet,
    quality_passed: bool | None,
    at: str,
    late: Sequence[str] | None = None,
) -> list[tuple[Decision, Path]]:
    """Decide on each configured candidate, and write the decisions down.

    A candidate that cannot be judged at all, because its card is damaged or it was not trained, is
    blocked (``not_loadable``), and the others are judged as ever.

    ``late`` names the candidates to judge, by the fits of their time, on hours after which later
    ones have ended: what is seen of them counts, and nobody is promoted.

    Returns:
        Decisions and their files, the one to act on last: at most one of them promotes.

    Raises:
        HourglassError: no candidate was trained, or a baseline or the champion cannot even be read;
            then there is no decision, and nothing can be promoted.  So it is where a record is
            missing or was changed.
    """
    dataset_id = learned.folder.name
    models = candidates(settings, dataset_id)
    floor_ids = {
        name: _trained(models, FLOOR, name, dataset_id) for name in settings.gate.baselines
    }
    failures, ranked_champion, lists = _evaluated(settings, test_data)
    live = champion(registry)

    def enter(model_id: str, who: LiveModel | None = None, **made_by: object) -> Contestant:
        card = read_card(available(registry, model_id))
        return contestant(
            card,
            settings.path("evaluations"),
            test_data.manifest.dataset_id,
            models=settings.path("models"),
            version=who.version if who else None,
            champion_record=who.champion_record if who else None,
            failure=failures.get(model_id),
            definition=definition(
                system=card.system, parameters=card.all_parameters or card.parameters, **made_by
            ),
        )

    floors = {name: enter(model_id) for name, model_id in floor_ids.items()}
    champ = enter(live.model_id, live) if live else None
    if live is not None and champ is not None:
        champ = replace(champ, changed=_changed(registry, live))
    first_seen = FirstSeen.of(learned)
    start, folder = test_data.manifest.window_start, settings.path("decisions")
    since = champion_since(champion_periods(registry, folder, start))
    init_from = {model.name: model.init_from for model in settings.models}

    def evidence(name: str, model_id: str, unreadable: str | None = None) -> Evidence:
        candidate = (
            enter(
                model_id,
                init_from=init_from.get(name, "none"),
                dataset=settings.dataset.model_dump(mode="json"),
            )
            if unreadable is None
            else _unknown(model_id, test_data, dataset_id, unreadable)
        )
        masks = slice_masks(test_data, candidate.ranks, first_seen) if candidate.ranks else {}
        return Evidence(
            frozen_id=test_data.manifest.dataset_id,
            start=start,
            candidate=candidate,
            champion=champ,
            baselines=floors,
            artefact_report=ArtefactReport(
                model_id, (ArtefactProblem("not_loadable", unreadable),), None, 0
            )
            if unreadable is not None
            else check_artefact(
                settings.path("models") / candidate.model_id,
                test_data,
                settings.evaluation,
                lambda path: with_current_popularity(load_model(path), test_data),
                seed=BOOTSTRAP_SEED,
                learned=learned,
            ),
            quality_passed=quality_passed,
            rule=settings.evaluation,
            gate=settings.gate,
            seed=BOOTSTRAP_SEED,
            name=name,
            n_candidates=len(settings.candidates),
            base_dataset_id=dataset_id,
            late=late is not None,
            ranked_champion=ranked_champion,
            slices=judged_slices(masks),
            shown={
                role: lists[each.model_id].guarded
                for role, each in ((CANDIDATE, candidate), (CHAMPION, champ))
                if each is not None and each.model_id in lists
            },
            user_ids=test_data.histories.user_ids,
            earlier=lambda key: earlier_looks(folder, start, key, since),
            first_of_hour=lambda key: first_look(folder, start, key),
        )

    def judge(name: str) -> Decision:
        model_id = models.get(name, name)
        try:
            _trained(models, CANDIDATE, name, dataset_id)
            return decide(evidence(name, model_id))
        except Exception as error:  # what cannot be judged is blocked by a decision that says so
            problem = f"{name} cannot be judged: {one_line(error)}"
            return decide(evidence(name, model_id, problem))

    names = settings.candidates if late is None else late
    if not any(name in models for name in names):
        _trained(models, CANDIDATE, names[0], dataset_id)
    with changing(folder, "judging candidates"):
        # What the looks of earlier decisions are taken from; what no link names is set aside.
        period = period_start(start, parse_duration_h(settings.gate.period))
        past = [path.name for _, path in dated_records(folder, period, start + 1)]
        verified_chain(registry, naming=[f"{folder.name}/{name}" for name in past])
    decisions = choose([judge(name) for name in names])
    return _written(registry, folder, decisions, at)


def _written(
    registry: Registry, folder: Path, decisions: Sequence[Decision], at: str
) -> list[tuple[Decision, Path]]:
    """Write decisions down and link them, provided that what they counted is linked."""
    written: list[tuple[Decision, Path]] = []
    with changing(folder, "writing decisions down"):
        looks = {str(look.file) for decision in decisions for look in decision.looks[:-1]}
        chain = verified_chain(registry, naming=[f"{folder.name}/{file}" for file in looks])
        for decision in decisions:
            for look in decision.looks[:-1]:
                refuse_unlinked(chain, folder, folder / str(look.file), str(look.sha256), False)
            path = write_decision(decision, folder, at)
            chain = link_record(registry, chain, path, "decision")
            written.append((decision, path))
    return written


def champion_since(periods: Sequence[ChampionPeriod]) -> Hour | None:
    """The first hour that what is live now may be judged on; None where nothing says.

    Of a change by hand the hour is not known: it counts from that of the change before.
    """
    return next(
        (period.since_hour for period in reversed(periods) if period.since_hour is not None), None
    )


def _changed(registry: Registry, live: LiveModel) -> str | None:
    """How what is live differs from what the registry recorded of it; None where it does not."""
    try:
        trusted(registry, live)
    except HourglassError as error:
        return str(error)
    return None


def _unknown(model_id: str, test_set: DataSet, dataset_id: str, problem: str) -> Contestant:
    """Stands for a candidate whose card cannot be read; without ranks it can only be blocked."""
    return Contestant(
        model_id=model_id,
        system="unknown",
        dataset_id=dataset_id,
        as_of=test_set.manifest.window_start,
        ranks=None,
        ranks_sha256=None,
        failure=problem,
    )


def _trained(models: Mapping[str, str], role: str, name: str, dataset_id: str) -> str:
    if name not in models:
        raise HourglassError(
            f"the {role} {name!r} was not trained on data set {dataset_id}: "
            f"run `hourglass train --dataset {dataset_id} --model {name}`"
        )
    return models[name]


def _evaluated(
    settings: Settings, test_set: DataSet
) -> tuple[dict[str, str], str | None, dict[str, ListFigures]]:
    """Why models have no ranks, which version was live when they were ranked, what lists show."""
    try:
        evaluation = read_evaluation(settings.path("evaluations") / test_set.manifest.dataset_id)
    except (OSError, ValueError, KeyError, TypeError):
        return {}, None, {}
    why = {**evaluation.failures, **evaluation.not_ranked}
    return why, evaluation.champion_version, evaluation.lists


def _figures(settings: Settings, frozen_id: str) -> dict[str, float]:
    """The gate's metric by model id, of those that were evaluated on a test set."""
    try:
        rows = read_evaluation(settings.path("evaluations") / frozen_id).rows
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    wanted = (settings.gate.metric, settings.evaluation.k, ALL)
    return {row.model_id: row.mean for row in rows if (row.metric, row.k, row.slice_name) == wanted}


def hours_judged(test_set: DataSet) -> HourRange:
    """The hours whose events are the targets of a frozen part."""
    return HourRange(test_set.manifest.window_start, test_set.manifest.as_of)
