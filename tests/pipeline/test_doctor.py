"""Each test changes one fact of a machine on which all is well, and reads the check it is about."""

from __future__ import annotations

import sys
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from pipeline import doctor
from pipeline.doctor import GIB, Check, Facts, diagnose, java_steps, parse_pins

WELL = Facts(installed={"pyspark": "4.3.0"}, pyspark_files="4.3.0")


def check(name: str, facts: Facts) -> Check:
    return next(each for each in diagnose(facts) if each.name == name)


def test_a_machine_on_which_all_is_well_needs_no_mending() -> None:
    assert {(each.status, each.mend) for each in diagnose(WELL)} == {("ok", "")}


def test_whatever_is_not_well_names_the_command_that_mends_it() -> None:
    bare = Facts(
        python=(3, 9, 2),
        java=None,
        keeps_classes=False,
        memory_bytes=GIB,
        disk_free_bytes=GIB // 2,
        work_writable=False,
        ports_taken=frozenset({8080, 5000}),
        pins={"numpy": "2.4.6"},
        installed={"numpy": "1.26.0"},
    )
    assert all(each.mend for each in diagnose(bare) if each.status != "ok")
    assert {each.name for each in diagnose(bare) if each.status == "ok"} == {"GPU"}


@pytest.mark.parametrize(("major", "status"), [(8, "fail"), (16, "fail"), (17, "ok"), (21, "ok")])
def test_java_17_is_the_oldest_that_spark_takes(major: int, status: str) -> None:
    assert check("Java", replace(WELL, java=major)).status == status


@pytest.mark.parametrize(
    ("manager", "is_root", "mend"),
    [
        (
            "apt-get",
            True,
            "apt-get update && (apt-get install -y openjdk-17-jre-headless"
            " || apt-get install -y default-jre-headless)",
        ),
        ("dnf", False, "sudo dnf install -y java-21-openjdk-headless"),
        ("apk", True, "apk add openjdk17-jre-headless"),
        ("brew", False, "brew install --cask temurin@17"),
        (None, False, "install a Java 17 runtime and set JAVA_HOME to its folder"),
    ],
)
def test_java_is_installed_with_this_systems_own_package_manager(
    manager: str | None, is_root: bool, mend: str
) -> None:
    facts = replace(WELL, java=None, package_manager=manager, is_root=is_root)
    assert check("Java", facts).mend == mend


def test_a_java_home_without_java_hides_the_java_on_the_path() -> None:
    java = check("Java", replace(WELL, java=None, java_home="/opt/gone", java_on_path=True))
    assert (java.status, java.mend) == ("fail", "unset JAVA_HOME")
    assert "/opt/gone" in java.found


def test_java_is_installed_only_where_nobody_need_be_asked() -> None:
    bare = replace(WELL, java=None)
    update, first, second = java_steps(bare)
    assert (update[0], update[-1]) == ("apt-get", "update")
    assert (first[-1], second[-1]) == ("openjdk-17-jre-headless", "default-jre-headless")
    user = java_steps(replace(bare, is_root=False))
    assert all(step[:2] == ["sudo", "-n"] for step in user)
    assert java_steps(replace(bare, is_root=False, may_install=False)) == []
    assert java_steps(replace(bare, package_manager="brew")) == []
    assert java_steps(replace(bare, java_home="/opt/gone")) == [], "the mend is another one"
    assert java_steps(WELL) == []


def run_on(machine: list[Facts], monkeypatch: pytest.MonkeyPatch, fix: bool) -> list[list[str]]:
    """Run the doctor on machines as they are before and after mending; what was installed."""
    ran: list[list[str]] = []

    def show(command: list[str]) -> int:
        ran.append(command)
        return 1 if "openjdk-17-jre-headless" in command else 0

    monkeypatch.setattr(doctor, "gather", lambda work, fix=False: machine.pop(0))
    monkeypatch.setattr(doctor, "_show", show)
    checks = doctor.run_doctor(Path("work"), fix)
    ran.append([next(each.status for each in checks if each.name == "Java")])
    return ran


def test_fix_tries_the_next_package_when_the_first_is_unknown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    *installs, status = run_on([replace(WELL, java=None), WELL], monkeypatch, fix=True)
    last_words = [command[-1] for command in installs]
    assert last_words == ["update", "openjdk-17-jre-headless", "default-jre-headless"]
    assert status == ["ok"]


def test_without_fix_nothing_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_on([replace(WELL, java=None)], monkeypatch, fix=False) == [["fail"]]


@pytest.mark.parametrize(
    ("gib", "status"), [(1.9, "fail"), (2, "warn"), (5.9, "warn"), (6, "ok"), (64, "ok")]
)
def test_little_memory_warns_and_too_little_fails(gib: float, status: str) -> None:
    memory = check("memory", replace(WELL, memory_bytes=int(gib * GIB)))
    assert memory.status == status
    assert memory.found == f"{gib:.1f} GiB"


def test_pins_are_compared_by_canonical_name_and_without_build_labels() -> None:
    pins = parse_pins("# the set\nPyYAML==6.0.3\nruamel.yaml==0.19.1 # why\ntorch==2.13.0\nx>=1\n")
    assert pins == {"pyyaml": "6.0.3", "ruamel-yaml": "0.19.1", "torch": "2.13.0"}
    installed = {"pyyaml": "6.0.3", "torch": "2.13.0+cpu", "pyspark": "4.3.0"}
    same = check("packages", replace(WELL, pins=pins, installed=installed))
    assert (same.status, same.found) == ("ok", "2 as pinned")


def test_packages_that_differ_from_the_pins_are_listed() -> None:
    pins = dict.fromkeys("abcdefg", "2")
    other = check("packages", replace(WELL, pins=pins, installed=dict.fromkeys("abcdefg", "1")))
    assert other.status == "warn"
    assert other.found.startswith("a 1 (pinned 2), b 1 (pinned 2)")
    assert other.found.endswith("and 2 more")


def test_without_a_constraints_file_nothing_is_compared() -> None:
    assert check("packages", replace(WELL, pins=None)).status == "ok"


def test_pyspark_client_and_foreign_files_in_pyspark_are_found() -> None:
    both = {"pyspark": "4.3.0", "pyspark-client": "4.2.0"}
    client = check("pyspark", replace(WELL, installed=both, executable="my venv/python"))
    assert client.status == "fail"
    assert client.mend == (
        "'my venv/python' -m pip uninstall -y pyspark-client && 'my venv/python' -m pip install"
        " --force-reinstall --no-deps pyspark==4.3.0"
    )
    foreign = check("pyspark", replace(WELL, pyspark_files="4.2.0"))
    assert (foreign.status, foreign.found) == ("fail", "pyspark 4.3.0 with files of 4.2.0")


def test_a_taken_port_is_a_warning_with_another_port_to_use() -> None:
    port = check("port 8080", replace(WELL, ports_taken=frozenset({8080})))
    assert (port.status, port.mend) == ("warn", "make airflow PORT=8081")


def test_gathering_sees_this_machine_without_making_or_importing_anything(tmp_path: Path) -> None:
    work = tmp_path / "not" / "yet"
    heavy = {"torch", "pyspark"} - sys.modules.keys()
    facts = doctor.gather(work)
    assert not work.parent.exists()
    assert not heavy & sys.modules.keys()
    assert facts.work_writable
    assert facts.python == sys.version_info[:3]
    assert facts.installed["pyspark"] == facts.pyspark_files
    assert facts.memory_bytes > GIB // 4


def test_a_work_folder_below_a_file_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert not doctor.gather(tmp_path / "file" / "work").work_writable


def test_the_table_shows_every_check_and_brackets_as_they_are() -> None:
    paper = StringIO()
    facts = replace(WELL, pins={"pyspark": "4.3.1"})
    Console(width=400, file=paper).print(doctor.render(diagnose(facts)))
    text = paper.getvalue()
    assert all(each.name in text for each in diagnose(facts))
    assert "-c constraints.txt -e '.[airflow,dev]'" in text
