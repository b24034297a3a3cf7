"""What the steps of a run share: a data set and the events that judge its models."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.workspace import CommandContext

if TYPE_CHECKING:
    from pipeline.dataset.manifest import Manifest
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
        events of now would be others, and nothing evaluated on them.
        """
        from training.evaluation.evaluate import evaluated_test_sets

        hours = self.ctx.horizon_from(self.manifest.as_of)
        evaluated = evaluated_test_sets(self.ctx.settings, self.folder.name, hours)
        return evaluated[-1] if evaluated else self.test_folder

    @cached_property
    def evaluated_set(self) -> DataSet:
        """The same, read."""
        from training.data.reader import read_dataset

        if self.evaluated_folder == self.__dict__.get("test_folder"):
            return self.test_set  # as in the loop, whose steps share what was read
        return read_dataset(self.evaluated_folder)
