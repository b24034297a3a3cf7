"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.errors import UsageError
from pipeline.sealed_json import folder_of
from pipeline.settings.folders import plain_name

DataSet = Annotated[str, typer.Option("--dataset", help="id of a data set; last: the latest")]


def decision_file(folder: Path, named: Path) -> Path:
    """The decision that ``--decision`` names: its name alone, or its path.

    What stands for or against a decision, newer ones and people's answers, lies beside it: a copy
    elsewhere has none of that, and is refused.

    Args:
        folder: of the decisions, ``<work>/decisions``.
        named: what the option was given.

    Raises:
        UsageError: the file would lie anywhere else.
    """
    name = plain_name("--decision", named.name)
    file = folder / name if named == Path(name) else named
    if folder_of(file.resolve()) != folder.resolve():
        raise UsageError(
            f"--decision {named}: decisions lie in {folder}: give the name of a file there"
        )
    return folder / name
