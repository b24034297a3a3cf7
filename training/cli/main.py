"""``hourglass``: one command for each step, the same for people and for Airflow."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from pipeline import cli as data_commands
from pipeline.errors import HourglassError
from pipeline.process import interrupts
from pipeline.settings.folders import path_option
from pipeline.settings.settings import load_settings
from pipeline.text.masking import mask, masked_output
from pipeline.workspace import CommandContext
from training.cli import commands as model_commands
from training.loop.copied_settings import check_settings

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Session-aware recommendation, retrained every hour, promoted only when proven better.",
)
app.add_typer(data_commands.app)
app.add_typer(model_commands.app)
# The parser's own complaint about a command line: Typer exports only a kind of it.
_BadCommandLine: type[Exception] = typer.BadParameter.__mro__[1]
GLOBAL_FLAGS = ("--json", "--debug")


@app.callback()
def options(
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option(
            parser=path_option,
            metavar="PATH",
            help="settings; default: $HOURGLASS_CONFIG, hourglass.yaml, work/hourglass.yaml",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="result as one line of JSON")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="show the traceback of an error")] = False,  # noqa: ARG001 - read by main, before the parser
) -> None:
    """Read the settings; these options may stand before or after the command."""
    named = config or (
        path_option(value) if (value := os.environ.get("HOURGLASS_CONFIG")) else None
    )
    own = named or data_commands.own_config()
    # The demo brings its own settings; whatever lies about must not keep it from running.
    settings = load_settings(None if context.invoked_subcommand == "demo" else own)
    if context.invoked_subcommand not in ("demo", "adopt"):
        check_settings(own, settings)
    context.obj = CommandContext(settings, datetime.now(UTC), as_json)
    context.call_on_close(context.obj.close)
    # It is told how the command ends, before the context above it is closed.
    context.with_resource(context.obj.lineage(str(context.invoked_subcommand)))


def main() -> NoReturn:
    """Entry point: one sentence and an exit code, never a traceback unless asked for."""
    interrupts.guarded(lambda: program(sys.argv[1:]))


def program(arguments: Sequence[str]) -> int:
    """As `run`; the traceback that ``--debug`` asks for is printed, without secrets."""
    try:
        return run(arguments)
    except Exception as error:
        with masked_output():
            traceback.print_exc()
        return error.exit_code if isinstance(error, HourglassError) else 1


def run(arguments: Sequence[str]) -> int:
    """Run one command line; returns 0 fine, 1 refused or failed, 2 asked wrongly.

    After a signal it is 128 and the signal's number, as of any program.
    """
    with masked_output():
        return _run(arguments)


def _run(arguments: Sequence[str]) -> int:
    ordered = _globals_first(arguments)
    debug = "--debug" in ordered
    try:
        code = app(ordered, standalone_mode=False, prog_name="hourglass")
    except (typer.Abort, KeyboardInterrupt):
        return interrupts.announce()
    except Exception as error:
        # What breaks while everything is being ended is no news.
        if interrupts.is_interrupted():
            return interrupts.announce()
        return _failed(error, debug)
    return code if isinstance(code, int) else 0


def _failed(error: Exception, debug: bool) -> int:
    """The exit code of an error, which is told in one sentence, or raised again for debugging."""
    if isinstance(error, _BadCommandLine):
        message = error.format_message() if isinstance(error, typer.BadParameter) else str(error)
        ending = "" if message.endswith("?") else "."
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "hourglass"
        return _fail(f"{message.rstrip('.')}{ending} See `{command} --help`.", 2)
    if debug:
        raise error
    if isinstance(error, HourglassError):
        return _fail(str(error), error.exit_code)
    return _fail(f"{_one_line(error)} (--debug shows where)", 1)


def _globals_first(arguments: Sequence[str]) -> list[str]:
    """Move the global options before the command, so that they may stand anywhere."""
    front: list[str] = []
    rest: list[str] = []
    waiting = False
    for argument in arguments:
        if waiting or argument in GLOBAL_FLAGS or argument.startswith("--config="):
            front.append(argument)
            waiting = False
        elif argument == "--config":
            front.append(argument)
            waiting = True
        else:
            rest.append(argument)
    return front + rest


def _fail(sentence: str, code: int) -> int:
    print(f"hourglass: {sentence}", file=sys.stderr)
    return code


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}"
    # Before it is cut: half a password would not be recognised.
    text = mask(" ".join(str(error).split()))
    return f"{type(error).__name__}: {text[:300]}"


if __name__ == "__main__":
    main()
