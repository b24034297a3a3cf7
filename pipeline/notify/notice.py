"""A message to people: what, which hour, what to do next, and where to look."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.settings.settings import Settings
from pipeline.text.masking import mask

_LONGEST = 600  # characters of a sentence: a chat shows no more
# A folder of this machine before a file's name; the address of a page has two slashes.
_FOLDERS = re.compile(r"(?<![\w:/.])~?/(?:[^\s/;,:'\"()]+/)+")
_REPORT = "/hourglass/reports/report.html"


@dataclass(frozen=True)
class Notice:
    """What people are told.

    ``key`` names the thing itself, in letters of a file's name: what has the same key is sent once.
    """

    key: str
    subject: str
    what: str
    next: str
    page: str | None = None

    @property
    def body(self) -> str:
        """The lines below the subject, without secrets and without folders of this machine."""
        lines = [self.what, f"Next: {self.next}", *([f"See: {self.page}"] if self.page else [])]
        return "\n".join(lines)


def notice(
    settings: Settings,
    key: str,
    title: str,
    what: str,
    next_step: str,
    page: str | None,
) -> Notice:
    """A message about the site of the settings."""
    subject = f"Hourglass {settings.site_name}: {title}"
    return Notice(key, _plain(subject), _plain(what), _plain(next_step), page)


def report_page(settings: Settings, environment: Mapping[str, str]) -> str | None:
    """Where people see the report: as the settings say, or on Airflow's own pages."""
    base = environment.get("AIRFLOW__API__BASE_URL")
    return settings.notify.page or (base.rstrip("/") + _REPORT if base else None)


def without_folders(text: str) -> str:
    """Names of files without the folders of this machine, which say nothing to a reader."""
    return _FOLDERS.sub("", text)


def _plain(text: str) -> str:
    plain = without_folders(mask(" ".join(text.split())))
    return plain if len(plain) <= _LONGEST else f"{plain[:_LONGEST]} ..."
