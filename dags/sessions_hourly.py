"""Hourly: raw files -> events -> sessions, for the hour that has just ended.

A run works on the hour of its logical date.  Without one, or with one in the hour that still runs,
it is the last hour that was over.  So it is for the schedule, for a backfill, and for a run by
hand; a data interval that a person chose goes before both.  The form of *Trigger* names the hour
outright, and so does

    dags/airflow.sh dags trigger sessions_hourly --conf '{"hour": "2016-03-14T13"}'

Each task is a command a person can run by hand for the same hour, and running it again replaces
the same hour with the same rows.  A critical expectation fails its task: the hour stays unfilled,
and later ones wait for it, until the data are mended and the run is cleared, or a person lets the
hour pass with `hourglass validate --accept "why"`.

To fill past hours, `hourglass backfill` takes them in one Spark job; Airflow takes them one by
one, in order, when told so (both ends are inclusive):

    dags/airflow.sh backfill create --dag-id sessions_hourly \\
        --from-date 2016-03-14T00 --to-date 2016-03-14T23 --max-active-runs 1

Pause `retrain` meanwhile, or every hour filled starts a training run.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, CronDataIntervalTimetable, Param
from hourglass_hours import end_hour, first_hour
from hourglass_tasks import BY_THE_HOUR, DEFAULT_ARGS, SESSIONS, START, command

FIRST = {"FIRST": "{{ first_hour(dag_run) }}"}
STOP = {"STOP": "{{ end_hour(dag_run) }}"}
HOUR = '--from "$FIRST" --to "$STOP"'
ENDS = FIRST | STOP

with DAG(
    dag_id=BY_THE_HOUR,
    description="raw files -> events -> sessions, one hour at a time",
    doc_md=__doc__,
    # A cron text alone would give a run the end of its hour for a logical date.
    schedule=CronDataIntervalTimetable("0 * * * *", timezone="UTC"),
    start_date=START,
    catchup=False,
    # An hour starts from the sessions that the hour before left open, so hours go one by one.
    max_active_runs=1,
    # A backfill has its own limit of runs, 10 unless told otherwise; this one holds for both.
    default_args={**DEFAULT_ARGS, "max_active_tis_per_dag": 1},
    dagrun_timeout=timedelta(hours=2),
    user_defined_macros={"first_hour": first_hour, "end_hour": end_hour},
    tags=["hourglass", "data"],
    params={
        "hour": Param(
            None,
            type=["null", "string"],
            pattern=r"^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])T([01]\d|2[0-3])$",
            title="Hour",
            description="Start of the hour to compute, UTC, like 2016-03-14T13. Empty: the hour "
            "of the logical date.",
        )
    },
) as dag:
    # All that has arrived by the end of the hour: a file that came too late for the run of its own
    # hour, or while Airflow was down, is taken in by the next one.
    ingest = command("ingest", 'hourglass ingest --to "$STOP"', STOP)
    # The same rows give the same verdict: a second try would only delay the alarm.
    validate = command(
        "validate", f"hourglass validate {HOUR} --only events", ENDS, final_refusal=True
    )
    sessionize = command("sessionize", f"hourglass sessionize {HOUR}", ENDS)
    # Models learn from sessions that were looked at, so the asset is this task's.
    validate_sessions = command(
        "validate_sessions",
        f"hourglass validate {HOUR} --only sessions",
        ENDS,
        final_refusal=True,
        outlets=[SESSIONS],
    )

    # Beside the others, because it is wanted most when they fail; were it after them, its success
    # would pass for the run's.
    report = command("report", "hourglass report", trigger_rule="all_done")

    ingest >> validate >> sessionize >> validate_sessions
    validate >> report
