"""What every gradient-trained system can be told."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from pipeline.errors import UsageError, suggest
from training.nn.losses import LOSS_NAMES
from training.parameters import require, require_choice

PLANS = ("users", "sessions", "windows", "session_windows")
SESSION_PLANS = ("sessions", "session_windows")  # nothing is known of the session before
WINDOW_PLANS = ("windows", "session_windows")  # no state is carried from batch to batch
SAMPLERS = ("frequency", "uniform", "batch", "local")
OPTIMISERS = ("adam", "adagrad")
PRECISIONS = ("float32", "bfloat16")
NEW_ITEMS = ("random", "neighbours")
DEVICES = ("auto", "cpu", "cuda")


@dataclass(frozen=True)
class NeuralParameters:
    """How a network is built and trained.

    Network: ``width`` of item vectors and state; ``tied``: one table for what steps are told of an
    item and for scoring it (LSTR's RE).

    Batches: ``plan``: lanes of users or of sessions whose state is carried from batch to batch, or
    separate windows of ``max_len`` events of users or of sessions; about ``batch_events`` steps a
    batch, ``bptt_steps`` of a lane; small data sets get smaller batches, ``min_batches`` an epoch.

    Loss: by name, see `training.nn.losses`; ``negatives`` are sampled for a batch, all items are
    scored where there are no more (0: always all); ``sampler``: in proportion to frequency **
    ``negative_power``, uniform, the batch's own targets, or those without what the user has met
    (local, ASARS 2.4); ``unseen_negatives``: leaves that out of any sampler's draws;
    ``log_q_correction``: draws stand for the items they were drawn from, so that the loss is that
    over all items (HRNN eq. 4); ``score_penalty``: of bpr_max; ``rewards``: by event type, r of
    HRNN 3.3 with one_against_all, with any other loss what a target's loss is multiplied by (M3's
    label weights); ``value_rewards``: by an event's value, such as seconds or stars, as points
    [value, reward] in ascending order with straight lines between them, times that of its type; an
    event without a value counts as its type says (HRNN 2.2); ``ips_temperature``: log of the
    training frequency, divided by this, is added in training only, so that what is learned is taste
    and not exposure (HRNN 3.2 and 4.4); 0 leaves it out.

    Learning: at most ``epochs``; where ``validation_share`` is above 0 the latest part of the
    targets is kept apart, learning stops after ``patience`` epochs without a better MRR on it, and
    with ``refit`` a new fit on everything then runs for the best number of epochs.

    ``learning_rate`` falls to ``final_rate``, as the share of the epochs that is left to the power
    of ``decay_power``; ``weight_decay``: L2 on all weights, of tables on the rows of the batch.

    ``continue_h``: above 0, a model that is continued learns from targets of this many latest hours
    only, for ``continue_epochs``, without a validation part, at ``continue_rate`` of the learning
    rate; 0: as if it were trained afresh.  Every step also moves what the few new events do not
    tell of: where items live long, a whole learning rate forgets them within days.  Against that,
    ``continue_kept``: so many older targets for each recent one are learned from again, drawn anew
    for each step; ``continue_distil``, ``continue_anchor``: how strongly the network is held to
    what its parent said and to the parent's weights, `training.nn.retention`.  With no epoch
    the network stays as it is, but for items that are new, and only what is counted is brought up
    to date.  ``anew_h``: above 0, a model that is continued is made anew once its latest whole fit
    knows nothing of so many hours or more, or there are twice the targets that it had.

    ``new_items``: where the vectors of items begin that a continued model has never met: at random,
    or at the mean of the known items that stand next to them.

    ``precision``: of products, float32 or bfloat16; ``compile``: fuse what leads up to the GRU,
    which costs seconds at the start and saves a tenth of the time at most on a CPU;
    ``checkpoint_s``: seconds between checkpoints; ``device``: cpu, cuda or auto.

    ``repeats``: whether an event on the item just seen is a target.  ``learn_repeats``: whether it
    is learned from where it is none, as what follows in clicks may be the same again.
    """

    width: int = 100
    tied: bool = True
    plan: str = "users"
    max_len: int = 100
    batch_events: int = 1024
    bptt_steps: int = 20
    min_batches: int = 40
    epochs: int = 12
    learning_rate: float = 0.008
    decay_power: float = 1.0
    final_rate: float = 0.0
    weight_decay: float = 0.0
    optimiser: str = "adam"
    max_gradient_norm: float = 5.0
    dropout: float = 0.4
    input_dropout: float = 0.4
    sequence_dropout: float = 0.0
    loss: str = "cross_entropy"
    negatives: int = 2048
    sampler: str = "frequency"
    negative_power: float = 0.75
    unseen_negatives: bool = False
    log_q_correction: bool = True
    score_penalty: float = 1.0
    rewards: Mapping[str, float] = field(default_factory=dict)
    value_rewards: Sequence[Sequence[float]] = field(default_factory=list)
    ips_temperature: float = 0.0
    validation_share: float = 0.1
    patience: int = 2
    refit: bool = True
    repeats: bool = False
    learn_repeats: bool = False
    continue_h: int = 0
    continue_epochs: int = 2
    continue_rate: float = 1.0
    continue_kept: float = 0.0
    continue_distil: float = 0.0
    continue_anchor: float = 0.0
    anew_h: int = 0
    new_items: str = "random"
    precision: str = "float32"
    compile: bool = False
    checkpoint_s: float = 120.0
    device: str = "auto"

    def __post_init__(self) -> None:
        for name in (
            "width",
            "max_len",
            "epochs",
            "batch_events",
            "bptt_steps",
            "min_batches",
        ):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        for name in ("learning_rate", "continue_rate", "max_gradient_norm", "checkpoint_s"):
            require(getattr(self, name) > 0, name, getattr(self, name), "above 0")
        for name in ("dropout", "input_dropout", "sequence_dropout", "validation_share"):
            share = getattr(self, name)
            require(0 <= share < 1, name, share, "0 or more and below 1")
        counts = ("negatives", "patience", "continue_h", "continue_epochs", "anew_h")
        sizes = ("ips_temperature", "score_penalty", "decay_power", "final_rate", "weight_decay")
        retention = ("continue_kept", "continue_distil", "continue_anchor")
        for name in (*counts, *sizes, *retention):
            require(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        penalty = self.score_penalty
        require(penalty < math.inf, "score_penalty", penalty, "a finite number")
        power = self.negative_power
        require(0 <= power <= 1, "negative_power", power, "between 0 and 1")
        choices = {
            "loss": LOSS_NAMES,
            "plan": PLANS,
            "sampler": SAMPLERS,
            "optimiser": OPTIMISERS,
            "new_items": NEW_ITEMS,
            "precision": PRECISIONS,
            "device": DEVICES,
        }
        for name, allowed in choices.items():
            require_choice(name, getattr(self, name), allowed)
        for kind, reward in self.rewards.items():
            is_share = type(reward) in (int, float) and 0 <= reward <= 1
            require(is_share, f"rewards.{kind}", reward, "between 0 and 1")
        rule = "pairs [value, reward], values ascending, rewards between 0 and 1"
        points = self.value_rewards
        require(all(map(_is_point, points)), "value_rewards", points, rule)
        ascend = all(before[0] < after[0] for before, after in pairwise(points))
        require(ascend, "value_rewards", points, rule)

    def require_event_types(self, event_types: Sequence[str]) -> None:
        """Refuse rewards of events that there are none of.

        Raises:
            UsageError: naming the first.
        """
        for name in self.rewards:
            if name not in event_types:
                raise UsageError(
                    f"rewards.{name}: there are no such events, only {', '.join(event_types)}"
                    f"{suggest(name, event_types)}"
                )


def _is_point(point: object) -> bool:
    """Whether that is a value and its reward."""
    if not isinstance(point, list | tuple) or len(point) != 2:  # noqa: PLR2004
        return False
    are_numbers = all(type(number) in (int, float) and math.isfinite(number) for number in point)
    return are_numbers and 0 <= point[1] <= 1


@dataclass(frozen=True)
class RecurrentParameters(NeuralParameters):
    """What the network is told beside items.

    ``session_input``: whether the request begins a session; ``delta_input``: the time since the
    last event; ``dwell_input``: the dwell bin of the last event; ``feedback_input``: its type and
    value; ``metadata_input``: what is known of its item, as a vector that is added to the item's
    (MTAM's categories); ``context_input``: context of the coming request; ``user_features``:
    metadata of users; ``item_features``: items are scored by their metadata too (HRNN eq. 2); of
    each what the data set has.  ``feature_hidden``: width of a hidden layer over the fields of
    metadata, so that what two of them say together may differ from what each says ("field-aware"
    perceptrons, HRNN 2.3); 0: tokens' vectors are averaged.  ``user_width``: of a learned vector
    for each user, which encoders that tell users apart read; 0 is none; ``user_dropout``: chance
    that a user is unknown in training, so that the zeros of users never met mean something.
    ``warm_mix``: l of HRNN eq. 2 at scoring, of items that were learned from; of cold items it is
    1.  ``item_vectors``: whether items are scored by vectors of their own too; without, l is 1
    always, and an item is nothing but its metadata.
    """

    session_input: bool = True
    delta_input: bool = True
    dwell_input: bool = True
    feedback_input: bool = False
    metadata_input: bool = False
    context_input: bool = False
    user_features: bool = False
    item_features: bool = False
    feature_hidden: int = 0
    user_width: int = 0
    user_dropout: float = 0.1
    warm_mix: float = 0.5
    item_vectors: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("user_width", "feature_hidden"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        share = self.user_dropout
        require(0 <= share < 1, "user_dropout", share, "0 or more and below 1")
        require(0 <= self.warm_mix <= 1, "warm_mix", self.warm_mix, "between 0 and 1")
        if not self.item_vectors and not self.item_features:
            raise UsageError(
                "parameter item_vectors is false, but without item_features nothing else scores "
                "items: set item_features to true"
            )
