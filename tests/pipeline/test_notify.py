"""People are told once, whatever their addresses do; nothing of an address is told by us."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from webhook import webhook

from pipeline.errors import UsageError
from pipeline.notify.notice import Notice, notice, report_page, without_folders
from pipeline.notify.once import send_once
from pipeline.notify.send import send, with_variables
from pipeline.process.locks import locked
from pipeline.settings.notify import NotifySettings
from pipeline.settings.settings import Settings, load_settings
from pipeline.text import masking
from pipeline.text.masking import mask
from pipeline.workspace import CommandContext

MESSAGE = Notice("2016-03-14T13-train", "Hourglass shop: train failed", "It failed.", "mend it")
AT = "2016-03-14T14:05:00+00:00"


@pytest.fixture(autouse=True)
def _nothing_remembered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(masking, "_secrets", set())
    yield


def test_a_webhook_is_sent_the_subject_and_a_few_lines() -> None:
    message = Notice("k", "subject", "What happened.", "do this", "http://localhost:8080/report")
    with webhook() as hook:
        assert send(message, [hook.address], {}, 10) == [None]
    assert hook.titles == ["subject"]
    assert hook.messages[0]["message"].splitlines() == [
        "What happened.",
        "Next: do this",
        "See: http://localhost:8080/report",
    ]


def test_the_same_thing_is_sent_once_and_another_too(tmp_path: Path) -> None:
    with webhook() as hook:
        rules = NotifySettings(to=(hook.address,))
        for _ in range(3):
            assert send_once(rules, tmp_path, MESSAGE, {}, AT) == []
        other = Notice("2016-03-14T14-train", "another hour", "It failed.", "mend it")
        assert send_once(rules, tmp_path, other, {}, AT) == []
    assert hook.titles == [MESSAGE.subject, "another hour"]


def test_who_was_not_reached_is_named_and_tried_again_and_nobody_else(tmp_path: Path) -> None:
    with webhook() as well, webhook(status=500) as ill:
        rules = NotifySettings(to=(well.address, ill.address))
        for _ in range(2):
            (sentence,) = send_once(rules, tmp_path, MESSAGE, {}, AT)
            assert sentence.startswith("notify.to[1] (json) was not told of 2016-03-14T13-train: ")
            assert "did not take the message" in sentence
    assert len(well.messages) == 1
    assert len(ill.messages) == 2


def test_one_that_never_answers_is_left_behind() -> None:
    """Were it waited for, this test would end with the suite's own limit: it never answers."""
    with webhook(answers=False) as silent, webhook() as well:
        reasons = send(MESSAGE, [silent.address, well.address], {}, 0.5)
        assert reasons[0] == "did not answer within 0.5 s"
        assert len(silent.messages) <= 1
    assert reasons[1] in (None, reasons[0])  # on a slow machine nobody answers in half a second


def test_one_where_nobody_listens_fails_nothing(tmp_path: Path) -> None:
    rules = NotifySettings(to=("json://127.0.0.1:1/hook",))
    (sentence,) = send_once(rules, tmp_path, MESSAGE, {}, AT)
    assert sentence.startswith("notify.to[0] (json) was not told")


def test_a_folder_that_cannot_be_written_fails_nothing(tmp_path: Path) -> None:
    (tmp_path / "notices").write_text("a file")
    with webhook() as hook:
        rules = NotifySettings(to=(hook.address,))
        (sentence,) = send_once(rules, tmp_path / "notices", MESSAGE, {}, AT)
    assert sentence.startswith("nobody was told of 2016-03-14T13-train: ")


def test_while_another_process_sends_it_is_not_sent_twice(tmp_path: Path) -> None:
    with webhook() as hook, locked(tmp_path / "sending.lock", "", 0, str):
        rules = NotifySettings(to=(hook.address,), timeout_s=0.1)
        answers: list[list[str]] = []
        # A lock is a process's own, or a thread's.
        other = threading.Thread(
            target=lambda: answers.append(send_once(rules, tmp_path, MESSAGE, {}, AT))
        )
        other.start()
        other.join()
    assert answers == [["nobody was told of 2016-03-14T13-train: another process is sending"]]
    assert hook.messages == []


def test_variables_come_from_the_environment_and_are_masked() -> None:
    environment = {"MAIL_PASSWORD": "p@ss/w:rd", "HOOK": "slack://TokenA/TokenB/TokenC"}
    assert (
        with_variables("mailtos://ann:${MAIL_PASSWORD}@example.org", environment)
        == "mailtos://ann:p%40ss%2Fw%3Ard@example.org"
    )
    assert with_variables("${HOOK}", environment) == environment["HOOK"]
    assert mask("it is p@ss/w:rd, p%40ss%2Fw%3Ard or slack://TokenA/TokenB/TokenC") == (
        "it is ***, *** or ***"
    )


def test_a_variable_that_is_not_set_is_named(tmp_path: Path) -> None:
    rules = NotifySettings(to=("slack://${SLACK_TOKENS}",))
    (sentence,) = send_once(rules, tmp_path, MESSAGE, {}, AT)
    assert sentence.endswith(": the variable SLACK_TOKENS is not set")


def test_an_address_of_no_service_is_told_without_it(tmp_path: Path) -> None:
    rules = NotifySettings(to=("nothing://a-secret-token",))
    (sentence,) = send_once(rules, tmp_path, MESSAGE, {}, AT)
    assert "no service takes such an address" in sentence
    assert "secret" not in sentence


@pytest.mark.parametrize("address", ["a-secret-token", "xyz://", "", "${NO NAME}"])
def test_what_is_no_address_is_refused_without_being_shown(tmp_path: Path, address: str) -> None:
    file = tmp_path / "hourglass.yaml"
    file.write_text(f"notify: {{to: ['{address}']}}\n")
    with pytest.raises(UsageError, match="entry 0 is no address") as refused:
        load_settings(file)
    assert "a-secret-token" not in str(refused.value)
    assert "hourglass.yaml: notify.to" in str(refused.value)


@pytest.mark.parametrize(
    "content",
    ["slack://a-secret-token/b", "[{slack: a-secret-token}]", "{slack: [a-secret-token]}"],
    ids=["a text", "a list of mappings", "a mapping"],
)
def test_what_is_no_list_of_texts_is_refused_without_being_shown(
    tmp_path: Path, content: str
) -> None:
    file = tmp_path / "hourglass.yaml"
    file.write_text(f"notify: {{to: {content}}}\n")
    with pytest.raises(UsageError, match=r"hourglass.yaml: notify.to") as refused:
        load_settings(file)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("text", ['["slack://a-secret-token"', "a-secret-token"])
def test_a_variable_of_addresses_that_is_none_is_refused_without_being_shown(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("HOURGLASS_NOTIFY__TO", text)
    with pytest.raises(UsageError, match="HOURGLASS_NOTIFY__TO") as refused:
        load_settings(None)
    assert "secret" not in str(refused.value)


def test_a_variable_may_name_several(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOURGLASS_NOTIFY__TO", "json://a, ${HOOK}")
    assert load_settings(None).notify.to == ("json://a", "${HOOK}")


def test_limits_of_the_settings() -> None:
    assert NotifySettings().deadline_min == 20
    assert NotifySettings().to == ()
    for wrong in ({"deadline_min": -1}, {"timeout_s": 0}, {"timeout_s": 61}):
        with pytest.raises(ValidationError):
            NotifySettings(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("cannot read /srv/work/shop/lake/x.parquet", "cannot read x.parquet"),
        ("'/srv/work/a.json': no such file", "'a.json': no such file"),
        ("see ~/work/a.json, /b/c/d.json", "see a.json, d.json"),
        ("at http://localhost:8080/a/b it is", "at http://localhost:8080/a/b it is"),
        ("3 events/s and/or 1/2", "3 events/s and/or 1/2"),
    ],
    ids=range(5),
)  # fmt: skip
def test_folders_of_this_machine_are_left_out(text: str, plain: str) -> None:
    assert without_folders(text) == plain


def test_a_message_is_short_and_names_the_site() -> None:
    settings = Settings(site="shop")
    made = notice(settings, "k", "train failed", "word " * 1000, "see /srv/x/log.txt", None)
    assert made.subject == "Hourglass shop: train failed"
    assert len(made.what) < 610
    assert made.next == "see log.txt"
    assert "See:" not in made.body


def test_the_report_is_where_the_settings_say_or_on_airflows_pages() -> None:
    airflow = {"AIRFLOW__API__BASE_URL": "http://localhost:8080/"}
    page = Settings(notify={"page": "https://example.org/report"})  # type: ignore[arg-type]
    assert report_page(page, airflow) == "https://example.org/report"
    assert report_page(Settings(), airflow) == (
        "http://localhost:8080/hourglass/reports/report.html"
    )
    assert report_page(Settings(), {}) is None


def context(tmp_path: Path, **notify: Any) -> CommandContext:
    settings = Settings(work=tmp_path, notify=notify)  # type: ignore[arg-type]
    return CommandContext(settings, datetime(2016, 3, 14, 14, tzinfo=UTC))


def test_without_addresses_nothing_is_written(tmp_path: Path) -> None:
    assert context(tmp_path).notify("k", "title", "what", "next") == []
    assert list(tmp_path.iterdir()) == []


def test_a_command_says_in_one_sentence_whom_it_did_not_reach(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with webhook(status=500) as ill:
        unreached = context(tmp_path, to=(ill.address,)).notify("k", "title", "what", "next")
    assert len(unreached) == 1
    assert capsys.readouterr().err == f"hourglass: {unreached[0]}\n"
