"""A password of the settings stands in no output and in no file, however a command fails."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import quote, quote_plus

import pytest
import yaml

from pipeline.errors import one_line
from training.cli.main import program
from training.registry.mlflow_registry import ui_command

SECRET = "gr3en Te@/x"  # noqa: S105 - of nothing
FORMS = {SECRET, quote(SECRET), quote(SECRET, safe=""), quote_plus(SECRET), "gr3en"}
ENCODED = quote(SECRET, safe="")
COMMANDS = (
    "doctor",
    "where",
    "ingest",
    "backfill --plan",
    "validate --from 2023-11-14T22 --to 2023-11-14T23",
    "sessionize --from 2023-11-14T22 --to 2023-11-14T23",
    "dataset",
    "stale",
    "train",
    "evaluate",
    "gate",
    "promote",
    "rollback --reason x",
    "recommend",
    "maintain",
    "loop",
    "replay --from 2023-11-14T22 --to 2023-11-14T23",
    "report",
)
#: How an installation may be wrong, by what its settings say.
WRONG: dict[str, dict[str, Any]] = {
    "no such driver": {
        "catalog_uri": f"postgresql+nodriver://lake:{ENCODED}@127.0.0.1:1/lake",
        "mlflow_uri": f"postgresql+nodriver://lake:{ENCODED}@127.0.0.1:1/mlflow",
    },
    "nobody answers": {
        "catalog_uri": f"postgresql://lake@127.0.0.1:1/lake?password={quote_plus(SECRET)}",
        "mlflow_uri": f"http://lake:{ENCODED}@127.0.0.1:1",
    },
    "not encoded": {
        "catalog_uri": f"postgresql+nodriver://lake:{SECRET}@127.0.0.1:1/lake",
        "mlflow_uri": f"http://lake:{SECRET}@127.0.0.1:1",
    },
    "no such port": {
        "catalog_uri": f"postgresql+nodriver://lake:{ENCODED}@127.0.0.1:port/lake",
        "mlflow_uri": f"http://lake:{ENCODED}@127.0.0.1:port",
    },
    "an object store": {"work": f"s3://key:{ENCODED}@bucket/lake"},
    "no section": {"catalog_uri": {"address": f"postgresql://lake:{ENCODED}@h/lake"}},
}


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which commands run, and a catalog that complains like the worst of drivers."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HOURGLASS_CONFIG", raising=False)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr("pipeline.lake.catalog._OPENING_ATTEMPTS", 1)
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "clicks.csv").write_text("ts,user,item\n1700000000,anna,shoe\n")

    def complaining(catalog: object, name: str, uri: str, **_: str) -> NoReturn:
        from sqlalchemy.exc import OperationalError

        raise OperationalError(f"connect to {uri} as {SECRET!r}", None, ValueError(ENCODED))

    monkeypatch.setattr("pipeline.lake.iceberg.fast_pyiceberg.CachedCatalog.__init__", complaining)
    return tmp_path


@pytest.mark.parametrize("fault", list(WRONG))
def test_no_command_tells_a_password(
    shop: Path, capfd: pytest.CaptureFixture[str], fault: str
) -> None:
    columns = {"event_time": "ts", "user_id": "user", "item_id": "item"}
    source = {"name": "delimited", "path": "raw", "columns": columns}
    (shop / "hourglass.yaml").write_text(yaml.safe_dump({"source": source, **WRONG[fault]}))
    failed = 0
    # In one way for the one fault and in the other for the next: each command is run in both.
    for place, command in enumerate(COMMANDS, start=list(WRONG).index(fault)):
        failed += program([*command.split(), ("--json", "--debug")[place % 2]]) != 0
    captured = capfd.readouterr()
    assert failed
    written = [
        path.read_bytes().decode(errors="replace")
        for path in shop.rglob("*")
        if path.is_file() and path.name != "hourglass.yaml"
    ]
    for text in (captured.out, captured.err, *written):
        for form in FORMS:
            assert form not in text
    assert "***" in captured.err


def test_the_command_that_shows_runs_leaves_the_password_to_who_runs_it() -> None:
    address = f"postgresql://anna:{ENCODED}@db/mlflow?sslpassword=x1"
    for uri in (address, f"http://anna:{ENCODED}@mlflow:5000"):
        shown = ui_command(uri, Path("/w"))
        assert "anna:***@" in shown
        assert "gr3en" not in shown
        assert "x1" not in shown


def test_what_is_kept_of_a_failed_fit_holds_no_password() -> None:
    said = one_line(ValueError(f"cannot reach http://anna:{ENCODED}@mlflow:5000"))
    assert said == "ValueError: cannot reach http://anna:***@mlflow:5000"
