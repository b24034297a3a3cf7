"""Who started a run: a task of Airflow in a run of its DAG, or what the environment names."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from openlineage.client.facet_v2 import parent_run

_PARENT_WORDS = 3  # namespace/job/run, as OpenLineage's integrations write it


@dataclass(frozen=True)
class Parent:
    """A run of a job; ``root`` is the run at the beginning of all, if it is another."""

    namespace: str
    name: str
    run_id: str
    root: Parent | None = None

    def facet(self, root: Parent | None) -> parent_run.ParentRunFacet:
        """For the events of runs that this one started."""
        from openlineage.client.facet_v2 import parent_run

        whole = None
        if root is not None:
            whole = parent_run.Root(
                run=parent_run.RootRun(runId=root.run_id),
                job=parent_run.RootJob(namespace=root.namespace, name=root.name),
            )
        return parent_run.ParentRunFacet(
            run=parent_run.Run(runId=self.run_id),
            job=parent_run.Job(namespace=self.namespace, name=self.name),
            root=whole,
        )


def parent_of(environment: Mapping[str, str], namespace: str) -> Parent | None:
    """The run that started this process, if the environment tells it.

    ``OPENLINEAGE_PARENT_ID`` is ``namespace/job/run``.  Else Airflow's variables name DAG, run,
    task and try, from which the ids are computed: the same ones for every command of a task.
    """
    words = environment.get("OPENLINEAGE_PARENT_ID", "").rsplit("/", 2)
    if len(words) == _PARENT_WORDS and all(words):
        of, name, run_id = words
        return Parent(of, name, run_id)
    dag, run = (environment.get(f"AIRFLOW_CTX_{name}") for name in ("DAG_ID", "DAG_RUN_ID"))
    task, trial = (environment.get(f"AIRFLOW_CTX_{name}") for name in ("TASK_ID", "TRY_NUMBER"))
    if not (dag and run and task):
        return None
    of_dag = Parent(namespace, dag, _run_id(dag, run))
    return Parent(namespace, f"{dag}.{task}", _run_id(dag, run, task, trial or "1"), of_dag)


def _run_id(*words: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, "\n".join(("airflow", *words))))
