"""What both DAGs share: their defaults, the asset between them, and how a task is one command."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import Asset

# Relative paths of the settings (`work`, `hourglass.yaml`) mean the same here as in a terminal.
ROOT = Path(__file__).resolve().parent.parent

SESSIONS = Asset("sessions", uri="hourglass://lake/sessions")

# Far back, so that any hour of an old log may be backfilled; with catchup=False it starts nothing.
START = datetime(1990, 1, 1, tzinfo=UTC)

DEFAULT_ARGS: dict[str, Any] = {
    "owner": "hourglass",
    "retries": 2,
    "retry_delay": timedelta(minutes=2),
    "retry_exponential_backoff": True,
    "execution_timeout": timedelta(minutes=50),
}


def command(
    task_id: str,
    line: str,
    **options: Any,  # noqa: ANN401 - they are the operator's own
) -> BashOperator:
    """A task that is one command line, with this process's environment, in the project's folder.

    ``options`` go to the operator.  Every non-zero exit fails the task, so that a refusal can
    never pass for a skipped task.
    """
    return BashOperator(
        task_id=task_id,
        bash_command=line,
        cwd=str(ROOT),
        skip_on_exit_code=None,
        **{"do_xcom_push": False, **options},
    )
