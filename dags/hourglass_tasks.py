"""What the DAGs share: defaults, an asset, how a task is one command, how a person is asked."""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.hitl import HITLBranchOperator
from airflow.sdk import Asset
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from hourglass_hours import named_hour

# Relative paths of the settings (`work`, `hourglass.yaml`) mean the same here as in a terminal.
ROOT = Path(__file__).resolve().parent.parent

SESSIONS = Asset("sessions", uri="hourglass://lake/sessions")

# Of the pages, below whatever path Airflow's own address has.
PAGES_PATH = urlsplit(os.environ.get("AIRFLOW__API__BASE_URL", "")).path.rstrip("/") + "/hourglass"

# The DAG whose runs are each about an hour of their own.
BY_THE_HOUR = "sessions_hourly"

# Far back, so that any hour of an old log may be backfilled; with catchup=False it starts nothing.
START = datetime(1990, 1, 1, tzinfo=UTC)

# A command's start, and whatever notify.timeout_s allows.  Ended then, it takes 20 s at most, and
# Airflow must not be less patient than both: [core] task_success_overtime in dags/airflow.env.
NOTIFY_S = 80.0


def notify_failure(context: Any) -> None:  # noqa: ANN401 - the context is Airflow's
    """Have `hourglass notify` tell people of a task that failed for good.

    Who is told stands in the settings alone.  Whatever comes of it, the task failed as it did.
    """
    ti = context["ti"]
    words = ["hourglass", "notify", "--failed", ti.task_id, "--page", ti.log_url]
    dataset = (getattr(ti.task, "env", None) or {}).get("DATASET", "{{")
    if ti.dag_id == BY_THE_HOUR:
        hour = named_hour(context["dag_run"])
        words += ["--hour", hour] if hour else ["--no-hour"]
    elif "{{" not in dataset:  # it could be rendered
        words += ["--dataset", dataset]
    mask = os.environ.get("TASK_UMASK")
    log = logging.getLogger("airflow.task")
    try:
        done = subprocess.run(  # noqa: S603 - a list, no shell
            words,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=NOTIFY_S,
            check=False,
            umask=int(mask, 8) if mask else -1,
        )
        log.info("%s", (done.stdout + done.stderr).strip())
    except (OSError, subprocess.SubprocessError) as error:
        log.warning("nobody was told of this failure: %s", type(error).__name__)


DEFAULT_ARGS: dict[str, Any] = {
    "owner": "hourglass",
    # A kill, of the command or of what Airflow needs for it, costs a try and a minute: tries that
    # lie further and further apart made an hour late by a quarter of an hour.
    "retries": 4,
    "retry_delay": timedelta(minutes=1),
    "execution_timeout": timedelta(minutes=50),
    # Called when no retry is left.
    "on_failure_callback": notify_failure,
}


# Exit codes of a command that says no; of one that was killed it is the signal's.
_REFUSALS = (1, 2)


class Command(BashOperator):
    """Runs a command whose files have the permissions that the user's own commands give them.

    Airflow keeps its state to its user (`dags/airflow.sh`); tables and reports have other readers.
    Where ``final_refusal`` is set, a command that refuses is not tried again, which would change
    nothing; one that was killed is.
    """

    def __init__(
        self,
        *,
        final_refusal: bool = False,
        **options: Any,  # noqa: ANN401 - they are the operator's own
    ) -> None:
        super().__init__(**options)
        self.final_refusal = final_refusal

    def execute(self, context: Any) -> Any:  # noqa: ANN401 - the signature is Airflow's
        """Run it; the process is this task's own."""
        wanted = os.environ.get("TASK_UMASK")
        before = os.umask(int(wanted, 8)) if wanted else None
        try:
            return super().execute(context)
        except AirflowException as error:
            process = self.subprocess_hook.sub_process
            if self.final_refusal and process and process.returncode in _REFUSALS:
                raise AirflowFailException(str(error)) from error
            raise
        finally:
            if before is not None:
                os.umask(before)


def command(
    task_id: str,
    line: str,
    values: Mapping[str, str] | None = None,
    **options: Any,  # noqa: ANN401 - they are the operator's own
) -> BashOperator:
    """A task that is one command line, with this process's environment, in the project's folder.

    ``line`` holds no template: what earlier tasks or people said is text that a shell would read.
    It comes in ``values``, templates by the names of variables that the line quotes, ``"$NAME"``.
    ``options`` go to the operator.  Every non-zero exit fails the task, so that a refusal can
    never pass for a skipped task.
    """
    return Command(
        task_id=task_id,
        bash_command=line,
        env=dict(values or {}),
        append_env=True,
        cwd=str(ROOT),
        skip_on_exit_code=None,
        **{"do_xcom_push": False, **options},
    )


class AskPerson(HITLBranchOperator):
    """Asks a person to choose one of two branches; without an answer in time it is the second.

    ``until``, a template, is the time until which there may be an answer: what the settings say of
    it is known only when a run asks.  The XCom ``answer`` then holds who chose, and when, and a
    proof of it where the environment has a key: without one the command's own time counts.
    ``about``, a template, is the decision that is asked about.
    """

    template_fields = (*HITLBranchOperator.template_fields, "until", "about")

    def __init__(
        self,
        *,
        until: str,
        about: str,
        branches: tuple[tuple[str, str], tuple[str, str]],
        **options: Any,  # noqa: ANN401 - they are the operator's own
    ) -> None:
        super().__init__(
            options=[option for option, _ in branches],
            options_mapping=dict(branches),
            defaults=branches[1][0],
            # It limits the execution, which ends when the waiting begins.
            execution_timeout=None,
            **options,
        )
        self.until = until
        self.about = about

    def execute(self, context: Any) -> Any:  # noqa: ANN401 - the signature is Airflow's
        """Ask, and wait for an answer, at least for a second."""
        left = datetime.fromisoformat(self.until) - datetime.now(UTC)
        if not os.environ.get("HOURGLASS_RECORD_KEY"):
            # Nothing proves when the answer came, so the command that records it must be in time.
            left -= min(left / 10, timedelta(minutes=5))
        self.response_timeout = max(left, timedelta(seconds=1))
        return super().execute(context)

    def execute_complete(self, context: Any, event: Any) -> Any:  # noqa: ANN401 - as above
        """Go on in the branch that was chosen."""
        by = (event.get("responded_by_user") or {}).get("name")
        at = event.get("responded_at")
        answer = {"by": by or "nobody", "at": at.isoformat() if at else None}
        chosen = (event.get("chosen_options") or [None])[0]
        if answer["at"] and (key := os.environ.get("HOURGLASS_RECORD_KEY")):
            answer["proof"] = self._proof(key, chosen, answer)
        context["ti"].xcom_push(key="answer", value=answer)
        return super().execute_complete(context, event)

    def _proof(self, key: str, chosen: str | None, answer: dict[str, Any]) -> str:
        """What `hourglass approve` verifies: training/deployment/answer_proof.py says the same."""
        approved = chosen == next(iter(self.options_mapping))
        told = ["approved" if approved else "rejected", Path(self.about).name]
        text = "\n".join([*told, answer["at"], answer["by"]])
        return hmac.new(key.encode(), text.encode(), hashlib.sha256).hexdigest()
