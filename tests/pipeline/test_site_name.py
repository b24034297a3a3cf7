"""Pages are called by the site whose logs they are about."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.settings.settings import Settings
from pipeline.settings.source import SourceSettings


@pytest.mark.parametrize(
    ("site", "work", "source", "form", "name"),
    [
        ("The Shop", "/srv/shop/work", "/srv/shop/landing", "delimited", "The Shop"),
        ("", "/srv/teashop", "/srv/landing", "delimited", "teashop"),
        ("", "/srv/any/work", "/data/clicks", "delimited", "clicks"),
        ("", "/srv/any/work", "/data/shop.log", "access_log", "shop"),
        ("", "/srv/any/work", "/data/raw", "yoochoose", "yoochoose"),
        ("", "/srv/teashop/work", "/srv/teashop/work/landing", "json_lines", "teashop"),
        ("", "/work", "/data", "delimited", "delimited"),
    ],
    ids=["given", "work folder", "source folder", "file", "known log", "parent", "nothing"],
)
def test_a_site_has_a_name(site: str, work: str, source: str, form: str, name: str) -> None:
    settings = Settings(
        site=site, work=Path(work), source=SourceSettings(name=form, path=Path(source))
    )
    assert settings.site_name == name
