"""What the project asks to be installed, with any of its extras, is held to one version."""

from __future__ import annotations

import tomllib
from importlib import metadata
from itertools import chain
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]


def required() -> set[str]:
    """Names in `pyproject.toml`, and what the extras that it names of others ask for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    lines = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    names = set()
    for line in lines:
        requirement = Requirement(line)
        names.add(canonicalize_name(requirement.name))
        for extra in requirement.extras:
            names |= _of_extra(requirement.name, extra)
    return names


def _of_extra(name: str, extra: str) -> set[str]:
    requirements = map(Requirement, metadata.requires(name) or ())
    return {
        canonicalize_name(each.name)
        for each in requirements
        if each.marker is not None
        and each.marker.evaluate({"extra": extra})
        and not each.marker.evaluate({"extra": ""})
    }


def test_all_that_is_required_is_pinned() -> None:
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pinned = {canonicalize_name(line.partition("==")[0]) for line in lines if "==" in line}
    names = required()
    assert "psycopg2-binary" in names
    assert names - pinned == set()
