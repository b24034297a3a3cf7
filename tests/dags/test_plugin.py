"""The pages inside Airflow: who sees them, what is never served, and where runs lead."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest
from api_server import Server, api_server

HOUR = "validations/events/2016-03-14T13/20160314T130000.000000Z/2016-03-14T13.html"
DAY = "validations/events/2016-03-14T00+12h/20160314T000000.000000Z/2016-03-14T00+12h.html"
HIDDEN = "not for the web"


def write(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("a lake")
    work = folder / "work"
    write(work, "reports/report.html", "<h1>the report</h1>")
    write(work, "reports/figures.json", HIDDEN)
    write(work, "reports/.draft.html", HIDDEN)
    write(work, "reports/.hidden/page.html", HIDDEN)
    write(work, "reports-of-others/page.html", HIDDEN)
    write(work, "secret.html", HIDDEN)
    write(work, "data_docs/index.html", "<h1>every hour</h1>")
    write(work, f"data_docs/{HOUR}", "<h1>one hour</h1>")
    write(work, f"data_docs/{DAY}", "<h1>half a day</h1>")
    (work / "reports" / "link.html").symlink_to(work / "secret.html")
    (work / "reports" / "above").symlink_to(work)
    write(folder, "hourglass.yaml", f"work: '{work}'\n")
    with api_server(folder) as running:
        yield running


PAGES = [
    "/hourglass/reports/report.html",
    "/hourglass/data_docs/index.html",
    "/hourglass/runs/sessions_hourly/no_hour",
    "/hourglass/no/such/page.html",
    "/hourglass/",
]


@pytest.mark.parametrize("who", [None, "expired", "resigned", "unsigned", "nonsense"])
@pytest.mark.parametrize("path", PAGES)
def test_who_is_not_logged_in_is_sent_to_log_in_and_back(
    server: Server, path: str, who: str | None
) -> None:
    answer = server.get(path, who)
    assert answer.status == 303
    assert answer.headers["location"] == f"/api/v2/auth/login?{urlencode({'next': path})}"
    # Airflow's own login takes it from there, and accepts the address to return to.
    login = server.get(answer.headers["location"], None)
    assert login.headers["location"] == f"/auth/login?{urlencode({'next': path})}"


@pytest.mark.parametrize("who", [None, "expired", "resigned", "unsigned", "nonsense"])
@pytest.mark.parametrize("path", PAGES)
def test_a_program_without_a_valid_token_is_refused(
    server: Server, path: str, who: str | None
) -> None:
    answer = server.get(path, who, Accept="*/*")
    assert answer.status == 401
    assert json.loads(answer.text) == {"detail": "Log in to Airflow first."}
    bearer = f"Bearer {server.tokens[who]}" if who else "Bearer"
    assert server.get(path, None, Accept="*/*", Authorization=bearer).status == 401


def test_a_false_token_is_not_saved_by_a_good_session(server: Server) -> None:
    """Airflow's rule: what is said outright counts, not the cookie that lies beside it."""
    bearer = f"Bearer {server.tokens['resigned']}"
    assert server.get(PAGES[0], Accept="*/*", Authorization=bearer).status == 401


def test_a_session_or_a_token_opens_the_pages(server: Server) -> None:
    assert server.get("/hourglass/reports/report.html").text == "<h1>the report</h1>"
    assert server.get("/hourglass/data_docs/index.html").text == "<h1>every hour</h1>"
    bearer = f"Bearer {server.tokens['viewer']}"
    answer = server.get(f"/hourglass/data_docs/{HOUR}", None, Authorization=bearer)
    assert (answer.status, answer.text) == (200, "<h1>one hour</h1>")


@pytest.mark.parametrize("path", PAGES)
def test_who_may_not_read_the_tasks_logs_may_not_read_the_pages(server: Server, path: str) -> None:
    answer = server.get(path, "nobody")
    assert answer.status == 403
    assert "<h1>every hour" not in answer.text


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("who", [None, "viewer", "nobody"])
def test_no_answer_runs_scripts_or_is_framed_or_kept_by_others(
    server: Server, path: str, who: str | None
) -> None:
    headers = server.get(path, who).headers
    policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["frame-ancestors"] == "'self'"
    assert not {"script-src", "connect-src", "frame-src"} & set(policy)
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "private, no-cache"


@pytest.mark.parametrize(
    "path",
    [
        "../secret.html",
        "reports/../secret.html",
        "reports/../../work/secret.html",
        "reports/../reports/report.html",
        "reports/./report.html",
        "reports//report.html",
        "reports/%2e%2e/secret.html",
        "reports/%2E%2E%2Fsecret.html",
        "reports/..%2fsecret.html",
        "reports/%252e%252e/secret.html",
        "reports/..\\secret.html",
        "reports/..%5csecret.html",
        "reports/..%c0%afsecret.html",
        "reports/report.html%00",
        "reports/%00/../secret.html",
        "reports/../secret.html%00.html",
        "reports-of-others/page.html",
        "reports/../reports-of-others/page.html",
        "reports/.draft.html",
        "reports/.hidden/page.html",
        "reports/link.html",
        "reports/above/secret.html",
        "reports/above/reports/report.html",
        "reports/figures.json",
        "reports",
        "reports/",
        "data_docs/validations",
        "../work/secret.html",
        "secret.html",
        "reports/" + "long" * 1000 + ".html",
        "reports/{absolute}",
        "reports/{encoded}",
        "{absolute}",
        "openapi.json",
        "docs",
    ],
)
def test_no_path_leads_out_of_the_two_folders(server: Server, path: str) -> None:
    secret = str(server.work / "secret.html").replace(" ", "%20")
    path = path.replace("{absolute}", secret).replace("{encoded}", quote(secret, safe="%"))
    answer = server.get(f"/hourglass/{path}")
    assert answer.status == 404
    assert HIDDEN not in answer.text
    assert "the report</h1>" not in answer.text


def test_a_page_that_is_not_there_yet_says_what_makes_it(server: Server) -> None:
    for folder, command in (("reports", "hourglass report"), ("data_docs", "hourglass validate")):
        name = "report.html" if folder == "reports" else "index.html"
        page = server.work / folder / name
        aside = page.rename(page.with_suffix(".aside"))
        try:
            answer = server.get(f"/hourglass/{folder}/{name}")
        finally:
            aside.rename(page)
        assert answer.status == 404
        assert f"<code>{command}</code>" in answer.text


RUN = "/hourglass/runs/sessions_hourly/"


@pytest.mark.parametrize("run", ["scheduled__2016-03-14T13:00:00+00:00", "named"])
def test_a_run_leads_to_the_pages_of_its_hour(server: Server, run: str) -> None:
    answer = server.get(RUN + quote(run, safe=""))
    assert answer.status == 200
    assert f'href="/hourglass/data_docs/{HOUR}"' in answer.text
    assert DAY.replace("+", "%2B") not in answer.text
    assert 'href="/hourglass/reports/report.html"' in answer.text


def test_an_hour_that_was_validated_with_others_leads_to_their_page(server: Server) -> None:
    answer = server.get(RUN + quote("large+batch", safe=""))
    link = f"/hourglass/data_docs/{DAY.replace('+', '%2B')}"
    assert f'href="{link}"' in answer.text
    assert server.get(link).text == "<h1>half a day</h1>"


def test_a_training_run_leads_to_the_newest_hour_that_triggered_it(server: Server) -> None:
    answer = server.get("/hourglass/runs/retrain/by_asset")
    assert f'href="/hourglass/data_docs/{HOUR}"' in answer.text


@pytest.mark.parametrize(
    ("run", "said"),
    [
        ("sessions_hourly/not_validated", "--from 2016-03-14T14 --to 2016-03-14T15"),
        ("sessions_hourly/no_hour", "not about an hour"),
        ("sessions_hourly/no_day", "not about an hour"),
        ("retrain/by_hand", "not about an hour"),
        ("other/elsewhere", "other is not one of Hourglass&#39;s DAGs"),
    ],
)
def test_a_run_without_pages_says_so_and_leads_to_all(server: Server, run: str, said: str) -> None:
    answer = server.get(f"/hourglass/runs/{run}")
    assert answer.status == 200
    assert said in answer.text
    assert HOUR not in answer.text
    assert 'href="/hourglass/data_docs/index.html"' in answer.text


def test_an_unknown_run_is_named_harmlessly(server: Server) -> None:
    answer = server.get(RUN + quote("<script>", safe=""))
    assert answer.status == 404
    assert "no run &lt;script&gt;" in answer.text


def test_airflow_loads_the_plugin_and_shows_its_entries(server: Server) -> None:
    bearer = f"Bearer {server.tokens['viewer']}"
    ask = {"Authorization": bearer, "Accept": "application/json"}
    assert json.loads(server.get("/api/v2/plugins/importErrors", **ask).text)["import_errors"] == []
    plugins = json.loads(server.get("/api/v2/plugins", **ask).text)["plugins"]
    (views,) = (plugin["external_views"] for plugin in plugins if plugin["name"] == "hourglass")
    places = {(view["name"], view["destination"]): view["href"] for view in views}
    assert set(places) == {("Quality", "nav"), ("Data Docs", "nav"), ("Data quality", "dag_run")}
    run = quote("scheduled__2016-03-14T13:00:00+00:00", safe="")
    for href in places.values():
        path = href.replace("{DAG_ID}", "sessions_hourly").replace("{RUN_ID}", run)
        assert server.get(f"/{path}").status == 200


def test_the_plugins_files_are_not_taken_for_dags(server: Server) -> None:
    assert server.dag_files == {
        "sessions_hourly.py",
        "retrain.py",
        "upkeep.py",
        "deadline.py",
    }
