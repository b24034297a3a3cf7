"""How a fit comes from the model before it: a step on from its weights, or anew after it."""

from __future__ import annotations

from dataclasses import dataclass

from training.data.reader import DataSet
from training.fit.parent_model import ParentModel
from training.model_types import Continuation, WholeFit
from training.models.parts.base import MadeAnewInTime, Model


@dataclass(frozen=True)
class Descent:
    """A model's parent, and whether its weights are gone on from.

    Where they are not, the weights of the score features go on all the same.
    """

    parent: ParentModel
    made_anew: bool
    whole_fit: WholeFit | None  # the latest one behind the parent
    signs: tuple[str, ...] = ()  # codes of `retrain_policy` that had it made anew, if any

    @property
    def continued_from(self) -> str | None:
        """Id of the model whose weights are gone on from."""
        return None if self.made_anew else self.parent.model_id

    @property
    def made_anew_after(self) -> str | None:
        """Id of the model whose weights might have been gone on from."""
        return self.parent.model_id if self.made_anew else None

    @property
    def optimiser_continued(self) -> bool:
        """Whether the state of the parent's optimiser goes on too."""
        return self.parent.has_optimiser and not self.made_anew

    @property
    def sentence(self) -> str:
        """What is said of the model behind its id."""
        parent = self.parent.model_id
        if not self.made_anew:
            return f"continued from {parent}"
        why = [f"made anew after {parent}"]
        if self.whole_fit is not None:
            why.append(_in_words(self.whole_fit))
        if self.whole_fit is None or not self.whole_fit.is_due:
            why.append(f"by the signs {', '.join(self.signs)}" if self.signs else "as asked")
        return ", ".join(why)


def _in_words(whole_fit: WholeFit) -> str:
    words = [f"was {whole_fit.age_h:g} h old"] if whole_fit.is_old or not whole_fit.is_due else []
    words += ["had at most half of the targets of now"] if whole_fit.is_outgrown else []
    return f"whose whole fit {' and '.join(words)}"


def descent_of(
    system: Model,
    data: DataSet,
    parent: ParentModel,
    continuation: Continuation,
    signs: tuple[str, ...] = (),
) -> Descent | None:
    """How a system that is to be fitted on a data set comes from a parent; None: not at all.

    Of a system that is never made anew by itself nothing of the parent goes on when it is.

    Args:
        system: to be fitted.
        data: what it learns from.
        parent: what it may go on from.
        continuation: whether it does.
        signs: codes that have it made anew, where it would go on as due otherwise.
    """
    if continuation is Continuation.AS_DUE and signs:
        continuation = Continuation.ANEW
    else:
        signs = ()
    if not isinstance(system, MadeAnewInTime):
        is_anew = continuation is Continuation.ANEW
        return None if is_anew else Descent(parent, made_anew=False, whole_fit=None)
    whole_fit = system.whole_fit_before(data, parent.weights)
    made_anew = {
        Continuation.AS_DUE: whole_fit is not None and whole_fit.is_due,
        Continuation.STEP: False,
        Continuation.ANEW: True,
    }
    return Descent(parent, made_anew[continuation], whole_fit, signs)
