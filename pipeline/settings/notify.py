"""Who is told when an hour needs a person, and by when an hour must have served its readers."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pydantic import Field, field_validator

from pipeline.settings.field_types import list_of_texts
from pipeline.settings.section import Section
from pipeline.text.masking import remember_secret

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://\S.*", re.IGNORECASE)
#: A variable of the environment in an address, ``${NAME}``.
VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


class NotifySettings(Section):
    """Who is told of failures, blocked gates, rollbacks and missed deadlines."""

    to: tuple[str, ...] = Field(
        (),
        description="addresses as Apprise writes them, like mailtos://user:${MAIL_PASSWORD}@host, "
        "slack://${SLACK_TOKENS} or jsons://host/hook (a webhook); ${NAME} is a variable of the "
        "environment",
    )
    deadline_min: int = Field(
        20,
        ge=0,
        le=24 * 60,
        description="minutes after an hour's end by which its recommendations must be published; "
        "0: no deadline",
    )
    timeout_s: float = Field(
        10.0, gt=0, le=60, description="seconds that all addresses together may take a step"
    )
    page: str | None = Field(
        None,
        description="address of the report for the message; null: below AIRFLOW__API__BASE_URL, "
        "where that is set",
    )

    @field_validator("to", mode="before")
    @classmethod
    def _secrets(cls, value: object) -> object:
        # Tokens stand anywhere in an address, so all of it is a secret, also where it is refused.
        _remember_texts(value)
        return list_of_texts(value)

    @field_validator("to")
    @classmethod
    def _addresses(cls, addresses: tuple[str, ...]) -> tuple[str, ...]:
        for number, address in enumerate(addresses):
            if not (_ADDRESS.fullmatch(address) or VARIABLE.fullmatch(address)):
                raise ValueError(
                    f"entry {number} is no address: write it like mailtos://user:"
                    "${MAIL_PASSWORD}@host, or ${NAME} of a variable that holds one"
                )
        return addresses


def _remember_texts(value: object) -> None:
    if isinstance(value, str):
        remember_secret(value)
    elif isinstance(value, Mapping):
        _remember_texts(list(value.values()))
    elif isinstance(value, list | tuple):
        for each in value:
            _remember_texts(each)
