"""Settings that the demo wrote into a work folder which was copied or moved since.

They name the first work folder by its absolute path: every command would work there.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml

from pipeline.errors import HourglassError
from pipeline.settings.settings import Settings, load_settings

MADE_BY = "# Made by `hourglass demo"


def check_settings(config: Path | None, settings: Settings) -> None:
    """Refuse settings in a copied work folder that name the first one.

    Raises:
        HourglassError: they do.
    """
    own = _own_work(config, settings)
    if own is not None:
        raise HourglassError(
            f"{config} was copied with its work folder: it names the lake in {settings.work}, not "
            f"the one in {own}; nothing was written: run `hourglass --config {config} adopt` to "
            "let it name its own"
        )


def adopted_settings(config: Path | None, settings: Settings, plan: bool) -> Settings:
    """The settings for the work folder that they were copied with, and written as such.

    With ``plan`` no file changes.  Settings of no copied work folder are returned as they are.
    """
    own = _own_work(config, settings)
    if config is None or own is None:
        return settings
    first, *rest = config.read_text("utf-8").splitlines(keepends=True)
    content = _renamed(yaml.safe_load("".join(rest)), str(settings.work), str(own))
    # The demo writes the same beside the work folder and in it.
    for path in () if plan else (own / config.name, own.parent / config.name):
        if _own_work(path, settings) == own:
            beside = path.with_name(f".{path.name}.new")
            beside.write_text(first + yaml.safe_dump(content), encoding="utf-8")
            beside.replace(path)
    return load_settings(None, content)


def _own_work(config: Path | None, settings: Settings) -> Path | None:
    """The work folder that settings of the demo lie in, if it is another than they name."""
    if config is None or not config.is_file():
        return None
    text = config.read_text("utf-8", errors="replace")
    # What the environment says instead was not copied.
    if not text.startswith(MADE_BY) or yaml.safe_load(text).get("work") != str(settings.work):
        return None
    folder = Path(os.path.realpath(config)).parent
    named = Path(os.path.realpath(settings.work))
    if named in (folder, folder / named.name):
        return None
    own = [path for path in (folder / named.name, folder) if (path / "lake").is_dir()]
    return own[0] if own else None


def _renamed(content: Any, former: str, own: str) -> Any:  # noqa: ANN401 - as YAML has it
    """The content with every path inside a folder named by another folder's name."""
    if isinstance(content, dict):
        return {key: _renamed(value, former, own) for key, value in content.items()}
    if isinstance(content, list):
        return [_renamed(value, former, own) for value in content]
    if isinstance(content, str) and (content == former or content.startswith(f"{former}/")):
        return own + content.removeprefix(former)
    return content
