"""Passwords and keys in what people and logs are shown: each becomes ``***``.

What looks like a secret is masked by its form: the password of an address, ``password=...``, a key
id of AWS.  What the settings and the environment hold as a secret is masked wherever it stands,
also percent-encoded or escaped, because an error may repeat it without its address.
"""

from __future__ import annotations

import html
import json
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TextIO
from urllib.parse import quote, quote_plus, unquote_plus

MASK = "***"
_SHORTEST, _FEW, _UNMISTAKABLE = 4, 5, 12  # characters
_NEVER = frozenset({"hourglass", "true", "false", "none", "null"})  # masked, they tell themselves

_PASSWORDS = r"(?:[a-z]+[_-]?)?pass(?:word|wd|phrase)|pwd"
_KEYS = (
    r"(?:[a-z]+[_-])*(?:secret|secret[_-]?key|secret[_-]?access[_-]?key|access[_-]?key(?:[_-]?id)?"
    r"|api[_-]?key|account[_-]?key|private[_-]?key)"
)
_TOKENS = r"(?:[a-z]+[_-])*token|sig|x-amz-(?:signature|credential)"
_VALUE = r"""\\?["'][^"'\\]*|[^\s"'\\&;,<>)]+"""
_EQUALS = re.compile(
    rf"""(?<![\w-])((?:{_PASSWORDS}|{_KEYS}|{_TOKENS})(?:\\?["'])?\s*=\s*)({_VALUE})""",
    re.IGNORECASE,
)
# Sentences have colons: only what hardly begins one.
_COLON = re.compile(
    rf"""(?<![\w-])((?:{_PASSWORDS}|{_KEYS})(?:\\?["'])?\s*:\s*)(?!//)({_VALUE})""", re.IGNORECASE
)
_PAIR_NAME = re.compile(rf"{_PASSWORDS}|{_KEYS}|{_TOKENS}", re.IGNORECASE)
# The last @ of the word ends a password: one that was not encoded may hold @ and / itself.  What
# follows a host may be its port.
_ADDRESS = re.compile(
    r"""([a-z][a-z0-9+.-]*:/{1,3})([^\s:/@"'<>\\]*):(?!\d+(?:[/?#]|$))([^\s"'<>\\]*)@""",
    re.IGNORECASE,
)
_WHOLE_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*:/{1,3}([^:/@]*):(.*)@(.*)", re.IGNORECASE)
_KEY_ID = re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b")
_SECRET_VARIABLE = re.compile(
    r"(?:.*_)?(?:(?:PG)?PASSWORD|PASSWD|SECRET|TOKEN|(?:SECRET|ACCESS|API|RECORD|FERNET)_KEY)"
    r"|HOURGLASS_NOTIFY__TO",  # any part of an address may be a token
    re.IGNORECASE,
)

# Of this process; whoever prints does not know which settings there are.
_secrets: set[str] = set()


def mask(text: str) -> str:
    """The text without what is secret."""
    # Longer ones first: one may hold another.
    for secret in sorted(_secrets, key=lambda each: (-len(each), each)):
        if secret in text:
            text = _without(text, secret)
    if "@" in text:
        text = _ADDRESS.sub(rf"\1\2:{MASK}@", text)
    text = _COLON.sub(_masked_pair, _EQUALS.sub(_masked_pair, text))
    return _KEY_ID.sub(MASK, text)


def remember_secrets(content: Any) -> None:  # noqa: ANN401 - an address, or nested settings
    """Mask from now on what is secret in addresses, at any depth of mappings and lists."""
    if isinstance(content, Mapping):
        for value in content.values():
            remember_secrets(value)
    elif isinstance(content, (list, tuple)):
        for value in content:
            remember_secrets(value)
    elif isinstance(content, str):
        for secret in secrets_in(content):
            _remember(secret)


def remember_secret_variables(environment: Mapping[str, str]) -> None:
    """Mask from now on what variables hold whose name says so, and the passwords of addresses."""
    for name, value in environment.items():
        # A short number is a limit or a port, MAX_TOKEN=4096, and stands in many an answer.
        if _SECRET_VARIABLE.fullmatch(name) and not (
            value.isdigit() and len(value) < _UNMISTAKABLE
        ):
            _remember(value)
        remember_secrets(value)


def remember_secret(text: str) -> None:
    """Mask from now on a text that is a secret as a whole, whatever it looks like."""
    _remember(text)


def secrets_in(address: str) -> list[str]:
    """The password of an address and what its query says is secret, as they are written there."""
    secrets: list[str] = []
    plain = ""
    match = _WHOLE_ADDRESS.fullmatch(address)
    if match is not None:
        user, password, rest = match.groups()
        plain = f"{user} {rest}"
        # One that was not encoded is read as a host or a port by whoever complains about it.
        secrets += [password, *re.split(r"[@/:?#]", password)]
    for pair in re.split(r"[?&;\s]", address):
        name, equals, value = pair.partition("=")
        if equals and _PAIR_NAME.fullmatch(name):
            secrets.append(value.strip("'\""))
    # What stands in clear beside it is nothing to hide, and often a word of every sentence.
    clear = set(re.split(r"[^\w.-]+", plain))
    return [secret for secret in dict.fromkeys(secrets) if secret and secret not in clear]


@contextmanager
def masked_output() -> Iterator[None]:
    """Mask all that is written to ``sys.stdout`` and ``sys.stderr``, by whomever."""
    out, err = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _Masked(out), _Masked(err)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = out, err


def print_masked(facts: Mapping[str, Any]) -> None:
    """Print one line of JSON whose texts are masked; names and numbers of it stay what they are."""
    stream = sys.stdout._stream if isinstance(sys.stdout, _Masked) else sys.stdout
    plain = json.loads(json.dumps(facts, default=str))
    print(json.dumps(_masked_texts(plain)), file=stream, flush=True)


def _masked_texts(value: Any) -> Any:  # noqa: ANN401 - whatever JSON holds
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, list):
        return [_masked_texts(inner) for inner in value]
    if isinstance(value, dict):
        return {name: _masked_texts(inner) for name, inner in value.items()}
    return value


class _Masked:
    """A text stream whose words pass through `mask`."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(mask(text))
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the stream has
        return getattr(self._stream, name)


def _remember(secret: str) -> None:
    """Keep a secret in every form in which it may be repeated."""
    plain = unquote_plus(secret)
    for form in (secret, plain, secret.replace("+", " ")):
        if len(form) < _SHORTEST or form.lower() in _NEVER:
            continue
        encoded = (quote(form, safe=""), quote(form), quote_plus(form))
        escaped = (json.dumps(form)[1:-1], repr(form)[1:-1], html.escape(form))
        lower = (re.sub(r"%[0-9A-F]{2}", lambda code: code[0].lower(), text) for text in encoded)
        _secrets.update((form, *encoded, *escaped, *lower))


def _without(text: str, secret: str) -> str:
    """The text without a secret.

    Short words of letters alone are masked where they stand alone: others, and paths, may hold
    them.
    """
    if len(secret) >= _UNMISTAKABLE or (len(secret) > _FEW and not secret.isalpha()):
        return text.replace(secret, MASK)
    return re.sub(rf"(?<![\w/.-]){re.escape(secret)}(?![\w/-])", MASK, text)


def _masked_pair(match: re.Match[str]) -> str:
    value = match[2]
    opening = re.match(r"""\\?["']""", value)
    return f"{match[1]}{opening[0] if opening else ''}{MASK}"
