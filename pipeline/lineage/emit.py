"""Sending OpenLineage events where its own configuration says; a receiver that fails stops nothing.

Where events go is said as its library says it: ``OPENLINEAGE_URL``, ``openlineage.yml`` and
``OPENLINEAGE_DISABLED``.  Where nothing is said nothing is imported.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from importlib import metadata
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

from pipeline.lineage.parents import Parent, parent_of
from pipeline.lineage.step_data import STEPS, Data, inputs_of, outputs_of
from pipeline.settings.settings import Settings
from pipeline.text.masking import mask

if TYPE_CHECKING:
    from pipeline.lake.lake import Lake

_TIMEOUT_S = 5.0
_NAMESPACE, _FILES = "hourglass", "file"


def is_configured(environment: Mapping[str, str]) -> bool:
    """Whether the library would find somewhere to send events to."""
    if environment.get("OPENLINEAGE_DISABLED", "").strip().lower() == "true":
        return False
    if environment.get("OPENLINEAGE_URL") or any(
        name.startswith("OPENLINEAGE__TRANSPORT") for name in environment
    ):
        return True
    named = environment.get("OPENLINEAGE_CONFIG")
    files = [Path("openlineage.yml"), Path("~/.openlineage/openlineage.yml").expanduser()]
    return any(path.is_file() for path in ([Path(named)] if named else []) + files)


class Lineage:
    """The events of a process: of its steps, and of steps within one, whose parent it is.

    Args:
        settings: name the site and the folders.
        environment: says who started the process, as Airflow does.
        now: the time of an event.
        print_line: is told once why events cannot be sent; then no more are tried.
    """

    def __init__(
        self,
        settings: Settings,
        environment: Mapping[str, str],
        now: Callable[[], datetime],
        print_line: Callable[[str], None],
    ) -> None:
        self._settings, self._now, self._print_line = settings, now, print_line
        self._namespace = environment.get("OPENLINEAGE_NAMESPACE", _NAMESPACE)
        self._parents: list[Parent] = list(filter(None, [parent_of(environment, self._namespace)]))
        self._client: Any = None
        self._fails = False

    @contextmanager
    def step(self, name: str, lake: Callable[[], Lake | None]) -> Iterator[None]:
        """Send START, then COMPLETE with what the step read and wrote, or FAIL.

        ``lake`` is asked afterwards: a step may never open it.  What is no step has no events.
        """
        if name not in STEPS or self._fails:
            yield
            return
        opened = lake()
        if opened is not None:
            opened.used.clear()
        own = Parent(self._namespace, f"{self._settings.site_name}.{name}", str(uuid.uuid4()))
        self._send(lambda: self._event(own, "START"))
        self._parents.append(own)
        try:
            yield
        except BaseException as error:
            self._end(own, name, lake(), error)
            raise
        self._end(own, name, lake(), None)

    def _end(self, own: Parent, name: str, lake: Lake | None, error: BaseException | None) -> None:
        self._parents.remove(own)

        def event() -> Any:  # noqa: ANN401 - the library's own
            inputs = inputs_of(name, self._settings, lake)
            outputs = outputs_of(name, self._settings, lake, whole=error is None)
            state = "COMPLETE" if error is None else "FAIL"
            return self._event(own, state, inputs, outputs, error)

        self._send(event)

    def _send(self, event: Callable[[], Any]) -> None:
        """Send in a thread of its own, which is left behind when the receiver does not answer."""
        if self._fails:
            return
        outcome = [f"did not answer within {_TIMEOUT_S:g} s"]

        def sending() -> None:
            try:
                from openlineage.client import OpenLineageClient

                if self._client is None:
                    self._client = OpenLineageClient()
                self._client.emit(event())
                outcome[0] = ""
            except ImportError:
                outcome[0] = "openlineage-python is not installed: pip install 'hourglass[lineage]'"
            except Exception as error:
                outcome[0] = f"{type(error).__name__}: {mask(' '.join(str(error).split()))[:200]}"

        thread = Thread(target=sending, daemon=True)
        thread.start()
        thread.join(_TIMEOUT_S)
        if outcome[0]:
            self._fails = True
            self._print_line(f"no lineage of this run is sent: OpenLineage: {outcome[0]}")

    def _event(
        self,
        own: Parent,
        state: str,
        inputs: list[Data] | None = None,
        outputs: list[Data] | None = None,
        error: BaseException | None = None,
    ) -> Any:  # noqa: ANN401 - the library's own
        from openlineage.client import event_v2, facet_v2

        facets: dict[str, Any] = {}
        above = [parent for parent in self._parents if parent is not own]
        if above:
            facets["parent"] = above[-1].facet(above[0].root)
        if error is not None:
            facets["errorMessage"] = facet_v2.error_message_run.ErrorMessageRunFacet(
                message=mask(f"{type(error).__name__}: {error}"), programmingLanguage="PYTHON"
            )
        return event_v2.RunEvent(
            eventType=event_v2.RunState(state),
            eventTime=self._now().isoformat(),
            run=event_v2.Run(runId=own.run_id, facets=facets),
            job=event_v2.Job(namespace=own.namespace, name=own.name),
            producer=f"urn:hourglass:{metadata.version('hourglass')}",
            inputs=[
                event_v2.InputDataset(namespace=_FILES, name=each.path, facets=_schema(each))
                for each in inputs or ()
            ],
            outputs=[
                event_v2.OutputDataset(namespace=_FILES, name=each.path, facets=_schema(each))
                for each in outputs or ()
            ],
        )


def _schema(data: Data) -> dict[str, Any]:
    from openlineage.client.facet_v2 import schema_dataset

    if data.schema is None:
        return {}
    fields = [
        schema_dataset.SchemaDatasetFacetFields(name=field.name, type=str(field.type))
        for field in data.schema
    ]
    return {"schema": schema_dataset.SchemaDatasetFacet(fields=fields)}
