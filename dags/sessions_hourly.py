"""Hourly: raw files -> events -> sessions, for the hour that has just ended.

Each task is a command a person can run by hand for the same hour, and running it again replaces
the same hour with the same rows.  A critical expectation fails its task: the hour stays unfilled,
and later ones wait for it, until the data are mended and the run is cleared, or a person lets the
hour pass with `hourglass validate --accept "why"`.

A run works on the hour of its own data interval, the last that is over when it is scheduled.  A
person who triggers one may name another under `hour`, like 2016-03-14T13 (UTC): then the run works
on that, whatever its interval is.  In a terminal:

    dags/airflow.sh dags trigger sessions_hourly --conf '{"hour": "2016-03-14T13"}'

To fill past hours, `hourglass backfill` takes them in one Spark job; Airflow takes them one by
one, in order, when told so (both ends are inclusive):

    dags/airflow.sh backfill create --dag-id sessions_hourly \\
        --from-date 2016-03-14T00 --to-date 2016-03-14T23 --max-active-runs 1

Pause `retrain` meanwhile, or every hour filled starts a training run.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, CronDataIntervalTimetable, Param
from hourglass_tasks import DEFAULT_ARGS, HOUR_FORMAT, SESSIONS, START, command

# The hour that a person names, or the run's own.
NAMED_END = "macros.datetime.fromisoformat(params.hour) + macros.timedelta(hours=1)"
FIRST = {"FIRST": f"{{{{ params.hour or data_interval_start.strftime('{HOUR_FORMAT}') }}}}"}
STOP = {
    "STOP": f"{{{{ (({NAMED_END}) if params.hour else data_interval_end)"
    f".strftime('{HOUR_FORMAT}') }}}}"
}
HOUR = '--from "$FIRST" --to "$STOP"'
ENDS = FIRST | STOP

with DAG(
    dag_id="sessions_hourly",
    description="raw files -> events -> sessions, one hour at a time",
    doc_md=__doc__,
    # A cron text alone would give intervals of no length: the hour to compute would be lost.
    schedule=CronDataIntervalTimetable("0 * * * *", timezone="UTC"),
    start_date=START,
    catchup=False,
    # An hour starts from the sessions that the hour before left open, so hours go one by one.
    max_active_runs=1,
    # A backfill has its own limit of runs, 10 unless told otherwise; this one holds for both.
    default_args={**DEFAULT_ARGS, "max_active_tis_per_dag": 1},
    dagrun_timeout=timedelta(hours=2),
    tags=["hourglass", "data"],
    params={
        "hour": Param(
            None,
            type=["null", "string"],
            pattern=r"^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])T([01]\d|2[0-3])$",
            title="Hour",
            description="Start of the hour to compute, UTC, like 2016-03-14T13. Empty: the hour "
            "of the run's own data interval.",
        )
    },
) as dag:
    # All that has arrived by the end of the hour: a file that came too late for the run of its own
    # hour, or while Airflow was down, is taken in by the next one.
    ingest = command("ingest", 'hourglass ingest --to "$STOP"', STOP)
    # The same rows give the same verdict: a second try would only delay the alarm.
    validate = command("validate", f"hourglass validate {HOUR} --only events", ENDS, retries=0)
    sessionize = command("sessionize", f"hourglass sessionize {HOUR}", ENDS)
    # Models learn from sessions that were looked at, so the asset is this task's.
    validate_sessions = command(
        "validate_sessions",
        f"hourglass validate {HOUR} --only sessions",
        ENDS,
        retries=0,
        outlets=[SESSIONS],
    )

    # Beside the others, because it is wanted most when they fail; were it after them, its success
    # would pass for the run's.
    report = command("report", "hourglass report", trigger_rule="all_done")

    ingest >> validate >> sessionize >> validate_sessions
    validate >> report
