"""Sending events beside the work of a step, in their order; a receiver that fails stops nothing."""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Any

from pipeline.text.masking import mask

_LONGEST = 200  # characters of a reason


class Sender:
    """A thread that sends what it is given; it ends with the process if nobody answers.

    Args:
        print_line: is told once why events cannot be sent; no more are tried then.
        timeout_s: how long `flush` waits for a receiver, after the step has ended.
    """

    def __init__(self, print_line: Callable[[str], None], timeout_s: float) -> None:
        self._print_line, self._timeout_s = print_line, timeout_s
        self._waiting: SimpleQueue[Callable[[], Any] | None] = SimpleQueue()
        self._thread: Thread | None = None
        self.reason = ""  # why no event can be sent

    def send(self, event: Callable[[], Any]) -> None:
        """Send an event, which is built in the thread, after those before it."""
        if self.reason:
            return
        self._waiting.put(event)
        if self._thread is None:
            self._thread = Thread(target=self._run, daemon=True)
            self._thread.start()

    def flush(self) -> None:
        """Wait for what was given so far to be sent, and say what went wrong."""
        if self._thread is None:
            return
        self._waiting.put(None)
        self._thread.join(self._timeout_s)
        if self._thread.is_alive():
            self.reason = f"did not answer within {self._timeout_s:g} s"
        if self.reason:
            self._print_line(f"no lineage of this run is sent: OpenLineage: {self.reason}")
        self._thread = None

    def _run(self) -> None:
        try:
            from openlineage.client import OpenLineageClient

            client = OpenLineageClient()
            while (event := self._waiting.get()) is not None:
                client.emit(event())
        except ImportError:
            self.reason = "openlineage-python is not installed: pip install 'hourglass[lineage]'"
        except Exception as error:
            sentence = mask(" ".join(str(error).split()))
            self.reason = f"{type(error).__name__}: {sentence[:_LONGEST]}"
