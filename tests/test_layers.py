"""The layout: what imports what is a contract (``.importlinter``), and its list of lazy imports."""

from __future__ import annotations

import ast
import configparser
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("pipeline", "training")
SECTION = "hourglass:imports-inside-functions"
MOST_FILES = 14


@dataclass(frozen=True)
class Import:
    """One imported module or name, and the function that it stands in, if any."""

    target: str
    function: str | None
    line: int


@cache
def modules() -> dict[str, Path]:
    """The files of both packages by module name."""
    files = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    names = [path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".") for path in files]
    return dict(zip((name.removesuffix(".__init__") for name in names), files, strict=True))


@cache
def imports(module: str) -> tuple[Import, ...]:
    """What a module imports when it runs; what only type checkers read is left out."""
    return tuple(_walk(ast.parse(modules()[module].read_text(encoding="utf-8")), None))


def _walk(node: ast.AST, function: str | None) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        if isinstance(child, ast.Import):
            yield from (Import(alias.name, function, child.lineno) for alias in child.names)
        elif isinstance(child, ast.ImportFrom) and child.module:
            for alias in child.names:
                whole = f"{child.module}.{alias.name}"
                target = whole if whole in modules() else child.module
                yield Import(target, function, child.lineno)
        inner = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
        yield from _walk(child, child.name if inner else function)


@cache
def loads(module: str) -> frozenset[str]:
    """Top-level packages that importing a module loads, by what its files say."""
    seen: set[str] = set()
    todo = [module]
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        if name in modules():
            todo += [each.target for each in imports(name) if each.function is None]
    return frozenset(name.split(".")[0] for name in seen)


def contract() -> tuple[dict[str, set[str]], list[str]]:
    """Libraries by the module that loads them late, and the packages of commands."""
    parser = configparser.ConfigParser(delimiters=("=",))
    parser.read(ROOT / ".importlinter", encoding="utf-8")
    section = parser[SECTION]
    lines = [line.split(":") for line in section["modules"].strip().splitlines()]
    listed = {name.strip(): {lib.strip() for lib in libs.split(",")} for name, libs in lines}
    assert len(listed) == len(lines), "a module is listed twice"
    return listed, section["commands"].split()


def is_below(module: str, packages: list[str]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def test_imports_inside_functions_are_those_that_the_contract_lists() -> None:
    listed, commands = contract()
    late = {
        name: [each for each in imports(name) if each.function is not None]
        for name in modules()
        if not is_below(name, commands)
    }
    unlisted = [
        f"{name}:{e.line}: {e.target}" for name in late for e in late[name] if name not in listed
    ]
    assert not unlisted, "import at the head of the file, or list the library in .importlinter"
    needless = [
        f"{name}:{each.line}: {each.target}"
        for name, late_imports in late.items()
        for each in late_imports
        if not loads(each.target) & listed[name]
    ]
    assert not needless, "these load none of the libraries that the contract names for the module"


def test_every_library_in_the_list_is_loaded_late_by_its_module() -> None:
    listed, _ = contract()
    stale = [
        f"{name}: {library}"
        for name, libraries in listed.items()
        for library in libraries
        if name not in modules()
        or not any(
            library in loads(each.target) for each in imports(name) if each.function is not None
        )
    ]
    assert not stale, "the contract lists what no function loads"


def private_names(node: ast.AST) -> Iterator[str]:
    """Private names that a module takes from another: by import, or from an object not its own."""
    for child in ast.walk(node):
        if isinstance(child, ast.ImportFrom):
            yield from (alias.name for alias in child.names if alias.name.startswith("_"))
        elif isinstance(child, ast.Attribute):
            own = isinstance(child.value, ast.Name) and child.value.id in ("self", "cls")
            if not own:
                yield child.attr


def test_no_module_touches_the_private_names_of_a_model() -> None:
    """A model is used by what it offers: its caches and parts are its own."""
    models = {name: ast.parse(modules()[name].read_text(encoding="utf-8")) for name in modules()}
    theirs = {
        child.name if isinstance(child, ast.FunctionDef) else child.attr
        for name, tree in models.items()
        if is_below(name, ["training.models"])
        for child in ast.walk(tree)
        if isinstance(child, ast.FunctionDef | ast.Attribute)
    }
    private = {name for name in theirs if name.startswith("_") and not name.startswith("__")}
    users = [name for name in models if not is_below(name, ["training.models"])]
    assert "_catalogue" in private
    assert {
        name: used for name in users if (used := private & set(private_names(models[name])))
    } == {}


def test_the_page_about_data_names_nothing_of_the_model_side() -> None:
    """Whoever makes the page hands in what it says of models, as sections that are ready."""
    folder = ROOT / "pipeline/report"
    files = [path for path in sorted(folder.rglob("*")) if path.suffix in (".py", ".html")]
    named = {
        f"{path.name}: {word}"
        for path in files
        for word in re.findall(r"\w*(?:champion|decision|model)\w*", path.read_text("utf-8"), re.I)
    }
    assert {"render.py", "report.html"} <= {path.name for path in files}
    assert not named


@pytest.mark.parametrize("package", PACKAGES)
def test_folders_are_small_enough_to_be_read(package: str) -> None:
    folders = {path.parent for path in modules().values() if path.is_relative_to(ROOT / package)}
    crowded = {
        str(folder.relative_to(ROOT)): n
        for folder in folders
        if (n := len(list(folder.glob("*.py"))) - 1) > MOST_FILES
    }
    assert not crowded
