"""What every command works with: settings, the lake, Spark when it is needed, and an output."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pipeline.hours import Hour, HourRange, parse_duration_h
from pipeline.lake.lake import Lake
from pipeline.lake.steps import INGEST, SESSIONIZE, last_filled
from pipeline.lineage.emit import Lineage, is_configured
from pipeline.notify.notice import notice, report_page
from pipeline.notify.once import send_once
from pipeline.process.actor import actor
from pipeline.process.interrupts import is_interrupted
from pipeline.process.locks import lake_lock
from pipeline.quality.incident_log import Act
from pipeline.settings.settings import Settings
from pipeline.spark.compute import Compute
from pipeline.terminal import StepTable, is_live
from pipeline.text.masking import print_masked

if TYPE_CHECKING:
    from pyspark.sql import SparkSession
    from rich.console import Console

_LOCK_WAIT_S = 600.0
_SOON_DONE_H = 24  # more hours, and how many is not known, may take minutes


@dataclass
class CommandContext:
    """One invocation; ``clock`` is read once, by the command line.

    ``clock`` tells what is past, so that all steps agree; ``now`` says when something was done.
    """

    settings: Settings
    clock: datetime
    as_json: bool = False
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    _opened: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def lake(self) -> Lake:
        """The tables; opened on first use."""
        if "lake" not in self._opened:
            settings = self.settings
            if settings.catalog_uri is None and settings.warehouse is not None:
                # The catalog is at home though its files are not.
                settings.path("lake").mkdir(parents=True, exist_ok=True)
            self._opened["lake"] = Lake(settings.resolved_catalog_uri, settings.resolved_warehouse)
        lake: Lake = self._opened["lake"]
        return lake

    def check_lake(self) -> None:
        """Make sure that the lake, if there is one yet, is no copy that names another's files.

        Raises:
            HourglassError: it is one, or cannot be opened.
        """
        from pipeline.lake.catalog import is_whole, sqlite_file

        uri, warehouse = self.settings.resolved_catalog_uri, self.settings.resolved_warehouse
        if "lake" not in self._opened and is_whole(uri, warehouse):
            return
        database = sqlite_file(uri)
        if database is None or database.is_file():
            _ = self.lake.catalog

    @property
    def compute(self) -> Compute:
        """Where steps are computed; it starts or joins Spark once one needs it."""
        if "compute" not in self._opened:
            self._opened["compute"] = Compute(
                self._start_spark,
                self.settings.spark.from_mib,
                self.settings.spark.master.startswith("local"),
            )
        compute: Compute = self._opened["compute"]
        return compute

    def compute_for(self, hours: HourRange | None) -> Compute:
        """The same; Spark, if it starts, is ready soon for a day's hours, else quick in the end.

        None: any number of hours.
        """
        if hours is None or len(hours) > _SOON_DONE_H:
            self._opened["lasting"] = True
        return self.compute

    def _start_spark(self) -> SparkSession:
        from pipeline.spark.session import spark_is_running, start_spark

        self._opened["spark is ours"] = not spark_is_running()
        with self.status("starting Spark"):
            self._opened["spark"] = start_spark(
                self.settings.spark,
                self.settings.path("scratch"),
                self._opened.get("lasting", False),
            )
        session: SparkSession = self._opened["spark"]
        return session

    @property
    def console(self) -> Console:
        """Where people read: stdout, or stderr where stdout is for machines."""
        if "console" not in self._opened:
            from rich.console import Console

            self._opened["console"] = Console(stderr=self.as_json, highlight=False, soft_wrap=True)
        console: Console = self._opened["console"]
        return console

    @property
    def step_table(self) -> StepTable | None:
        """That of the running step, where one is drawn."""
        table: StepTable | None = self._opened.get("step table")
        return table

    @contextmanager
    def step(self, name: str, coming: Sequence[str] = ()) -> Iterator[None]:
        """Show that a step runs: in a terminal a table with those to come, a line elsewhere."""
        if not is_live(self.console):
            with self.status(name):
                yield
            return
        table = StepTable(self.console, name, coming)
        self._opened["step table"] = table
        try:
            with table.drawn():
                yield
        finally:
            del self._opened["step table"]

    @contextmanager
    def status(self, doing: str) -> Iterator[None]:
        """Show that something takes its time: a spinner in a terminal, a line elsewhere."""
        from rich.console import Console

        if self.step_table is not None:
            with self.step_table.doing(doing):
                yield
            return
        console = Console(stderr=True)
        if console.is_interactive:
            with console.status(f"{doing} ..."):
                yield
        else:
            print(f"{doing} ...", file=sys.stderr, flush=True)
            yield

    @contextmanager
    def progress(self, doing: str) -> Iterator[Callable[[HourRange, int], None]]:
        """Show how far a step over many hours has come: a bar in a terminal, lines elsewhere.

        Yields what is to be called before each part, with its hours and the number left with it.
        """
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
        from rich.progress import TimeRemainingColumn as Remaining

        console = Console(stderr=True)
        if not console.is_interactive:
            print(f"{doing} ...", file=sys.stderr, flush=True)
            yield lambda step, left: print(
                f"hours {step} ({left:,} left) ...", file=sys.stderr, flush=True
            )
            return
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Remaining())
        with Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task(doing, total=None)
            before: list[int] = []

            def report(step: HourRange, left: int) -> None:
                before.append(left)
                bar.update(task, description=f"hours {step}", total=before[0])
                bar.update(task, completed=max(before[0] - left, 0))

            yield report

    @contextmanager
    def writing(self, opens: bool = True) -> Iterator[None]:
        """Be the lake's only writer; a second one waits, then is told who holds it.

        ``opens`` makes sure first that the lake is no copy that names another's files.
        """
        if opens:
            _ = self.lake.catalog

        def waiting(sentence: str) -> None:
            self.print_line(f"{sentence} ...")

        with lake_lock(self.settings.resolved_warehouse, _LOCK_WAIT_S, waiting):
            yield

    def print_line(self, sentence: str) -> None:
        """What people are to know while it happens."""
        print(sentence, file=sys.stderr, flush=True)

    def print_result(self, sentence: str, facts: Mapping[str, Any]) -> None:
        """The result of a command: a sentence for people, or one line of JSON for machines."""
        if self.as_json:
            print_masked(facts)
        else:
            self.console.print(sentence, markup=False)

    def notify(
        self, key: str, title: str, what: str, next_step: str, page: str | None = None
    ) -> list[str]:
        """Tell people once, where the settings name any; see `pipeline.notify.notice.Notice`.

        ``page`` is where to look, else the report.  An address that is not reached is told in a
        sentence on stderr, and returned: nothing is raised.
        """
        rules = self.settings.notify
        if not rules.to:
            return []
        message = notice(
            self.settings,
            key,
            title,
            what,
            next_step,
            page or report_page(self.settings, os.environ),
        )
        folder = self.settings.path("notices")
        unreached = send_once(rules, folder, message, os.environ, self.now_iso())
        for sentence in unreached:
            print(f"hourglass: {sentence}", file=sys.stderr, flush=True)
        return unreached

    @contextmanager
    def lineage(self, step: str) -> Iterator[None]:
        """Send OpenLineage events of a step, where the environment says that they are wanted."""
        if not is_configured(os.environ):
            yield
            return
        if "lineage" not in self._opened:

            def print_line(sentence: str) -> None:
                print(f"hourglass: {sentence}", file=sys.stderr, flush=True)

            self._opened["lineage"] = Lineage(self.settings, os.environ, self.now, print_line)
        sender: Lineage = self._opened["lineage"]
        with sender.step(step, lambda: self._opened.get("lake")):
            yield

    def close(self) -> None:
        """Stop Spark, if it was started here: one that was joined has other users."""
        self._opened.pop("compute", None)
        session = self._opened.pop("spark", None)
        # Where a signal ends the process, its JVM ends with it; it may not answer any more.
        if session is not None and self._opened.pop("spark is ours") and not is_interrupted():
            session.stop()

    def last_filled(self) -> Hour:
        """The last sessionized hour that is not after the last event.

        Hours of silence after it may be filled too, but there is nothing to learn in them.

        Raises:
            HourglassError: there is none yet.
        """
        from pipeline.errors import HourglassError

        last = last_filled(self.lake, INGEST)
        filled = None if last is None else last_filled(self.lake, SESSIONIZE, last + 1)
        if filled is None:
            raise HourglassError(
                "no hour is sessionized yet: run `hourglass ingest` and `hourglass backfill`"
            )
        return filled

    def refuse_future(self, hours: HourRange) -> HourRange:
        """The hours, provided that they have begun.

        Raises:
            UsageError: the range ends in the future, where nothing can be computed.
        """
        from pipeline.errors import UsageError

        now = Hour.of(self.clock)
        if hours.stop > now + 1:
            raise UsageError(f"--to {hours.stop} is in the future: the hour now is {now}")
        return hours

    def now_iso(self) -> str:
        """The time of an act, for its record."""
        return self.now().isoformat(timespec="seconds")

    def act(self, by: str | None = None) -> Act:
        """An act of now, by a person or whoever runs the command, for its record."""
        return Act(self.now(), by or actor(os.environ))

    def as_of(self, text: str) -> Hour:
        """Read ``--as-of``; ``last`` leaves one evaluation horizon of filled hours after it."""
        if text == "last":
            horizon_h = parse_duration_h(self.settings.evaluation.horizon)
            return self.last_filled() + 1 - horizon_h
        return Hour.parse(text)

    def horizon_from(self, as_of: Hour) -> HourRange:
        """The hours that judge what was frozen at ``as_of``."""
        return HourRange(as_of, as_of + parse_duration_h(self.settings.evaluation.horizon))


_Show = Callable[[str, float], None]


@contextmanager
def progress_bar(ctx: CommandContext, doing: str) -> Iterator[_Show]:
    """A progress bar in a terminal, nothing but the title elsewhere.

    Yields what is to be called with what is done and the share of all that is done, 0 to 1.
    """
    from rich.console import Console
    from rich.progress import BarColumn as Bar
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

    if ctx.step_table is not None:
        with ctx.step_table.doing(doing):
            yield ctx.step_table.show
        return
    console = Console(stderr=True)
    if not console.is_interactive:
        with ctx.status(doing):
            yield lambda _text, _fraction: None
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), Bar(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(doing, total=1.0)
        yield lambda text, fraction: progress.update(task, description=text, completed=fraction)
