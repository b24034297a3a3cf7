"""Who runs a command, for the records of what people and schedules do."""

from __future__ import annotations

import getpass
from collections.abc import Mapping


def actor(environ: Mapping[str, str]) -> str:
    """The run of Airflow that the command is a task of, or else the user's login name."""
    run, dag = environ.get("AIRFLOW_CTX_DAG_RUN_ID"), environ.get("AIRFLOW_CTX_DAG_ID")
    if run and dag:
        return f"Airflow ({dag}, run {run})"
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # no entry for the user, as in many containers
        return "a user without a name"
