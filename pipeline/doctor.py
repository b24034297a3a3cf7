"""What is missing on this machine, and the one command that mends it.

``gather`` looks, ``diagnose`` judges what was seen and touches nothing, ``run_doctor`` joins them
and, when asked to mend, installs Java where that needs no password and lets it keep Spark's classes
ready; only that starts Spark.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass, field, replace
from importlib import metadata, util
from pathlib import Path
from typing import Literal

from rich.table import Table
from rich.text import Text

from pipeline.errors import HourglassError
from pipeline.make_spark_classes import make_archive
from pipeline.spark.classes import archive_path
from pipeline.spark.session import MIN_JAVA, find_java

Status = Literal["ok", "warn", "fail"]

GIB = 1 << 30
OLDEST_PYTHON = (3, 11)
MEMORY_GIB = (2, 6)  # below the first Spark cannot run; below the second, only with less memory
DISK_GIB = (1, 5)
PORTS = {8080: "Airflow", 5000: "MLflow"}
_SHOWN_DIFFERENCES = 5

# How to install Java 17 or newer; the first manager that is found decides.  Several packages are
# alternatives, best first: not every release of Debian or Ubuntu has each of them.
INSTALLERS = {
    "apt-get": ("apt-get install -y", ("openjdk-17-jre-headless", "default-jre-headless")),
    "dnf": ("dnf install -y", ("java-21-openjdk-headless",)),
    "apk": ("apk add", ("openjdk17-jre-headless",)),
    "brew": ("brew install --cask", ("temurin@17",)),
}


@dataclass(frozen=True)
class Check:
    """One thing looked at; ``mend`` is the one command for this machine, empty when all is well."""

    name: str
    status: Status
    found: str
    needed: str
    mend: str = ""


@dataclass(frozen=True)
class Facts:
    """What was seen of the machine.  The defaults are a machine on which everything is well."""

    work: Path = Path("work")
    python: tuple[int, int, int] = (3, 11, 0)
    executable: str = ".venv/bin/python"
    java: int | None = 17  # major version of the Java that Spark would start
    java_home: str | None = None
    java_on_path: bool = True
    keeps_classes: bool = True  # whether that Java has an archive of Spark's classes
    package_manager: str | None = "apt-get"
    may_install: bool = True  # as root, or by sudo without a password
    is_root: bool = True
    memory_bytes: int = 16 * GIB
    disk_free_bytes: int = 100 * GIB
    work_writable: bool = True
    ports_taken: frozenset[int] = frozenset()
    pins: dict[str, str] | None = field(default_factory=dict)  # None: no constraints.txt
    installed: dict[str, str] = field(default_factory=dict)  # canonical name -> version
    pyspark_files: str | None = None  # the version that pyspark's own files say
    gpus: tuple[str, ...] = ()


def parse_pins(text: str) -> dict[str, str]:
    """The exact pins (``name==version``) of a constraints file, by canonical name."""
    pins = re.findall(r"^([A-Za-z0-9._-]+)==([^\s;#]+)", text, flags=re.MULTILINE)
    return {canonical(name): version for name, version in pins}


def canonical(name: str) -> str:
    """A distribution's name as package indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def java_command(manager: str | None, is_root: bool) -> str:
    """The one command that installs a Java runtime; advice where no package manager is known."""
    if manager is None:
        return "install a Java 17 runtime and set JAVA_HOME to its folder"
    sudo = "" if is_root or manager == "brew" else "sudo "
    install, packages = INSTALLERS[manager]
    each = [f"{sudo}{install} {package}" for package in packages]
    if manager != "apt-get":
        return each[0]
    return f"{sudo}apt-get update && ({' || '.join(each)})"


def diagnose(facts: Facts) -> list[Check]:
    """Judge what was seen, worst surprises of a first start included.  Pure."""
    return [
        _python(facts),
        _java(facts),
        _classes(facts),
        _amount(
            "memory", facts.memory_bytes, MEMORY_GIB, "export HOURGLASS_SPARK__DRIVER_MEMORY=1g"
        ),
        _amount("disk", facts.disk_free_bytes, DISK_GIB, f"free space for {facts.work}"),
        _work(facts),
        _versions(facts),
        _pyspark(facts),
        *(_port(port, facts) for port in PORTS),
        _gpu(facts),
    ]


def _python(facts: Facts) -> Check:
    oldest = ".".join(map(str, OLDEST_PYTHON))
    version, needed = ".".join(map(str, facts.python)), f"{oldest} or newer"
    if facts.python >= OLDEST_PYTHON:
        return Check("Python", "ok", version, needed)
    return Check("Python", "fail", version, needed, f"make venv PYTHON=python{oldest}")


def _java(facts: Facts) -> Check:
    version, needed = f"{facts.java or 'none'}", f"{MIN_JAVA} or newer"
    if facts.java is not None and facts.java >= MIN_JAVA:
        return Check("Java", "ok", version, needed)
    if facts.java_home is not None:
        version += f" in JAVA_HOME={facts.java_home}"
        if facts.java_on_path:
            return Check("Java", "fail", version, needed, "unset JAVA_HOME")
    return Check(
        "Java", "fail", version, needed, java_command(facts.package_manager, facts.is_root)
    )


def _classes(facts: Facts) -> Check:
    needed = "kept ready: optional, saves seconds of each start"
    if facts.keeps_classes:
        return Check("Spark's classes", "ok", "kept ready", needed)
    return Check("Spark's classes", "warn", "read anew", needed, "hourglass doctor --fix")


def _amount(name: str, amount: int, limits_gib: tuple[int, int], mend: str) -> Check:
    least, good = limits_gib
    amount_text, needed = f"{amount / GIB:.1f} GiB", f"{good} GiB ({least} at the least)"
    if amount >= good * GIB:
        return Check(name, "ok", amount_text, needed)
    return Check(name, "warn" if amount >= least * GIB else "fail", amount_text, needed, mend)


def _work(facts: Facts) -> Check:
    if facts.work_writable:
        return Check("work folder", "ok", f"{facts.work}", "writable")
    mend = "name a folder of your own: work in the settings, or HOURGLASS_WORK"
    return Check("work folder", "fail", f"{facts.work} cannot be written to", "writable", mend)


def _versions(facts: Facts) -> Check:
    needed = "the versions of constraints.txt"
    if facts.pins is None:
        return Check("packages", "ok", "no constraints.txt beside the code: not compared", needed)
    # A build's local label (2.13.0+cpu) is the same release.
    differing = sorted(
        f"{name} {facts.installed[name]} (pinned {pin})"
        for name, pin in facts.pins.items()
        if name in facts.installed and facts.installed[name].partition("+")[0] != pin
    )
    if not differing:
        same = len(facts.pins.keys() & facts.installed.keys())
        return Check("packages", "ok", f"{same} as pinned", needed)
    shown = ", ".join(differing[:_SHOWN_DIFFERENCES])
    rest = len(differing) - _SHOWN_DIFFERENCES
    differences = shown + (f" and {rest} more" if rest > 0 else "")
    mend = f"{shlex.quote(facts.executable)} -m pip install -c constraints.txt -e '.[airflow,dev]'"
    return Check("packages", "warn", differences, needed, mend)


def _pyspark(facts: Facts) -> Check:
    version = facts.installed.get("pyspark")
    needed = "pyspark, its files its own"
    pip = f"{shlex.quote(facts.executable)} -m pip"
    if version is None:
        return Check("pyspark", "fail", "not installed", needed, "make venv")
    again = f"{pip} install --force-reinstall --no-deps pyspark=={version}"
    if "pyspark-client" in facts.installed:
        conflict = (
            f"pyspark-client {facts.installed['pyspark-client']} overwrites pyspark {version}"
        )
        mend = f"{pip} uninstall -y pyspark-client && {again}"
        return Check("pyspark", "fail", conflict, needed, mend)
    if facts.pyspark_files != version:
        conflict = f"pyspark {version} with files of {facts.pyspark_files or 'no version'}"
        return Check("pyspark", "fail", conflict, needed, again)
    return Check("pyspark", "ok", version, needed)


def _port(port: int, facts: Facts) -> Check:
    owner = PORTS[port]
    name, needed = f"port {port}", f"free, for {owner}"
    if port not in facts.ports_taken:
        return Check(name, "ok", "free", needed)
    mends = {"Airflow": f"make airflow PORT={port + 1}", "MLflow": f"mlflow ui --port {port + 1}"}
    return Check(name, "warn", "taken", needed, mends[owner])


def _gpu(facts: Facts) -> Check:
    return Check("GPU", "ok", ", ".join(facts.gpus) or "none: the CPU trains", "optional")


def gather(work: Path, fix: bool = False) -> Facts:
    """Look at this machine; nothing is changed, and nothing heavy is imported or started.

    Only with ``fix`` is sudo asked whether it needs a password: some systems report the question.
    """
    existing = work.absolute()
    while not existing.exists():
        existing = existing.parent
    java = find_java()
    constraints = Path(__file__).resolve().parents[1] / "constraints.txt"
    installed = {
        canonical(name): each.version
        for each in metadata.distributions()
        if (name := each.metadata["Name"])
    }
    return Facts(
        work=work,
        python=sys.version_info[:3],
        executable=sys.executable,
        java=java and java[1],
        java_home=os.environ.get("JAVA_HOME") or None,
        java_on_path=shutil.which("java") is not None,
        keeps_classes=java is not None and archive_path(java[0]).is_file(),
        package_manager=next((name for name in INSTALLERS if shutil.which(name)), None),
        may_install=_is_root() or (fix and _answer("sudo", "-n", "true") is not None),
        is_root=_is_root(),
        memory_bytes=_memory_bytes(),
        disk_free_bytes=shutil.disk_usage(existing).free,
        work_writable=existing.is_dir() and os.access(existing, os.W_OK | os.X_OK),
        ports_taken=frozenset(port for port in PORTS if _is_taken(port)),
        pins=parse_pins(constraints.read_text("utf-8")) if constraints.is_file() else None,
        installed=installed,
        pyspark_files=_pyspark_files(),
        gpus=_gpus(),
    )


def _is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0


def _answer(*command: str) -> str | None:
    """What a command prints; None when it is not there, fails or hangs."""
    try:
        done = subprocess.run(  # noqa: S603 - fixed words, no shell
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return (done.stdout + done.stderr).decode("utf-8", "replace")


def _memory_bytes() -> int:
    """The machine's memory, or the container's limit where that is less."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        limit = Path("/sys/fs/cgroup") / name
        if limit.is_file() and (text := limit.read_text().strip()).isdigit():
            return min(total, int(text))
    return total


def _is_taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _pyspark_files() -> str | None:
    spec = util.find_spec("pyspark")
    if spec is None or spec.origin is None:
        return None
    version = Path(spec.origin).with_name("version.py")
    text = version.read_text("utf-8") if version.is_file() else ""
    match = re.search(r"""__version__[^=]*=\s*["']([^"']+)""", text)
    return match[1] if match else None


def _gpus() -> tuple[str, ...]:
    listed = _answer("nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader")
    return tuple(line.strip() for line in (listed or "").splitlines() if line.strip())


def java_steps(facts: Facts) -> list[list[str]]:
    """What to run, in order, to install Java here; empty where that is for the user to do.

    Only Debian-like systems, and only without asking for a password: the steps after the first
    are alternatives.
    """
    mend = next(check for check in diagnose(facts) if check.name == "Java").mend
    if not mend or mend != java_command(facts.package_manager, facts.is_root):
        return []
    if facts.package_manager != "apt-get" or not facts.may_install:
        return []
    sudo = [] if facts.is_root else ["sudo", "-n"]
    install, packages = INSTALLERS["apt-get"]
    quietly = [*sudo, "env", "DEBIAN_FRONTEND=noninteractive", *install.split()]
    update = [*sudo, "apt-get", "-o", "Acquire::Retries=3", "update"]
    return [update, *([*quietly, package] for package in packages)]


def run_doctor(work: Path, fix: bool) -> list[Check]:
    """Look at this machine and, with ``fix``, mend what can be mended without asking anybody.

    Java is installed when it is all that is in the way, and keeps Spark's classes ready from then
    on.  The installer's own output goes to stderr, so that stdout stays readable by machines.
    """
    facts = gather(work, fix)
    if not fix:
        return diagnose(facts)
    steps = java_steps(facts)
    if steps:
        update, *installs = steps
        _show(update)
        any(_show(install) == 0 for install in installs)
        facts = gather(work, fix)
    if not facts.keeps_classes and _java(facts).status == "ok":
        facts = replace(facts, keeps_classes=_keep_classes())
    return diagnose(facts)


def _keep_classes() -> bool:
    print("keeping Spark's classes ready: about a minute, once ...", file=sys.stderr)
    try:
        make_archive()
    except HourglassError as error:
        # Everything works without it, only slower.
        print(error, file=sys.stderr)
        return False
    return True


def _show(command: list[str]) -> int:
    return subprocess.run(  # noqa: S603 - fixed words, no shell
        command, stdin=subprocess.DEVNULL, stdout=sys.stderr.fileno(), check=False
    ).returncode


def render(checks: list[Check]) -> Table:
    """The checks as a table for a terminal, the command that mends each in its last column."""
    marks = {"ok": "[green]ok[/]", "warn": "[yellow]warning[/]", "fail": "[red]fails[/]"}
    table = Table(title="Hourglass on this machine")
    for heading in ("", "check", "found", "needed", "to mend it"):
        table.add_column(heading, overflow="fold")
    for check in checks:
        row = (check.name, check.found, check.needed, check.mend)
        table.add_row(marks[check.status], *map(Text, row))
    return table
