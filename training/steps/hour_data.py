"""What the steps of a run share: a data set and the events that judge its models."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import HourglassError
from pipeline.workspace import CommandContext

if TYPE_CHECKING:
    from pipeline.dataset.manifest import Manifest
    from pipeline.lake.lake import State
    from training.data.reader import DataSet


@dataclass(frozen=True)
class HourData:
    """A data set and the events that judge its models, each read once a run, when first needed."""

    ctx: CommandContext
    folder: Path

    @cached_property
    def manifest(self) -> Manifest:
        """Of the data set."""
        from pipeline.dataset.manifest import read_manifest

        return read_manifest(self.folder)

    @cached_property
    def learned(self) -> DataSet:
        """What models learn from."""
        from training.data.reader import read_dataset

        return read_dataset(self.folder)

    @cached_property
    def test_folder(self) -> Path:
        """Where the events lie that judge the models, frozen on first use."""
        from pipeline.dataset.build import find_test_set, freeze_test_set

        ctx, hours = self.ctx, self.ctx.horizon_from(self.manifest.as_of)
        before = find_test_set(ctx.lake, ctx.settings, self.folder, hours)
        if before is not None:
            return before
        with ctx.status(f"freezing the events of {hours}"):
            return freeze_test_set(ctx.compute, ctx.lake, ctx.settings, self.folder, hours)

    @cached_property
    def test_set(self) -> DataSet:
        """What judges the models."""
        from training.data.reader import read_dataset

        return read_dataset(self.test_folder)

    @cached_property
    def evaluated_folder(self) -> Path:
        """What the models were last evaluated on, for the steps that go by the evaluation.

        Events of the hours may come late while these steps run one after the other; then the
        events of now would be others, and nothing evaluated on them.  Where those of now were
        frozen, they count, evaluated or not.
        """
        from pipeline.dataset.build import find_test_set
        from training.evaluation.evaluate import evaluated_test_sets

        ctx, hours = self.ctx, self.ctx.horizon_from(self.manifest.as_of)
        evaluated = evaluated_test_sets(ctx.settings, self.folder.name, hours)
        if not evaluated:
            return self.test_folder
        try:
            of_now = find_test_set(ctx.lake, ctx.settings, self.folder, hours)
        except HourglassError:  # its hours wait for their sessions
            of_now = None
        return of_now or evaluated[-1]

    @cached_property
    def judging_state(self) -> State:
        """The state of the tables that those events were read from."""
        from pipeline.dataset.manifest import read_state
        from pipeline.lake.stale_hours import settled_state

        ctx, state = self.ctx, read_state(self.evaluated_folder)
        if ctx.lake.holds(state):
            return state
        hours = ctx.horizon_from(self.manifest.as_of)
        return settled_state(ctx.lake, ctx.settings, hours.stop)

    @cached_property
    def evaluated_set(self) -> DataSet:
        """The same, read."""
        from training.data.reader import read_dataset

        if self.evaluated_folder == self.__dict__.get("test_folder"):
            return self.test_set  # as in the loop, whose steps share what was read
        return read_dataset(self.evaluated_folder)
