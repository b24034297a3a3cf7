"""Models by name: those that the settings list, those in files, and plain systems."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.errors import UsageError, suggest
from pipeline.settings.folders import path_option
from pipeline.settings.learning import ModelSettings
from pipeline.settings.settings import Settings
from pipeline.settings.yaml_text import read_yaml
from training.models import MODEL_NAMES, parameter_names

_SHIPPED = resources.files("training") / "configs"
_SUFFIX = ".yaml"


class _Content(BaseModel):
    """What a model's file says."""

    model_config = ConfigDict(extra="forbid")

    system: str
    parameters: dict[str, Any] = {}


@dataclass(frozen=True)
class ModelConfig:
    """One candidate, ready to be built; ``name`` is what settings and tables call it."""

    name: str
    system: str
    parameters: dict[str, Any]
    keep_optimiser: bool = False
    init_from: str = "none"


def shipped() -> list[str]:
    """Names of the models in ``training/configs``."""
    names = (entry.name for entry in _SHIPPED.iterdir())
    return sorted(name.removesuffix(_SUFFIX) for name in names if name.endswith(_SUFFIX))


def resolve(text: ModelSettings) -> ModelConfig:
    """Read the file that a model names, and lay the model's own parameters over the file's.

    Raises:
        UsageError: there is no such file or system, or the file says something else than a model.
    """
    if text.system is not None:
        content = _Content(system=text.system)
    elif text.file in shipped():
        content = _parsed(text.file, (_SHIPPED / f"{text.file}{_SUFFIX}").read_text("utf-8"))
    elif _is_path(str(text.file)):
        content = _read(path_option(str(text.file)))
    elif text.file in MODEL_NAMES:
        content = _Content(system=text.file)
    else:
        raise _unknown(str(text.file), [])
    if content.system not in MODEL_NAMES:
        raise UsageError(
            f"model {text.name!r}: unknown system {content.system!r}: "
            f"choose one of {', '.join(MODEL_NAMES)}"
        )
    parameters = {**content.parameters, **text.parameters}
    return ModelConfig(text.name, content.system, parameters, text.keep_optimiser, text.init_from)


def configured(settings: Settings, name: str) -> ModelConfig:
    """The model that the settings call so, or else a file's, shipped or one's own.

    Raises:
        UsageError: there is none, or its file cannot be read.
    """
    for model in settings.models:
        if model.name == name:
            return resolve(model)
    if name in shipped() or _is_path(name):
        return resolve(ModelSettings(file=name))
    raise _unknown(name, [model.name for model in settings.models])


def chosen(settings: Settings, names: Sequence[str], system: str | None) -> list[ModelConfig]:
    """The models of a command: those named, those of one system, or all that are configured.

    Raises:
        UsageError: one does not exist, two have one name, or both ways of choosing are used.
    """
    if names and system:
        raise UsageError("--model and --system choose in two ways: use one of them")
    if names:
        models = [configured(settings, name) for name in names]
        called = [model.name for model in models]
        twice = sorted({name for name in called if called.count(name) > 1})
        if twice:
            raise UsageError(f"--model names {twice[0]!r} twice")
        return models
    everything = [resolve(model) for model in settings.models]
    if not everything:
        raise UsageError("the settings list no models: add some, or name one with --model")
    if system is None:
        return everything
    models = [model for model in everything if model.system == system]
    if not models:
        systems = ", ".join(dict.fromkeys(model.system for model in everything))
        raise UsageError(
            f"system {system!r} is not among those of the configured models: {systems}"
        )
    return models


def agreeing(model: ModelConfig, repeats: bool) -> ModelConfig:
    """Let a system that can tell repeats from other events learn what it will be judged on."""
    if "repeats" in model.parameters or "repeats" not in parameter_names(model.system):
        return model
    return dataclasses.replace(model, parameters={**model.parameters, "repeats": repeats})


def _is_path(text: str) -> bool:
    return "/" in text or text.endswith((_SUFFIX, ".yml"))


def _read(path: Path) -> _Content:
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise UsageError(f"{path}: cannot read the model: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not a YAML file: {error.reason}") from error
    return _parsed(str(path), text)


def _parsed(where: str, text: str) -> _Content:
    content = read_yaml(text, where)
    try:
        return _Content.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(key_part) for key_part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise UsageError(
                f"{where}: unknown key {key!r}: a model's file has system and parameters"
            ) from error
        message = f"{key}: {first['msg']}" if key else first["msg"]
        raise UsageError(f"{where}: {message}: a model's file has system and parameters") from error


def _unknown(name: str, configured_names: Sequence[str]) -> UsageError:
    names = list(dict.fromkeys([*configured_names, *shipped(), *MODEL_NAMES]))
    return UsageError(
        f"no model {name!r}{suggest(name, names)}: use one of {', '.join(names)}, or the path of a "
        "YAML file"
    )
