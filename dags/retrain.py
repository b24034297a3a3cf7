"""When an hour's sessions are there: retrain, compare, and promote only what is proven better.

A run works on the newest filled hour, whatever started it: `dataset` asks the lake, not the event
that triggered the run, which may be of an hour long past.  The data set is frozen at the *start* of
that hour, and its events, which no candidate has seen, judge every system.  Hours that ended
unjudged while another run was busy come first, in order, each judged by the models of its time
(`judge`); a run whose hour was judged already has nothing to do but to recommend.

So it is for a run by asset, by hand, by `dags trigger`, `dags test` or `dag.test`, and for an old
run that is cleared as a whole.  An old run that is cleared from a later task on does again what
follows for its own hour, and cannot go back: `promote` refuses a decision after which a newer one
was made.

A data set that learned from critical hours, or that is critical itself, fails its task.  A line
that cannot be trained fails `train` and the run, but the others are evaluated, monitored and gated;
so does an hour that `judge` cannot judge.  A blocked gate fails its task and the run: nothing is
promoted.  A held one promotes nothing.  Whatever becomes of the candidates, the live model
recommends.

Before the gate the monitor judges the model that was live in the hour, and rolls it back if it
must.  Where the settings say `gate: {approval: true}`, a person is asked before a promotion (in
Airflow's menu under Required Actions); without an answer in time, or with a no, the champion stays.
Meanwhile the live model recommends, and when all is settled it does so again.  The hours that end
while a person is asked wait, and the next run takes all of them: keep `gate.approval_timeout` (1h)
about as long as the steps of the log, and never above a week, after which a run is ended whatever
it waits for.

By hand: `hourglass loop`, or in this order `hourglass dataset`, `judge`, `stale`,
`train --as-needed`, `evaluate`, `monitor`, `gate`, `approve` where that is asked for, `refit`,
`promote`, `recommend`, `report`.  To go back to the previous model: `hourglass rollback`.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, task
from hourglass_tasks import DEFAULT_ARGS, PAGES_PATH, SESSIONS, START, AskPerson, command

# Every later step names the data set of this run, so that a cleared old run is not mixed with a
# newer data set.
DATASET = {"DATASET": "{{ macros.json.loads(ti.xcom_pull(task_ids='dataset'))['dataset_id'] }}"}
OF_DATASET = '--dataset "$DATASET"'
# And only this run's decision is carried out, whatever another run decided meanwhile.
GATE = "macros.json.loads(ti.xcom_pull(task_ids='gate'))"
DECISION = {"DECISION": f"{{{{ {GATE}['decision'] }}}}"}
OF_DECISION = '--decision "$DECISION"'
MODEL = "macros.json.loads(ti.xcom_pull(task_ids='refit'))['model_id']"
REFIT = {"REFIT": f"{{{{ {MODEL} or '' }}}}"}
# Where a person who is asked looks further.
PAGES = (
    f"[Every check, and earlier decisions]({PAGES_PATH}/reports/report.html#decisions) · "
    f"[Data Docs]({PAGES_PATH}/data_docs/index.html)"
)
ANSWER = "(ti.xcom_pull(task_ids='approval', key='answer') or {})"
# The proof is made with the key in HOURGLASS_RECORD_KEY; without it the command's time counts.
ANSWERED = {
    "ANSWER_BY": f"{{{{ {ANSWER}.get('by') }}}}",
    "ANSWER_AT": f"{{{{ {ANSWER}.get('at') }}}}",
    "ANSWER_PROOF": f"{{{{ {ANSWER}.get('proof') or '' }}}}",
}


# A judge that failed leaves no answer; the newest hour is worked on all the same.
@task.branch(trigger_rule="all_done_min_one_success")
def due(ti=None):  # noqa: ANN001, ANN201 - Airflow hands over the task instance
    """Whether the hour of the data set was judged already, by a run that took several."""
    import json

    judged = json.loads(ti.xcom_pull(task_ids="judge") or "{}")
    return ["stale", "evaluate"] if judged.get("due", True) else "nothing_new"


@task.branch
def ask(ti=None):  # noqa: ANN001, ANN201 - Airflow hands over the task instance
    """Whether a person is to be asked is in the gate's answer, and so in the settings alone."""
    import json

    decided = json.loads(ti.xcom_pull(task_ids="gate"))
    if decided.get("outcome") == "skipped":
        return "nothing_new"
    return ["recommend_meanwhile", "approval"] if decided.get("needs_approval") else "not_asked"


with DAG(
    dag_id="retrain",
    description="data set -> candidates -> evaluation -> gate -> promotion -> recommendations",
    doc_md=__doc__,
    schedule=[SESSIONS],
    start_date=START,
    catchup=False,
    # Two runs at once would promote against each other: each must meet the model it will replace.
    # Hours that end while a run is busy wait; the next run takes all of them.
    max_active_runs=1,
    default_args=DEFAULT_ARGS,
    # A week for a person, which no template could shorten, and a day for the work: all tasks but
    # the question have limits of their own.
    dagrun_timeout=timedelta(days=8),
    tags=["hourglass", "models"],
) as dag:
    dataset = command("dataset", "hourglass dataset --judged-until last --json", do_xcom_push=True)
    # What it cannot judge now the next run tries again; the newest hour need not wait for that.
    judge = command(
        "judge",
        f"hourglass judge {OF_DATASET} --json",
        DATASET,
        retries=0,
        do_xcom_push=True,
        execution_timeout=timedelta(hours=3),
    )
    is_due = due()
    stale = command("stale", f"hourglass stale {OF_DATASET}", DATASET)
    train = command(
        "train",
        f"hourglass train {OF_DATASET} --as-needed",
        DATASET,
        execution_timeout=timedelta(hours=3),
    )
    # One line that fails keeps no other from being judged, nor the live model from being monitored;
    # without the data set, of which `train` cannot succeed either, there is nothing to judge on.
    evaluate = command(
        "evaluate",
        f"hourglass evaluate {OF_DATASET}",
        DATASET,
        trigger_rule="all_done_min_one_success",
    )
    # What must be taken back is taken back before anything is compared with it.
    monitor = command("monitor", f"hourglass monitor {OF_DATASET}", DATASET)
    # The same frozen events give the same decision: a second try would change nothing.
    gate = command(
        "gate",
        f"hourglass gate {OF_DATASET} --json",
        DATASET,
        final_refusal=True,
        do_xcom_push=True,
    )
    asked = ask()
    # Readers come after the hour: its clicks, which judged the models, now serve them.  The live
    # model serves them whatever became of its challengers, and while a person thinks about one.
    serve = "hourglass recommend --as-of last"
    recommend_meanwhile = command("recommend_meanwhile", serve)
    approval = AskPerson(
        task_id="approval",
        subject=f"Promote {{{{ {GATE}['candidate'] }}}}?",
        body=f"{{{{ {GATE}['question'] }}}}\n\n{PAGES}",
        branches=(("Approve", "approved"), ("Reject", "rejected")),
        until=f"{{{{ {GATE}['approval_until'] }}}}",
        about=f"{{{{ {GATE}['decision'] }}}}",
    )
    proven = '${ANSWER_PROOF:+--at "$ANSWER_AT" --proof "$ANSWER_PROOF"}'
    answer = f'hourglass approve {OF_DECISION} --by "$ANSWER_BY" {proven}'
    approved = command("approved", answer, DECISION | ANSWERED)
    rejected = command("rejected", f"{answer} --reject", DECISION | ANSWERED)
    not_asked = EmptyOperator(task_id="not_asked")
    # An hour that was not worth a new model, or was judged already: the live one goes on.
    nothing_new = EmptyOperator(task_id="nothing_new", trigger_rule="none_failed_min_one_success")
    # One of the two ways must have led here; after a rejection neither did.
    refit = command(
        "refit",
        f"hourglass refit {OF_DECISION} --json",
        DECISION,
        do_xcom_push=True,
        execution_timeout=timedelta(hours=3),
        trigger_rule="none_failed_min_one_success",
    )
    # Where there is a refit it is named, where there is none the option is left out.
    promote = command(
        "promote",
        f'hourglass promote {OF_DECISION} ${{REFIT:+--refit "$REFIT"}}',
        DECISION | REFIT,
    )
    recommend = command("recommend", serve, trigger_rule="all_done")
    report = command("report", "hourglass report", trigger_rule="all_done")
    # Fails with whatever failed before it, so that the run does, though later tasks went on.
    settled = EmptyOperator(task_id="settled", trigger_rule="none_failed")

    dataset >> judge
    [dataset, judge] >> is_due >> [stale, evaluate, nothing_new]
    stale >> train >> evaluate >> monitor >> gate >> asked
    asked >> [recommend_meanwhile, approval, not_asked, nothing_new]
    approval >> [approved, rejected]
    [approved, not_asked] >> refit >> promote
    # Two of them at once would write the same rows.
    [recommend_meanwhile, promote, rejected, nothing_new] >> recommend >> report
    [judge, train, recommend_meanwhile, promote, rejected, nothing_new, recommend] >> settled
