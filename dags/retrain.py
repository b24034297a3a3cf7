"""When an hour's sessions are there: retrain, compare, and promote only what is proven better.

The data set is frozen at the *start* of the newest hour that triggered the run, and that hour's
events, which no candidate has seen, judge every system.  A run started by hand has no triggering
hour and takes the last filled one.  A data set that learned from critical hours, or that is
critical itself, fails its task.  A blocked gate fails its task, so nothing is promoted and no
recommendations are written; a held one promotes nothing and lets the champion recommend.

By hand, in this order: `hourglass dataset`, `train`, `evaluate`, `gate`, `promote`, `recommend`,
`report`.  To go back to the previous model: `hourglass rollback`.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG
from hourglass_tasks import DEFAULT_ARGS, SESSIONS, START, command

# Runs triggered by an asset have no data interval: the hours are those of the runs that made it.
# One run may be given several hours; the newest knows everything the others knew.
NEWEST = (
    "--as-of {{% set hours = triggering_asset_events.values() | sum(start=[])"
    " | map(attribute='source_dag_run') | select"
    " | map(attribute='{edge}') | select | list %}}"
    "{{{{ (hours | max).strftime('%Y-%m-%dT%H') if hours else 'last' }}}}"
)
START_OF_HOUR = NEWEST.format(edge="data_interval_start")
END_OF_HOUR = NEWEST.format(edge="data_interval_end")
# Every later step names the data set of this run, so that a cleared old run is not mixed with a
# newer data set.
DATASET = "--dataset {{ macros.json.loads(ti.xcom_pull(task_ids='dataset'))['dataset_id'] }}"
# And only this run's decision is carried out, whatever another run decided meanwhile.
DECISION = "--decision '{{ macros.json.loads(ti.xcom_pull(task_ids='gate'))['decision'] }}'"

with DAG(
    dag_id="retrain",
    description="data set -> candidates -> evaluation -> gate -> promotion -> recommendations",
    doc_md=__doc__,
    schedule=[SESSIONS],
    start_date=START,
    catchup=False,
    # Two runs at once would promote against each other: each must meet the model it will replace.
    # Hours that end while a run is busy wait; a later run takes the newest of those it is given.
    max_active_runs=1,
    default_args=DEFAULT_ARGS,
    dagrun_timeout=timedelta(hours=6),
    tags=["hourglass", "models"],
) as dag:
    dataset = command("dataset", f"hourglass dataset {START_OF_HOUR} --json", do_xcom_push=True)
    train = command("train", f"hourglass train {DATASET}", execution_timeout=timedelta(hours=3))
    evaluate = command("evaluate", f"hourglass evaluate {DATASET}")
    # The same frozen events give the same decision: a second try would change nothing.
    gate = command("gate", f"hourglass gate {DATASET} --json", retries=0, do_xcom_push=True)
    promote = command("promote", f"hourglass promote {DECISION}")
    # Readers come after the hour: its clicks, which judged the models, now serve them.
    recommend = command("recommend", f"hourglass recommend {END_OF_HOUR}")
    report = command("report", "hourglass report")

    dataset >> train >> evaluate >> gate >> promote >> recommend >> report
