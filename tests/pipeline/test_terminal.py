"""The live table of steps: what stays of it, in wide and narrow terminals and in none."""

from __future__ import annotations

import io
import re
import signal
import subprocess
import sys

import pytest
from rich.console import Console

from pipeline.terminal import StepTable, bar_signs
from tests.pseudo_terminal import ROOT, Screen, run_in_terminal

PROGRAM = """
import logging, signal, sys, time, warnings
from datetime import UTC, datetime
from pathlib import Path
from pipeline.process import interrupts
from pipeline.settings.settings import Settings
from pipeline.text.masking import masked_output
from pipeline.workspace import CommandContext, progress_bar
from training.steps.result import Steps

def command():
    with masked_output():
        ctx = CommandContext(Settings(work=Path("none")), datetime.now(UTC), "--json" in sys.argv)
        steps = Steps(ctx, ("ingest", "train", "gate"))
        with steps("ingest") as done:
            with ctx.status("starting Spark"):
                warnings.warn("be careful")
                logging.getLogger("some").warning("a line of a log")
                print("waiting for a lock ...", file=sys.stderr)
            done("300 records = 300 accepted + 0 duplicates + 0 quarantined")
        with steps("train") as done:
            with progress_bar(ctx, "training") as show:
                show("hrnn: epoch 3, loss 5.12", 0.5)
                {inside}
            done("hrnn, pop")
        steps.print_line("gate", "failed: no evidence")
        ctx.print_result("that was it", {{"hours": 1}})
    return 0
interrupts.guarded(command)
"""
WHOLE = PROGRAM.format(inside="pass")
# It is in the midst of a step, and whoever reads that knows.
INTERRUPTED = PROGRAM.format(inside="print('ready', file=sys.stderr); time.sleep(60)")
LEFT = PROGRAM.format(inside="interrupts._leave()")
BAR = """
from rich.console import Console
from pipeline.terminal import StepTable
table = StepTable(Console(), "train")
table.show("hrnn", 0.5)
with table.drawn():
    pass
"""
WARNED = ["<string>:17: UserWarning: be careful", "a line of a log", "waiting for a lock ..."]
SENTENCE = "hourglass: interrupted: nothing half-done is visible; run the command again"


def lines_of(screen: Screen) -> list[str]:
    """What stays, without the seconds, which differ."""
    return [re.sub(r"\d+\.\d s", "0.0 s", line) for line in screen.lines if line]


def test_rows_stay_in_a_terminal_and_nothing_tears_them() -> None:
    screen = run_in_terminal(WHOLE, 120)
    assert lines_of(screen) == [
        *WARNED,
        "ingest         0.0 s  300 records = 300 accepted + 0 duplicates + 0 quarantined",
        "train          0.0 s  hrnn, pop",
        "gate                  failed: no evidence",
        "that was it",
    ]
    assert screen.cursor_is_shown
    assert screen.code == 0
    # The steps to come were there while the first ran.
    assert "gate" in screen.drawn.split("be careful")[0]


def test_a_narrow_terminal_has_the_sentence_under_its_step() -> None:
    assert lines_of(run_in_terminal(WHOLE, 40)) == [
        *WARNED,
        "ingest         0.0 s",
        "  300 records = 300 accepted + 0",
        "  duplicates + 0 quarantined",
        "train          0.0 s",
        "  hrnn, pop",
        "gate",
        "  failed: no evidence",
        "that was it",
    ]


@pytest.mark.parametrize("width", [120, 40])
@pytest.mark.parametrize(("program", "code"), [(INTERRUPTED, 130), (LEFT, 1)])
def test_an_interrupted_table_leaves_its_rows_the_sentence_and_the_cursor(
    program: str, code: int, width: int
) -> None:
    screen = run_in_terminal(
        program, width, until="ready", act=lambda process: process.send_signal(signal.SIGINT)
    )
    assert screen.cursor_is_shown
    whole = "".join(screen.lines)
    assert SENTENCE in whole
    assert "Traceback" not in whole
    if program == INTERRUPTED:  # of what left at once the row may stand there
        assert screen.code == code
        assert lines_of(screen)[-1] == SENTENCE[-(len(SENTENCE) % width or width) :].lstrip()
        assert "epoch 3" not in whole


def test_elsewhere_there_are_plain_lines_even_where_colours_are_forced() -> None:
    done = plain_run({"FORCE_COLOR": "1"})
    assert [re.sub(r"\d+\.\d s", "0.0 s", line) for line in done.stdout.splitlines()] == [
        "ingest         0.0 s  300 records = 300 accepted + 0 duplicates + 0 quarantined",
        "train          0.0 s  hrnn, pop",
        "gate                  failed: no evidence",
        "that was it",
    ]
    assert "\x1b" not in done.stdout


def plain_run(environ: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """The program without any terminal."""
    return subprocess.run(
        [sys.executable, "-c", WHOLE, *arguments],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        check=True,
    )


def test_without_a_terminal_nothing_is_drawn() -> None:
    done = plain_run({})
    assert "\x1b" not in done.stdout + done.stderr
    assert "ingest ...\nstarting Spark ...\n" in done.stderr
    assert plain_run({}, "--json").stdout == '{"hours": 1}\n'


def test_a_dumb_terminal_gets_lines_and_none_gets_colours_it_does_not_want() -> None:
    assert "\x1b" not in run_in_terminal(WHOLE, 80, {"TERM": "dumb"}).drawn
    colours = re.compile(r"\x1b\[[\d;]*3\d[\d;]*m")
    assert colours.search(run_in_terminal(WHOLE, 80).drawn)
    assert not colours.search(run_in_terminal(WHOLE, 80, {"NO_COLOR": "1"}).drawn)


@pytest.mark.parametrize("locale", ["C", "POSIX"])
def test_a_locale_without_unicode_gets_ascii(locale: str) -> None:
    bars = {}
    for lang in (locale, "en_GB.UTF-8"):
        text = run_in_terminal(BAR, 80, {"LANG": lang, "PYTHONUTF8": "1"}).drawn
        bars[lang] = re.sub(r"\x1b\[[\d;]*m", "", text)
    assert bars[locale].isascii()
    assert "##########----------  50%" in bars[locale]
    assert "━━━━━━━━━━──────────  50%" in bars["en_GB.UTF-8"]
    assert bar_signs("ascii", {"LANG": "en_GB.UTF-8"}) == ("#", "-")
    assert bar_signs("utf-8", {"LANG": "C", "LC_ALL": "en_GB.UTF-8"}) == ("━", "─")


def drawn(table: StepTable) -> list[str]:
    """The lines of a table as it is now."""
    table.console.print(table.renderable())
    file = table.console.file
    assert isinstance(file, io.StringIO)
    return [line.rstrip() for line in file.getvalue().splitlines()]


@pytest.mark.parametrize(
    ("width", "height", "lines"),
    [
        (
            70,
            24,
            [
                "train          7.5 s  hrnn: epoch 3, loss 5.12, validation MRR@20 0.26",
                "                      ━━━━━━━━━━━━━━━─────  75%, 12 s left",
                "evaluate",
                "gate",
                "recommend",
            ],
        ),
        (
            40,
            7,
            [
                "train          7.5 s",
                "  hrnn: epoch 3, loss 5.12, validation M",
                "  ━━━━━━━━━━━━━━━─────  75%, 12 s left",
                "and 3 more",
            ],
        ),
    ],
    ids=["wide", "narrow and low"],
)
def test_the_running_step_shows_its_seconds_and_how_far_it_is(
    width: int, height: int, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    console = Console(file=io.StringIO(), width=width, height=height)
    monkeypatch.setattr(Console, "encoding", "utf-8")
    clock = iter([100.0, 107.5])
    table = StepTable(console, "train", ("evaluate", "gate", "recommend"), lambda: next(clock))
    with table.doing("reading"):
        table.show("hrnn: epoch 3, loss 5.12, validation MRR@20 0.2610", 0.75, "12 s left")
        assert drawn(table) == lines


def test_after_a_while_the_step_is_at_what_it_was_before() -> None:
    console = Console(file=io.StringIO(), width=70, height=24)
    table = StepTable(console, "train", clock=lambda: 0.0)
    with table.doing("starting Spark"):
        pass
    assert drawn(table) == ["train          0.0 s"]
