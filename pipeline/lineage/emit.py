"""OpenLineage events of steps, where its own configuration says that they are wanted.

Where events go is said as its library says it: ``OPENLINEAGE_URL``, ``openlineage.yml`` and
``OPENLINEAGE_DISABLED``.  Where nothing is said nothing is imported.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.lineage.parents import Parent, parent_of
from pipeline.lineage.send import Sender
from pipeline.lineage.step_data import STEPS, Data, inputs_of, outputs_of
from pipeline.settings.settings import Settings
from pipeline.text.masking import mask

if TYPE_CHECKING:
    from pipeline.lake.lake import Lake

_TIMEOUT_S = 5.0  # of a receiver, after a command's work is done
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
        print_line: is told once why events cannot be sent; then no more are tried.  It is told of
            each table that cannot be read, too.
    """

    def __init__(
        self,
        settings: Settings,
        environment: Mapping[str, str],
        now: Callable[[], datetime],
        print_line: Callable[[str], None],
    ) -> None:
        self._settings, self._now, self._steps = settings, now, 0
        self._namespace = environment.get("OPENLINEAGE_NAMESPACE", _NAMESPACE)
        self._parents: list[Parent] = list(filter(None, [parent_of(environment, self._namespace)]))
        self._sender, self._print_line = Sender(print_line, _TIMEOUT_S), print_line

    @contextmanager
    def step(self, name: str, lake: Callable[[], Lake | None]) -> Iterator[None]:
        """Send START, then COMPLETE with what the step read and wrote, or FAIL.

        ``lake`` is asked afterwards: a step may never open it.  What is no step has no events.
        """
        if name not in STEPS or self._sender.reason:
            yield
            return
        opened = lake()
        if opened is not None:
            opened.used.clear()
        own = Parent(self._namespace, f"{self._settings.site_name}.{name}", str(uuid.uuid4()))
        above, outermost = tuple(self._parents), self._steps == 0
        self._sender.send(self._event(own, above, "START"))
        self._parents.append(own)
        self._steps += 1
        failure: BaseException | None = None
        try:
            yield
        except BaseException as error:
            failure = error
            raise
        finally:
            self._parents.remove(own)
            self._steps -= 1
            state = "COMPLETE" if failure is None else "FAIL"
            # What was used is read now: the next step begins while this event is sent.
            inputs, outputs = self._data(name, lake(), whole=failure is None)
            self._sender.send(self._event(own, above, state, inputs, outputs, failure))
            if outermost:
                self._sender.flush()

    def _data(self, name: str, lake: Lake | None, whole: bool) -> tuple[list[Data], list[Data]]:
        """Inputs and outputs, as far as they can be read; what cannot be is said."""
        print_line = self._print_line
        try:
            return (
                inputs_of(name, self._settings, lake, print_line),
                outputs_of(name, self._settings, lake, whole, print_line),
            )
        except Exception as error:
            reason = mask(" ".join(f"{type(error).__name__}: {error}".split()))
            print_line(f"step {name} has no inputs and outputs in this run's lineage: {reason}")
            return [], []

    def _event(
        self,
        own: Parent,
        above: Sequence[Parent],
        state: str,
        inputs: Sequence[Data] = (),
        outputs: Sequence[Data] = (),
        error: BaseException | None = None,
    ) -> Callable[[], Any]:
        """What makes an event of now, in the library's own classes."""
        at = self._now().isoformat()

        def made() -> Any:  # noqa: ANN401 - the library's own
            from openlineage.client import event_v2, facet_v2

            facets: dict[str, Any] = {}
            if above:
                facets["parent"] = above[-1].facet(above[0].root)
            if error is not None:
                facets["errorMessage"] = facet_v2.error_message_run.ErrorMessageRunFacet(
                    message=mask(f"{type(error).__name__}: {error}"), programmingLanguage="PYTHON"
                )
            return event_v2.RunEvent(
                eventType=event_v2.RunState(state),
                eventTime=at,
                run=event_v2.Run(runId=own.run_id, facets=facets),
                job=event_v2.Job(namespace=own.namespace, name=own.name),
                producer=f"urn:hourglass:{metadata.version('hourglass')}",
                inputs=[
                    event_v2.InputDataset(namespace=_FILES, name=each.path, facets=_schema(each))
                    for each in inputs
                ],
                outputs=[
                    event_v2.OutputDataset(namespace=_FILES, name=each.path, facets=_schema(each))
                    for each in outputs
                ],
            )

        return made


def _schema(data: Data) -> dict[str, Any]:
    from openlineage.client.facet_v2 import schema_dataset

    if data.schema is None:
        return {}
    fields = [
        schema_dataset.SchemaDatasetFacetFields(name=field.name, type=str(field.type))
        for field in data.schema
    ]
    return {"schema": schema_dataset.SchemaDatasetFacet(fields=fields)}
