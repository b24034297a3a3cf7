"""Paths as people write them: ``~`` is their home, and an address elsewhere is refused.

And names that become part of a path: one check for all of them.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, get_args
from urllib.parse import quote, unquote

from pydantic import BeforeValidator

from pipeline.errors import UsageError

#: What is written below the work folder, a folder for each kind.
WorkFolder = Literal[
    "airflow",
    "candidates",
    "checkpoints",
    "data_docs",
    "decisions",
    "drill",
    "evaluations",
    "frozen",
    "judged",
    "lake",
    "mlflow",
    "models",
    "monitor",
    "notices",
    "recommendations",
    "replay",
    "reports",
    "retrain",
    "scratch",
    "shards",
    "tuning",
    "validations",
    "watch",
]
WORK_FOLDERS: tuple[WorkFolder, ...] = get_args(WorkFolder)
MLFLOW_FILE = "mlflow.db"

# One slash is enough: Path("s3://bucket") is "s3:/bucket", a folder called "s3:".
_SCHEME = re.compile(r"\s*([a-z][a-z0-9+.-]+):/", re.IGNORECASE)

_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")

# What does not stand for itself in the address of a file.
_TAKEN_APART = re.compile(r"%(?=[0-9a-f]{2})|\?", re.IGNORECASE)


def local_path(text: str) -> str:
    """The path that a text names on this machine; ``file:///x`` is ``/x``.

    Raises:
        ValueError: it is the address of another machine or of an object store, or ``~name`` names
            nobody.
    """
    match = _SCHEME.match(text)
    if match is not None:
        return _of_file_uri(text.strip(), match[1].lower())
    if not text.startswith("~"):
        return text
    try:
        return str(Path(text).expanduser())
    except RuntimeError as error:
        user = text.split("/", 1)[0]
        raise ValueError(
            f"{user!r} is nobody's home folder: write ./{user} for a folder of that name"
        ) from error


def _of_file_uri(text: str, scheme: str) -> str:
    rest = text.split(":", 1)[1]
    host, slash, path = rest[2:].partition("/") if rest.startswith("//") else ("", "", rest)
    if scheme != "file" or host not in ("", "localhost") or not (slash or path.startswith("/")):
        raise ValueError(
            "must be a path on this machine, of a local or mounted folder: object stores and "
            "other addresses are not supported yet"
        )
    return unquote(f"{slash}{path}")


def sqlite_address(database: Path) -> str:
    """The SQLAlchemy address of a SQLite file.

    A question mark would begin the address's parameters, ``%20`` would stand for a space.
    """
    return f"sqlite:///{_TAKEN_APART.sub(lambda match: quote(match[0]), str(database))}"


def path_option(text: str | Path) -> Path:
    """A path of the command line.

    Raises:
        UsageError: as `local_path`.
    """
    try:
        return Path(local_path(str(text)))
    except ValueError as error:
        raise UsageError(f"{text}: {error}") from error


def is_plain(text: str) -> bool:
    """Whether a text is one plain name: it leads neither out of its folder nor into a hidden one.

    Letters, digits, underscore, point and hyphen; neither a point nor a hyphen comes first.
    """
    return _PLAIN.fullmatch(text) is not None


def plain_name(option: str, text: str) -> str:
    """The value of an option that names something in a folder, as it was given.

    Args:
        option: what people know the value by, such as ``--dataset``.
        text: the value.

    Raises:
        UsageError: it is no plain name.
    """
    if not is_plain(text):
        raise UsageError(
            f"{option} {text!r} is not an id: write one name of letters, digits, underscore, "
            "point and hyphen, no path"
        )
    return text


def _setting(value: Any) -> Any:  # noqa: ANN401 - whatever a settings file may hold
    if value is None:
        raise ValueError("a path is needed (~ alone is YAML's word for nothing: write '~')")
    return local_path(value) if isinstance(value, str) else value


LocalPath = Annotated[Path, BeforeValidator(_setting)]
LocalFolder = Annotated[str, BeforeValidator(_setting)]
