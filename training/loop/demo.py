"""The demo: the whole loop once, by the same steps that Airflow runs."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from pipeline.errors import HourglassError, UsageError
from pipeline.hours import Hour, HourRange, parse_duration_h
from pipeline.quality.validate_hours import validate
from pipeline.quality.verdicts import refuse_critical_hours
from pipeline.settings.settings import load_settings, merge
from pipeline.simulator import simulate
from pipeline.text.wording import counted
from pipeline.workspace import CommandContext
from training.fit.model_lines import check_candidates
from training.loop.copied_settings import MADE_BY
from training.loop.hourly_loop import HOUR_STEPS, learn
from training.registry.mlflow_registry import ui_command
from training.steps.report import report_step
from training.steps.result import Steps, print_result
from training.steps.take_in import sessionize_step, take_in

_DATA_STEPS = ("simulate", "metadata", "ingest", "sessionize", "validate")
_PRESETS = resources.files("pipeline") / "presets"


def presets() -> list[str]:
    """Sources that the demo knows good settings for."""
    return sorted(entry.name.removesuffix(".yaml") for entry in _PRESETS.iterdir())


def demo_settings(source: str, raw: Path | None, hours: int | None, work: Path) -> dict[str, Any]:
    """The preset of a source as the content of a settings file.

    Raises:
        UsageError: no such preset, or real logs without their folder.
    """
    if source not in presets():
        raise UsageError(
            f"no demo for source {source!r}: use one of {', '.join(presets())}, "
            "or write a hourglass.yaml (see docs/tutorial.md#your-own-logs)"
        )
    content: dict[str, Any] = yaml.safe_load((_PRESETS / f"{source}.yaml").read_text("utf-8"))
    source_dir = work.absolute() / source
    if source == "simulator":
        raw = raw or source_dir / "landing"
        if hours is not None:
            content = merge(content, {"simulator": {"hours": hours}})
    elif raw is None:
        raise UsageError(f"the {source} demo needs its raw logs: pass --raw (make demo RAW=...)")
    elif hours is not None:
        content = merge(content, {"dataset": {"window": f"{hours}h"}})
    beside = {
        key: str(raw.absolute() / content["source"][key])
        for key in ("items_path", "users_path")
        if key in content["source"]
    }
    source_settings = {"path": str(raw.absolute()), **beside}
    return merge(content, {"work": str(source_dir), "source": source_settings})


def run_demo(
    opened: CommandContext, source: str, raw: Path | None, hours: int | None, work: Path
) -> None:
    """Run every step and say at the end where to look."""
    content = demo_settings(source, raw, hours, work)
    if raw is not None and not raw.exists():
        # Before the settings of an earlier demo are replaced.
        raise UsageError(f"--raw {raw}: no such file or folder")
    settings = load_settings(None, content)
    check_candidates(settings)
    ctx = CommandContext(settings, opened.clock, opened.as_json)
    settings_file = settings.work / "hourglass.yaml"
    settings.work.mkdir(parents=True, exist_ok=True)
    text = f"{MADE_BY} --source {source}`.\n" + yaml.safe_dump(content)
    for path in (settings_file, work / "hourglass.yaml"):
        path.write_text(text, encoding="utf-8")
    try:
        steps = Steps(ctx, (*_DATA_STEPS, *HOUR_STEPS[2:], "report"))
        _model_steps(ctx, _data_steps(ctx, source, raw, steps), steps)
    finally:
        ctx.close()
    console = ctx.console
    console.print("\nWhere to look", style="bold")
    for label, path_text in _places(ctx):
        console.print(f"  {label:<16}{path_text}", markup=False)


def _data_steps(ctx: CommandContext, source: str, raw: Path | None, steps: Steps) -> Hour:
    """From raw logs to sessions; returns the hour after the last event."""
    settings, lake = ctx.settings, ctx.lake
    if source == "simulator" and raw is None:
        with steps("simulate") as done:
            done(_simulate(ctx))
    if source != "simulator":
        # How long real logs are is not known; the simulated ones are short.
        ctx.compute_for(None)
    hours = take_in(ctx, steps)
    with steps("sessionize") as done:
        done(sessionize_step(ctx, hours.stop).line)
    as_of = ctx.as_of("last")
    judged = ctx.horizon_from(as_of)
    window = parse_duration_h(settings.dataset.window)
    learned = HourRange(max(as_of - window, hours.first), as_of)
    with steps("validate") as done:
        act = ctx.act()
        outcomes = validate(lake, settings, learned, act=act, alone=ctx.writing)
        outcomes += validate(lake, settings, judged, act=act, alone=ctx.writing)
        failed = [r for outcome in outcomes for r in outcome.results if not r.success]
        checked = sum(len(outcome.results) for outcome in outcomes)
        done(
            f"{counted(checked, 'expectation')} on {learned.first} to {judged.stop}, "
            f"{len(failed)} failed"
        )
        refuse_critical_hours(outcomes)
    return judged.stop


def _model_steps(ctx: CommandContext, end: Hour, steps: Steps) -> None:
    """From sessions to recommendations; prints the leaderboard last."""
    done = learn(ctx, end, steps)
    with steps("report") as done_with:
        done_with(str(report_step(ctx).value))
    if done.leaderboard is not None:
        print_result(ctx, done.leaderboard)
    if done.outcome == "block":
        raise HourglassError(f"the gate blocked the candidate: {done.sentence}")


def _simulate(ctx: CommandContext) -> str:
    world = ctx.settings.simulator
    landing = ctx.settings.source.path
    first = Hour.parse(world.start)
    hours = HourRange(first, first + world.hours)
    truth = landing.with_name(landing.name + "-truth")
    written = simulate(world, landing, truth, hours)
    return f"{counted(written.records, 'record')} in {counted(written.files, 'hourly file')}"


def _places(ctx: CommandContext) -> list[tuple[str, str]]:
    settings = ctx.settings
    return [
        ("Data Docs", str(settings.path("data_docs") / "index.html")),
        ("report", str(settings.path("reports") / "report.html")),
        ("recommendations", str(settings.path("recommendations"))),
        ("decisions", str(settings.path("decisions"))),
        ("MLflow", ui_command(settings.resolved_mlflow_uri, settings.path("mlflow"))),
        ("Airflow", "make airflow"),
        ("settings", str(settings.work / "hourglass.yaml")),
    ]
