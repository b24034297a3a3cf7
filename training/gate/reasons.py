"""What reason codes mean: codes are stable and for machines, these words are for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

_OF_ROLE: Mapping[str, str] = {"champion": "the live model", "floor": "the baseline"}


#: Blocks for these say nothing of the candidate: mended, the same hour is judged again.
OF_NO_CANDIDATE = frozenset(
    {
        "baseline_changed",
        "check_failed",
        "data_quality_failed",
        "data_quality_unknown",
        "different_targets",
        "earlier_evidence_damaged",
        "missing_ranks",
        "missing_threshold",
    }
)

_GATE: Mapping[str, str] = {
    "thresholds_set": "every threshold is set",
    "missing_threshold": "a threshold of the gate is not set",
    "artefact_sound": "the model loads and scores",
    "soundness_unknown": "the model was not examined",
    "not_loadable": "the model cannot be loaded",
    "wrong_model": "its folder holds another model",
    "vocabulary_mismatch": "its items are not those of its data set",
    "card_contradicts_data": "its card contradicts its data set",
    "scores_incomplete": "it does not score every item",
    "scores_not_finite": "some of its scores are no numbers",
    "scores_failed": "it cannot score",
    "sees_the_future": "its scores depend on later events",
    "not_deterministic": "it answers the same question in two ways",
    "not_personal": "it answers everybody the same",
    "trained_on_the_future": "it learned from the events that judge it",
    "trained_on_the_past": "all learned from the past",
    "stale_artefact": "it was trained on another data set",
    "data_quality_passed": "the hours passed validation",
    "data_quality_unknown": "the hours were not validated",
    "data_quality_failed": "a critical expectation failed in these hours",
    "same_targets": "all answered the same questions",
    "different_targets": "the models answered different questions",
    "missing_ranks": "a model has not been evaluated",
    "ranks_of_another_model": "the evaluation is of another model",
    "bad_ranks": "the evaluation holds impossible ranks",
    "nothing_changed": "the models are those that were evaluated",
    "artefact_changed": "the model changed after it was evaluated",
    "baseline_changed": "the live model changed after the evaluation",
    "judged_late": "whether a later hour had ended",
    "judged_in_time": "it was judged on the newest hour",
    "hour_was_caught_up": "its hour was judged late, and the newest hour decides",
    "earlier_evidence_whole": "earlier evidence is whole",
    "earlier_evidence_damaged": "earlier evidence cannot be read",
    "overlaps_an_earlier_look": "these events were counted before",
    "hour_was_judged_with_another_fit": "this hour was judged with another fit",
    "enough_data": "there are enough users and events",
    "too_few_users": "too few users yet",
    "too_few_targets": "too few events yet",
    "no_targets": "there is nothing to compare on",
    "no_champion": "there is no other model to compare with",
    "same_model": "it is live already",
    "slice_harmed": "some users or items are surely worse off",
    "slice_not_shown_harmless": "not yet shown harmless for some users or items",
    "no_slice_harmed": "none of the users and items that are enough to tell is worse off",
    "no_guard_crossed": "its lists show as much as the guards ask for",
    "below_guard": "its lists show less than a guard allows",
    "lists_not_measured": "what its lists show was not measured",
    "another_is_better": "another candidate is better",
    "check_failed": "a check of the gate failed to run",
    "no_checks": "no comparison was asked for",
}
_MONITOR: Mapping[str, str] = {
    "cannot_score": "the live model could not score",
    "is_the_floor": "the live model is the baseline itself",
    "bad_data": "a critical expectation failed in the hour",
    "data_not_validated": "the hour was not validated",
    "learned_from_the_hour": "the live model learned from the hour",
    "not_evaluated": "the hour was not evaluated",
    "few_users": "too few users came in the hour",
    "below_floor": "the live model was surely below the baseline",
    "not_below_floor": "the live model is not below the baseline",
    "not_live_any_more": "the model is not live any more",
}
_LIVE: Mapping[str, str] = {
    "bootstrap": "it was the first model",
    "promoted": "it was proven better and promoted",
    "rolled_back_by_hand": "a person went back to it",
    "unknown": "why is not recorded",
}
_RETRAIN: Mapping[str, str] = {
    "no_model": "no trained model is live",
    "old": "the live model is old",
    "unseen_items": "many events are on items that the live model does not know",
    "unseen_items_unknown": "how many items the live model does not know cannot be told",
    "popularity_moved": "popularity has moved",
    "popularity_moved_unknown": "how far popularity has moved cannot be told",
    "metric_fell": "the live model's figures fell",
    "whole_fit_old": "an entry's latest fit from nothing is old: it is made anew",
    "lead_fell": "an entry's lead over the baseline fell since its whole fit: it is made anew",
    "vocabulary_changed": "many events are on items that an entry's whole fit did not know: it is "
    "made anew",
    "rules_changed": "sessions or data sets are made by other settings: entries are made anew",
    "little_changed": "little has changed",
}
_SLICES: Mapping[str, str] = {
    "harmless": "harmless",
    "harmed": "worse off",
    "not_shown_harmless": "not yet shown harmless",
    "too_small": "too small to tell",
}
_COMPARED = {
    f"{code}_{role}": f"{text} {label}"
    for role, label in _OF_ROLE.items()
    for code, text in (
        ("better_than", "proven better than"),
        ("not_yet_better_than", "not yet proven better than"),
        ("not_better_than", "not better than"),
        ("worse_than", "surely worse than"),
    )
}
_TIMES = {
    f"{role}_trained_on_the_future": f"{label} learned from the events that judge it"
    for role, label in _OF_ROLE.items()
}
#: By the step that gives them; for the reference pages.
REASONS_BY_STEP: Mapping[str, Mapping[str, str]] = {
    "gate": {**_GATE, **_COMPARED, **_TIMES},
    "monitor": _MONITOR,
    "what is live": _LIVE,
    "stale": _RETRAIN,
    "slices": _SLICES,
}
REASONS: Mapping[str, str] = {
    code: text for codes in REASONS_BY_STEP.values() for code, text in codes.items()
}
CHECKS: Mapping[str, str] = {
    "thresholds": "thresholds are set",
    "artefact": "the model is sound",
    "time_boundary": "no model saw the future",
    "data_quality": "the data are good",
    "same_questions": "all answered the same questions",
    "unchanged": "nothing changed since",
    "earlier_evidence": "earlier evidence is whole",
    "sample_size": "enough users and events",
    "beats_floor": "better than the baseline",
    "beats_champion": "better than the live model",
    "harms_no_slice": "harms no users or items",
    "within_guards": "lists show enough",
    "choice": "best of the candidates",
    "decide": "something was compared",
}


def reason_text(code: str) -> str:
    """What a reason code says; one that is not known, as in old files, as plain words."""
    return REASONS.get(code) or code.replace("_", " ")


def reason_texts(codes: Iterable[str]) -> str:
    """Several reasons in one line."""
    return ", ".join(map(reason_text, codes))


def check_text(name: str) -> str:
    """What a check of the gate asks."""
    return CHECKS.get(name) or name.replace("_", " ")
