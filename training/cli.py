"""``hourglass``: one command for each step, the same for people and for Airflow."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from pipeline import commands as data_commands
from pipeline.errors import HourglassError
from pipeline.folders import path_option
from pipeline.settings import load_settings
from pipeline.workspace import Workspace
from training import commands as model_commands
from training.copied_settings import check_settings

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
_GLOBAL_FLAGS = ("--json", "--debug")


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
    context.obj = Workspace(settings, datetime.now(UTC), as_json, config=own)
    context.call_on_close(context.obj.close)


def main() -> None:
    """Entry point: one sentence and an exit code, never a traceback unless asked for."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command line; returns 0 fine, 1 refused or failed, 2 asked wrongly."""
    ordered = _globals_first(arguments)
    debug = "--debug" in ordered
    try:
        code = app(ordered, standalone_mode=False, prog_name="hourglass")
    except HourglassError as error:
        if debug:
            raise
        return _fail(str(error), error.exit_code)
    except _BadCommandLine as error:
        said = error.format_message() if isinstance(error, typer.BadParameter) else str(error)
        return _fail(f"{said} See `hourglass --help`.", 2)
    except (typer.Abort, KeyboardInterrupt):
        return _fail("interrupted: nothing half-done is visible; run the command again", 130)
    except Exception as error:
        if debug:
            raise
        return _fail(f"{_one_line(error)} (--debug shows where)", 1)
    return code if isinstance(code, int) else 0


def _globals_first(arguments: Sequence[str]) -> list[str]:
    """Move the global options before the command, so that they may stand anywhere."""
    front: list[str] = []
    rest: list[str] = []
    waiting = False
    for argument in arguments:
        if waiting or argument in _GLOBAL_FLAGS or argument.startswith("--config="):
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
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}"


if __name__ == "__main__":
    main()
