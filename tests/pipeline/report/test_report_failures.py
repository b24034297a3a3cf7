"""Failed expectations, grouped as a reader looks for them."""

from __future__ import annotations

from pathlib import Path

from report_rows import HOUR, table

from pipeline.lake.tables import FAILED_EXPECTATIONS
from pipeline.report.failures import docs_page, failures


def row(
    hour: int, expectation: str, severity: str = "warning", **more: object
) -> dict[str, object]:
    return {
        "hour": (HOUR + hour).start,
        "batch": str(HOUR + hour),
        "suite": "hours",
        "expectation": expectation,
        "severity": severity,
        "sentence": f"{expectation} at {hour}",
        "observed": "1",
        "limit": "0",
        "examples": [f"e{hour}"],
        "accepted": None,
        **more,
    }


def test_the_newest_group_comes_first_and_speaks_for_its_last_hour() -> None:
    grouped = failures(
        table(
            FAILED_EXPECTATIONS,
            row(5, "volume"),
            row(1, "volume"),
            row(5, "late"),
            row(3, "user_id_present", "critical"),
            row(2, "user_id_present", "critical", accepted="known outage"),
            row(5, "top_user", "critical", accepted="a test", examples=None),
        ),
        lambda suite, batch: f"{suite}/{batch}",
    )
    assert [(f.expectation, f.hours, f.open) for f in grouped] == [
        ("top_user", 1, 0),
        ("late", 1, 1),
        ("volume", 2, 2),
        ("user_id_present", 2, 1),
    ]
    volume = grouped[2]
    assert (volume.first, volume.last) == ("2016-03-14T14", "2016-03-14T18")
    assert (volume.sentence, volume.examples) == ("volume at 5", ("e5",))
    assert volume.page == "hours/2016-03-14T18"
    assert grouped[3].accepted == ("known outage",)
    assert grouped[0].examples == ()
    assert failures(table(FAILED_EXPECTATIONS), lambda suite, batch: None) == ()


def test_a_page_is_named_only_where_it_stands(tmp_path: Path) -> None:
    name = "2016-03-14T13+2h"
    page = tmp_path / "validations" / "hours" / name / "20160314T130000.000000Z" / f"{name}.html"
    assert docs_page(tmp_path, "hours", name) is None
    page.parent.mkdir(parents=True)
    page.write_text("")
    assert docs_page(tmp_path, "hours", name) == page
    assert docs_page(tmp_path, "events", name) is None
