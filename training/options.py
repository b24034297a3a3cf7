"""Options that several commands have."""

from __future__ import annotations

from typing import Annotated

import typer

DataSet = Annotated[str, typer.Option("--dataset", help="id of a data set; last: the latest")]
