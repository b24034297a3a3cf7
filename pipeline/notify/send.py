"""Sending a message to addresses: none of them fails or holds up whoever sends.

Each address has a thread of its own.  Who has not answered in time is left behind: the thread ends
with the process.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from threading import Thread
from urllib.parse import quote

from pipeline.notify.notice import Notice
from pipeline.settings.notify import VARIABLE
from pipeline.text.masking import remember_secret

_BEFORE_HOST = ":{}@"


def send(
    message: Notice,
    addresses: Sequence[str],
    environment: Mapping[str, str],
    timeout_s: float,
) -> list[str | None]:
    """Send a message to each address, to all at once.

    Args:
        message: what people are told.
        addresses: as the settings have them, ``${NAME}`` and all.
        environment: what the names stand for.
        timeout_s: after so long all that have not answered are left behind.

    Returns:
        For each address None, or why it was not reached, without the address: all of it may be a
        secret.
    """
    reasons: list[str | None] = [f"did not answer within {timeout_s:g} s"] * len(addresses)
    _keep_quiet()
    threads = []
    for number, address in enumerate(addresses):
        try:
            whole = with_variables(address, environment)
        except KeyError as error:
            reasons[number] = f"the variable {error.args[0]} is not set"
            continue
        thread = Thread(target=_send_one, args=(message, whole, reasons, number), daemon=True)
        thread.start()
        threads.append(thread)
    ends_s = time.monotonic() + timeout_s
    for thread in threads:
        thread.join(max(0.0, ends_s - time.monotonic()))
    return list(reasons)  # a thread that is left behind may still write into its own


def with_variables(address: str, environment: Mapping[str, str]) -> str:
    """The address with the values of its variables, which are masked from now on.

    As a password, between ``:`` and ``@``, a value may hold any character; elsewhere it is put in
    as it is, since it may be a whole address or several tokens.

    Raises:
        KeyError: naming a variable that is not set.
    """
    for name in VARIABLE.findall(address):
        value = environment.get(name)
        if not value:
            raise KeyError(name)
        remember_secret(value)
        variable = f"${{{name}}}"
        password = _BEFORE_HOST.format(quote(value, safe=""))
        address = address.replace(_BEFORE_HOST.format(variable), password)
        address = address.replace(variable, value)
    remember_secret(address)
    return address


def named(number: int, address: str) -> str:
    """How people are told which address is meant, without any of it but its kind."""
    kind = address.partition("://")[0] if "://" in address else "a variable"
    return f"notify.to[{number}] ({kind})"


def _send_one(message: Notice, address: str, reasons: list[str | None], number: int) -> None:
    """Note in its entry of ``reasons`` what came of it."""
    try:
        import apprise

        service = apprise.Apprise()
        if not service.add(address):
            reasons[number] = "no service takes such an address: see Apprise's list of them"
        elif service.notify(
            title=message.subject, body=message.body, body_format=apprise.NotifyFormat.TEXT
        ):
            reasons[number] = None
        else:
            reasons[number] = "did not take the message"
    except Exception as error:
        # Whatever a service's own code does: the hour is worth more than the message.
        reasons[number] = f"failed with {type(error).__name__}"


def _keep_quiet() -> None:
    """Let the library say nothing by itself: its lines tell addresses."""
    logger = logging.getLogger("apprise")
    logger.propagate = False
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
