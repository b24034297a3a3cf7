from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from urllib.parse import quote

import pytest

from pipeline.errors import HourglassError, UsageError
from pipeline.text import masking
from pipeline.text.masking import (
    mask,
    masked_output,
    print_masked,
    remember_secret_variables,
    remember_secrets,
    secrets_in,
)


@pytest.fixture(autouse=True)
def _nothing_remembered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(masking, "_secrets", set())
    yield


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("at pg+psycopg2://u:p@db:5432/lake now", "at pg+psycopg2://u:***@db:5432/lake now"),
        ("postgresql://u:p@ss/w:rd@db/lake", "postgresql://u:***@db/lake"),
        ("redis://:geheim@h/0", "redis://:***@h/0"),
        ("('http://u:p@h',)", "('http://u:***@h',)"),
        ("x?user=a&password=b&sslpassword=c&d=e", "x?user=a&password=***&sslpassword=***&d=e"),
        ("host=h password='two words' user=u", "host=h password='***' user=u"),
        ('{"password": "two words", "n": 1}', '{"password": "***", "n": 1}'),
        ("aws_secret_access_key=ab/c+d&x=1", "aws_secret_access_key=***&x=1"),
        ("s3.secret-access-key: ab", "s3.secret-access-key: ***"),
        ("AKIAABCDEFGHIJKLMNOP", "***"),
        ("?sig=a%2Fb", "?sig=***"),
    ],
    ids=range(11),
)  # fmt: skip
def test_what_looks_like_a_secret_is_masked(text: str, masked: str) -> None:
    assert mask(text) == masked
    assert mask(masked) == masked


@pytest.mark.parametrize(
    "text",
    [
        "password authentication failed for user \"lake\"",
        "fe_sendauth: no password supplied",
        "http://localhost:5000/#/models/hourglass@champion",
        "models:/hourglass@champion",
        "dataset.max_tokens = 5: must be more",
        "postgresql://lake@db/lake",
        "2016-03-14T13:00 anna@example.org",
    ],
    ids=range(7),
)  # fmt: skip
def test_what_is_none_stays(text: str) -> None:
    assert mask(text) == text


SECRETS = ("gr3en-Tea", "a b&c/d@e:f", "hunter2", 'ßecret"q\\', "100%sure")


@pytest.mark.parametrize("secret", SECRETS, ids=range(len(SECRETS)))
def test_a_secret_of_an_address_is_masked_in_every_form(secret: str) -> None:
    remember_secrets({"catalog_uri": f"postgresql://u:{quote(secret, safe='')}@db/lake"})
    for form in (secret, quote(secret), quote(secret, safe=""), json.dumps(secret), repr(secret)):
        assert mask(f"FATAL: <{form.strip(chr(34) + chr(39))}> is wrong") == "FATAL: <***> is wrong"


def test_short_words_are_masked_where_they_stand_alone() -> None:
    remember_secrets("postgresql://anna:rose@db/lake")
    assert mask("rose, roses, /w/rose/x and 'rose'") == "***, roses, /w/rose/x and '***'"


def test_a_password_that_stands_beside_it_in_clear_is_masked_in_the_address_alone() -> None:
    address = "postgresql://lake:lake@db/x"
    assert secrets_in(address) == []
    remember_secrets(address)
    assert mask(f"cannot open the lake ({address})") == (
        "cannot open the lake (postgresql://lake:***@db/x)"
    )


def test_variables_whose_names_say_so_are_secret() -> None:
    remember_secret_variables(
        {
            "PGPASSWORD": "one-secret-1",
            "MLFLOW_TRACKING_TOKEN": "one-secret-2",
            "HOURGLASS_RECORD_KEY": "one-secret-3",
            "AWS_SECRET_ACCESS_KEY": "one-secret-4",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": "postgresql://a:one-secret-5@h/a",
            "AWS_WEB_IDENTITY_TOKEN_FILE": "/run/token-file",
        }
    )
    for number in range(1, 6):
        assert mask(f"x one-secret-{number}") == "x ***"
    assert mask("/run/token-file") == "/run/token-file"


def test_errors_hold_no_secret_from_the_beginning() -> None:
    remember_secrets("postgresql://anna:gr3en-Tea@db/lake")
    error = UsageError("anna's gr3en-Tea at postgresql://x:y@h")
    assert str(error) == "anna's *** at postgresql://x:***@h"
    assert HourglassError("a", 1).args == ("a", 1)


def test_all_that_is_written_is_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    remember_secrets("postgresql://anna:gr3en-Tea@db/lake")
    out, err = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    with masked_output():
        print("gr3en-Tea", json.dumps({"a": "gr3en%2DTea gr3en-Tea"}))
        print("gr3en-Tea", file=sys.stderr)
        sys.stderr.writelines(["a", "gr3en-Tea"])
        assert sys.stdout.encoding == out.encoding
    assert sys.stdout is out
    assert out.getvalue() == '*** {"a": "gr3en%2DTea ***"}\n'
    assert err.getvalue() == "***\na***"


def test_a_line_of_json_stays_one_whatever_the_secret(capsys: pytest.CaptureFixture[str]) -> None:
    remember_secrets("postgresql://u:events@h/lake")
    remember_secret_variables({"DB_PASSWORD": "123456789012", "MAX_TOKEN": "4096"})
    facts = {"events": 4096, "total": 123456789012, "why": ["no events today", {"at": None}]}
    with masked_output():
        print_masked(facts)
    assert json.loads(capsys.readouterr().out) == {
        "events": 4096,
        "total": 123456789012,
        "why": ["no *** today", {"at": None}],
    }
