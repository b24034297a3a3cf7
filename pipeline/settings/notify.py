"""Who is told when an hour needs a person, and by when an hour must have served its readers."""

from __future__ import annotations

import re

from pydantic import Field, field_validator

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

    @field_validator("to")
    @classmethod
    def _addresses(cls, addresses: tuple[str, ...]) -> tuple[str, ...]:
        for number, address in enumerate(addresses):
            # Tokens stand anywhere in such an address, so all of it is a secret.
            remember_secret(address)
            if not (_ADDRESS.fullmatch(address) or VARIABLE.fullmatch(address)):
                raise ValueError(
                    f"entry {number} is no address: write it like mailtos://user:"
                    "${MAIL_PASSWORD}@host, or ${NAME} of a variable that holds one"
                )
        return addresses
