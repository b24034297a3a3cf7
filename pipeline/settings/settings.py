"""All settings, from one YAML file and ``HOURGLASS_*`` environment variables.

Environment variables override the file (``HOURGLASS_SPARK__MASTER=local[4]``).  A key or variable
that no class below names, or a key that stands twice, is an error, so that a misspelt setting
never passes for its default.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self, get_args, get_origin

from pydantic import (
    BaseModel,
    Field,
    PrivateAttr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from pipeline.errors import UsageError, suggest
from pipeline.settings.environment import environment_values, variable_of
from pipeline.settings.field_types import Duration, named_once
from pipeline.settings.folders import (
    MLFLOW_FILE,
    LocalFolder,
    LocalPath,
    WorkFolder,
    sqlite_address,
)
from pipeline.settings.former_keys import with_present_names
from pipeline.settings.learning import (
    ANEW_DAILY,
    EvaluationSettings,
    GateSettings,
    ModelSettings,
    MonitorSettings,
    RecommendSettings,
    ReplaySettings,
    RetrainSettings,
    TuneSettings,
)
from pipeline.settings.notify import NotifySettings
from pipeline.settings.section import Section, keys_as_before
from pipeline.settings.simulator import SimulatorSettings
from pipeline.settings.source import SourceSettings
from pipeline.settings.tables import DatasetSettings, IngestSettings, SessionSettings
from pipeline.settings.yaml_text import read_yaml
from pipeline.text.masking import remember_secret_variables, remember_secrets

# Names of folders and of formats that say nothing of whose they are.
_ANY_FOLDER = frozenset({"work", "landing", "raw", "data", "logs", "log", "input", "tmp"})
_ANY_FORMAT = frozenset({"delimited", "json_lines", "parquet", "orc", "avro", "access_log"})


class QualitySettings(Section):
    """How validation is kept and read."""

    suites: LocalPath | None = Field(None, description="folder of your own expectation suites")
    keep: int = Field(200, ge=1, description="validation results kept in Data Docs")
    report_hours: int = Field(336, ge=1, description="how far back the report looks")


class MaintainSettings(Section):
    """How long upkeep leaves things alone, and how large it makes files."""

    keep: Duration = Field("7d", description="how long a state stays readable after the next one")
    grace: Duration = Field("1d", description="files that changed since are never removed")
    target_mib: int = Field(128, ge=1, description="small files are joined up to this size")


class SparkSettings(Section):
    """The Spark session; the same jobs run through spark-submit with another master."""

    master: str = Field("local[*]", description="Spark's master, such as local[4]")
    driver_memory: str = Field("4g", description="memory of the Java process, as Spark writes it")
    shuffle_partitions: int | None = Field(
        None, ge=1, description="default: four a core on one machine, else Spark's own"
    )
    from_mib: int = Field(
        64,
        ge=0,
        description="size in MiB of a step's input files from which on Spark computes it, as it "
        "does from 16,384 rows for each MiB; less is computed without starting it, and so are, "
        "where spark.master is local, ingest of any size and what is likely to fit 3 GiB, such as "
        "sessionize of 14 million rows a step, a data set of 7 million; 0: Spark computes all",
    )


def _default_models() -> tuple[ModelSettings, ...]:
    names = ("pop", "recent_pop", "p_pop", "item_knn", "vsknn")
    others = tuple(ModelSettings(system=name) for name in names)
    hrnn = ModelSettings(system="hrnn", init_from="self", parameters=ANEW_DAILY)
    return (*others, hrnn, ModelSettings(system="hrnn_trend", init_from="self"))


class _Environment(PydanticBaseSettingsSource):
    """The variables of this process."""

    def __call__(self) -> dict[str, Any]:
        return environment_values(self.settings_cls, os.environ)

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:  # noqa: ANN401, ARG002 - the signature is pydantic's
        return None, field_name, False  # all fields are read at once


class Settings(BaseSettings):
    """Everything a command may be told; each section is documented by its own class."""

    model_config = SettingsConfigDict(
        env_prefix="HOURGLASS_", env_nested_delimiter="__", extra="forbid", frozen=True
    )

    site: str = Field(
        "", description="what pages call this site; default: the name of its work or source folder"
    )
    work: LocalPath = Field(Path("work"), description="folder of all that commands write")
    catalog_uri: str | None = Field(
        None, description="address of the table catalog; null: SQLite in the work folder"
    )
    warehouse: LocalFolder | None = Field(
        None, description="folder of the table files; null: lake in the work folder"
    )
    mlflow_uri: str | None = Field(
        None, description="address of MLflow: a server or a store; null: SQLite in the work folder"
    )
    registered_model: str = Field("hourglass", description="its name in MLflow's registry")
    source: SourceSettings = SourceSettings()
    ingest: IngestSettings = IngestSettings()
    sessions: SessionSettings = SessionSettings()
    dataset: DatasetSettings = DatasetSettings()
    models: tuple[ModelSettings, ...] = Field(
        default_factory=_default_models, description="what is trained and compared, an entry each"
    )
    candidate: str | tuple[str, ...] = Field(
        "hrnn_trend", description="the models that may go live, by name; the gate judges each"
    )
    monitor: MonitorSettings = MonitorSettings()
    retrain: RetrainSettings = RetrainSettings()
    replay: ReplaySettings = ReplaySettings()
    tune: TuneSettings = TuneSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    gate: GateSettings = GateSettings()
    quality: QualitySettings = QualitySettings()
    recommend: RecommendSettings = RecommendSettings()
    maintain: MaintainSettings = MaintainSettings()
    notify: NotifySettings = NotifySettings()
    spark: SparkSettings = SparkSettings()
    simulator: SimulatorSettings = SimulatorSettings()
    _file: Path | None = PrivateAttr(None)

    @field_validator("models")
    @classmethod
    def _each_name_once(cls, models: tuple[ModelSettings, ...]) -> tuple[ModelSettings, ...]:
        names = [model.name for model in models]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two models are called {twice[0]!r}: give one of them another name")
        return models

    @field_validator("candidate")
    @classmethod
    def _each_candidate_once(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        named_once(value)
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the signature is pydantic's
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let the environment win over the file, which arrives as initial values."""
        return _Environment(settings_cls), init_settings

    @model_validator(mode="after")
    def _enough_users_are_asked(self) -> Self:
        most, monitor = self.evaluation.max_users, self.monitor
        least = max(-(-monitor.min_users // monitor.hours), self.gate.min_slice_users)
        if most is not None and most < least:
            raise ValueError(
                f"evaluation.max_users: {most} is below {least}, of which monitor.min_users and "
                "gate.min_slice_users ask: nothing would be monitored, or no slice judged"
            )
        return self

    @model_validator(mode="after")
    def _lists_of_guards_have_pairs(self) -> Self:
        if "diversity" in self.gate.guards and self.evaluation.k == 1:
            raise ValueError(
                "gate.guards: diversity compares the items of a list, and with evaluation.k: 1 a "
                "list has one: nothing would ever be promoted: leave the guard out, or let "
                "evaluation.k be 2 or more"
            )
        return self

    @model_validator(mode="after")
    def _passive_types_occur(self) -> Self:
        passive, types = self.sessions.passive_types, self.source.event_types
        for name in passive:
            if types and name not in types:
                raise ValueError(
                    f"sessions.passive_types: {name!r} is none of source.event_types "
                    f"({', '.join(types)})"
                )
        has_own_types = self.source.name not in _ANY_FORMAT - {"access_log"}
        has_types = has_own_types or self.source.columns.event_type is not None
        every = self.source.default_event_type
        if every in passive and not has_types:
            raise ValueError(
                f"sessions.passive_types: all events are of the type {every!r} "
                "(source.default_event_type), so there would be no session"
            )
        return self

    @property
    def file(self) -> Path | None:
        """The YAML file that these were read from."""
        return self._file

    @property
    def candidates(self) -> tuple[str, ...]:
        """Names of the models that may go live."""
        return (self.candidate,) if isinstance(self.candidate, str) else self.candidate

    @property
    def site_name(self) -> str:
        """What people call the site whose logs these are.

        Without `site`: the work folder's name or the source folder's, unless they are called as
        most are; then that of a log which is known by its own format, or of the folder that holds
        the work folder.
        """
        work, source = self.work.absolute(), self.source.path.absolute()
        of_folders = [
            name for name in (work.name, source.stem) if name.lower() not in _ANY_FOLDER | {""}
        ]
        of_format = [] if self.source.name in _ANY_FORMAT else [self.source.name]
        names = [self.site, *of_folders, *of_format, work.parent.name, self.source.name]
        return next(name for name in names if name)

    @property
    def resolved_warehouse(self) -> Path:
        """Folder of the table files."""
        return Path(self.warehouse) if self.warehouse else self.work.absolute() / "lake"

    @property
    def resolved_catalog_uri(self) -> str:
        """SQLAlchemy address of the table catalog."""
        return self.catalog_uri or sqlite_address(self.work.absolute() / "lake" / "catalog.db")

    @property
    def resolved_mlflow_uri(self) -> str:
        """Address of MLflow's tracking store and registry."""
        return self.mlflow_uri or sqlite_address(self.work.absolute() / MLFLOW_FILE)

    def path(self, name: WorkFolder) -> Path:
        """A folder of the work folder."""
        return self.work.absolute() / name

    def digest(self, *sections: str) -> str:
        """Short hash of the named sections, recorded with whatever they shaped."""
        parts = []
        for name in sections:
            section = getattr(self, name)
            parts.append(f"{name}={section.model_dump_json(exclude=keys_as_before(section))}")
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def load_settings(path: Path | None, overrides: dict[str, Any] | None = None) -> Settings:
    """Read the YAML file (none: all defaults), then the overrides of the command line.

    Raises:
        UsageError: the file is missing or not YAML, or a key is unknown or has a wrong value.
    """
    remember_secret_variables(os.environ)
    content: Any = {}
    name = "settings" if path is None else str(path)
    if path is not None:
        try:
            content = read_yaml(path.read_text(encoding="utf-8"), str(path)) or {}
        except OSError as error:
            raise UsageError(f"{path}: cannot read the settings: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise UsageError(f"{path}: not a YAML file: {error.reason}") from error
        if not isinstance(content, dict):
            raise UsageError(f"{path}: the settings must be a mapping of sections")
        content = with_present_names(content, name)
    remember_secrets(content)
    try:
        settings = Settings(**merge(content, with_present_names(overrides or {}, "command line")))
    except ValidationError as error:
        # A misspelt key often is why another one is missing.
        wrong = error.errors()
        first = next((each for each in wrong if each["type"] == "extra_forbidden"), wrong[0])
        where = ".".join(str(key_part) for key_part in first["loc"])
        name = variable_of(first["loc"], os.environ) or name
        if first["type"] == "extra_forbidden":
            keys = _keys(Settings, first["loc"][:-1])
            hint = suggest(str(first["loc"][-1]), keys)
            rest = "all keys stand in pipeline/settings/"
            if keys and not hint:
                rest = f"there are {', '.join(keys)}"
            raise UsageError(f"{name}: unknown key {where!r}{hint}: {rest}") from error
        message = first["msg"].removeprefix("Value error, ")
        # Of keys of a section that do not go together, the message names them.
        is_value = first["type"] != "value_error" or not isinstance(first["input"], dict)
        what = [f"{where} = {first['input']!r}" if is_value else where]
        raise UsageError(": ".join(filter(None, [name, *what, message]))) from error
    settings._file = path
    return settings


def _keys(model: type[BaseModel], path: Sequence[str | int]) -> list[str]:
    """The keys of a section; none where what lies there is no section."""
    if not path:
        return list(model.model_fields)
    field = model.model_fields.get(str(path[0]))
    kind = None if field is None else field.annotation
    rest = path[1:]
    if get_origin(kind) is tuple and rest:
        kind, rest = get_args(kind)[0], rest[1:]
    return _keys(kind, rest) if isinstance(kind, type) and issubclass(kind, BaseModel) else []


def merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Lay one nested mapping over another; neither argument changes."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        both = isinstance(value, dict) and isinstance(below, dict)
        merged[key] = merge(below, value) if both else value  # type: ignore[arg-type]
    return merged
