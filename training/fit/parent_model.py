"""The model that training continues from: one that was asked for, or one of a line's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.errors import HourglassError, UsageError
from pipeline.hours import Hour
from pipeline.settings.folders import is_plain
from pipeline.settings.settings import Settings
from training.data.reader import DataSet
from training.fit.model_configs import ModelConfig
from training.fit.model_lines import latest_model_of
from training.models import build, parameters_class
from training.models.parts.base import GradientTrained
from training.registry.artefact import load_parent
from training.registry.champion_card import refuse_changed_model
from training.registry.mlflow_registry import Registry, champion, named_errors, previous, version_of
from training.registry.model_card import ModelCard, read_card

if TYPE_CHECKING:
    from training.trainer.distributed import ProcessGroup
    from training.trainer.interface import ParentWeights

NONE = "none"
# What a network is built of: a model that differs in one of them cannot go on from another.
_SHAPING = (
    "width",
    "hidden",
    "tied",
    "session_input",
    "delta_input",
    "dwell_input",
    "feedback_input",
    "metadata_input",
    "context_input",
    "user_features",
    "item_features",
    "feature_hidden",
)


@dataclass(frozen=True)
class ParentModel:
    """A model that others of its system may be continued from."""

    system: str
    weights: ParentWeights

    @property
    def model_id(self) -> str:
        """Of the model."""
        return self.weights.model_id

    @property
    def has_optimiser(self) -> bool:
        """Whether the state of its optimiser goes on too."""
        return bool(self.weights.optimiser)

    def fits(self, model: ModelConfig) -> bool:
        """Whether a model is of its system."""
        return model.system == self.system


def find_parent(
    settings: Settings,
    registry: Registry | None,
    parent: str,
    data: DataSet,
    models: Sequence[ModelConfig],
    group: ProcessGroup,
) -> ParentModel | None:
    """The model to continue from; of ``models``, those of its system will go on from it.

    Args:
        settings: of the work folder.
        registry: None in all processes but the first, which tells them.
        parent: ``champion``, ``previous``, a model id, or ``none``.
        data: what is to be learned from.
        models: what is to be trained.
        group: that train together.

    Raises:
        UsageError: there is no such model, it cannot be continued, it is of a system that is not
            to be trained, or it knows what came after the data set's time (P6).
        HourglassError: its artefact is damaged.
    """
    if parent == NONE:
        return None
    own = _model_id(registry, parent) if registry is not None else ""
    model_id = group.all_gather_bytes(own.encode())[0].decode()
    folder = settings.path("models") / model_id
    if not is_plain(model_id) or not folder.is_dir():
        raise UsageError(
            f"--init-from {parent}: there is no model {model_id!r} in {folder.parent}: "
            "use champion, previous, or the name of a folder there"
        )
    try:
        _refuse_changed(registry, model_id)
        start, card = load_parent(folder)
    except HourglassError as error:
        raise HourglassError(f"--init-from {parent}: {error}") from error
    if not isinstance(build(card.system, card.parameters), GradientTrained):
        raise UsageError(
            f"--init-from {parent}: {model_id} is a {card.system}, which is always fitted anew: "
            "leave --init-from out"
        )
    if not any(model.system == card.system for model in models):
        wanted = ", ".join(dict.fromkeys(model.system for model in models))
        raise UsageError(
            f"--init-from {parent}: {model_id} is a {card.system}, but what is to be trained is "
            f"{wanted}: name a model of that system with --model"
        )
    if card.as_of > data.manifest.as_of:
        raise UsageError(
            f"--init-from {parent}: {model_id} knows all up to {card.as_of}, later than "
            f"{data.manifest.dataset_id} as of {data.manifest.as_of}: continue from an older "
            "model, or leave --init-from out"
        )
    return ParentModel(card.system, start)


def find_own_parents(
    settings: Settings,
    registry: Registry | None,
    data: DataSet,
    models: Sequence[ModelConfig],
    group: ProcessGroup,
    print_line: Callable[[str], None],
    refit_of: str | None = None,
) -> dict[str, ParentModel]:
    """What each line goes on from by its own ``init_from``, by its name.

    Nothing is demanded here: where there is no such model, or none that it could go on from, the
    line begins anew, and ``print_line`` is told why.

    Args:
        settings: of the work folder.
        registry: None in all processes but the first, which tells them.
        data: what is to be learned from.
        models: what is to be trained.
        group: that train together.
        print_line: is told of lines that begin anew.
        refit_of: the judged model that is to learn from more.  Its refit goes on from it, or from
            what it went on from itself, and from no other: that would be one that nobody judged.
    """
    parents: dict[str, ParentModel] = {}
    for model in models:
        if model.init_from == NONE:
            continue
        own = ("", "")
        if registry is not None:
            card, why_not = own_parent(settings, registry, data.manifest.as_of, model, refit_of)
            why_not = why_not if card is None else _why_not(card, model) or ""
            own = (card.model_id if card else "", why_not)
        model_id, why_not = (group.all_gather_bytes(text.encode())[0].decode() for text in own)
        if why_not:
            print_line(f"{model.name} begins anew: {why_not}")
            continue
        try:
            start, card = load_parent(settings.path("models") / model_id)
        except HourglassError as error:
            print_line(f"{model.name} begins anew: {error}")
            continue
        parents[model.name] = ParentModel(card.system, start)
    return parents


def own_parent(
    settings: Settings,
    registry: Registry,
    as_of: Hour,
    model: ModelConfig,
    refit_of: str | None = None,
) -> tuple[ModelCard | None, str]:
    """Card of the model that a line goes on from by its own rule, or why there is none.

    Args:
        settings: of the work folder.
        registry: says what is live.
        as_of: the time of the data set that is to be learned from.
        model: the line.
        refit_of: as of `find_own_parents`.
    """
    try:
        model_id = (
            _by_rule(settings, registry, as_of, model)
            if refit_of is None
            else _of_refit(settings, model, refit_of)
        )
        if model_id is None:
            reasons = {
                "self": f"no earlier fit of it before {as_of}",
                "champion": "nothing is live yet",
            }
            return None, reasons.get(model.init_from, "nothing was live before the present model")
        _refuse_changed(registry, model_id)
        card = read_card(settings.path("models") / model_id)
        if card.as_of == as_of and card.parent is not None:
            # A refit that went live knows this very data set already: what it went on from is what
            # the line goes on from, so that the same fit comes out.
            card = read_card(settings.path("models") / card.parent)
            _refuse_changed(registry, card.model_id)
    except HourglassError as error:
        return None, str(error)
    if card.system != model.system:
        return None, f"{card.model_id} is a {card.system}"
    if card.as_of >= as_of:
        return None, f"{card.model_id} knows all up to {card.as_of}"
    return card, ""


def _by_rule(settings: Settings, registry: Registry, as_of: Hour, model: ModelConfig) -> str | None:
    if model.init_from == "self":
        return latest_model_of(settings, model.name, as_of)
    live = champion(registry) if model.init_from == "champion" else previous(registry)
    return live.model_id if live else None


def _of_refit(settings: Settings, model: ModelConfig, judged_id: str) -> str:
    """What the refit of a judged model goes on from, whatever was fitted or went live meanwhile.

    A line of `self` goes on from the judged model, as its next candidate does.  The others go on
    from what that went on from, as their next candidate does when the refit is live.  A judged
    network from nothing went on from none: its refit goes on from it.
    """
    judged = read_card(settings.path("models") / judged_id)
    if model.init_from == "self" or judged.continued_from is None:
        return judged_id
    return judged.continued_from


def _why_not(card: ModelCard, model: ModelConfig) -> str | None:
    """Why a line cannot go on from the weights of a model of its system."""
    system = build(model.system, model.parameters)
    if not isinstance(system, GradientTrained):
        return f"a {card.system} is always fitted anew"
    parameters = vars(system.parameters) if hasattr(system, "parameters") else {}
    kind = parameters_class(model.system)
    for name in _SHAPING:
        if name not in parameters:
            continue
        # A card of before a parameter was there tells of a model without it, as its default does.
        default = getattr(kind, name)
        if card.all_parameters.get(name, default) != parameters[name]:
            return f"{card.model_id} has another {name}"
    return None


def _model_id(registry: Registry, parent: str) -> str:
    if parent not in ("champion", "previous"):
        return parent
    live = champion(registry) if parent == "champion" else previous(registry)
    if live is None:
        raise UsageError(
            f"--init-from {parent}: there is no {parent} model yet: leave --init-from out until "
            "`hourglass promote` has made one"
        )
    return live.model_id


def _refuse_changed(registry: Registry | None, model_id: str) -> None:
    """Refuse a registered model whose card is not the recorded one; models of no registry pass."""
    if registry is None:
        return
    with named_errors(f"find {model_id}"):
        version = version_of(registry, model_id)
    if version is not None:
        refuse_changed_model(registry, version)
