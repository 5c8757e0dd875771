"""A package exports what others use: no name of an `__all__` is there only for its own tests."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PRODUCT = ROOT / "intacct_dagster"
#: Packages whose `__init__.py` exports what other packages use.
FACADES = [
    "client",
    "client/pagination",
    "locks",
    "state",
    "state/ledger",
    "warehouse",
    "warehouse/feeds",
    "warehouse/raw",
    "warehouse/reconciliation",
    "warehouse/reporting",
]


def imported(source: str) -> Iterator[tuple[str, str]]:
    """Yield the module and the name of each `from module import name`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from ((node.module, each.name) for each in node.names)


def exported(source: str) -> list[str]:
    """Return the names in the `__all__` of a module."""
    (names,) = [
        ast.literal_eval(node.value)
        for node in ast.parse(source).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    ]
    return list(names)


def documented() -> Iterator[str]:
    """Yield each Python block of the docs."""
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        yield from re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def without_a_user(facade: str) -> list[str]:
    """Return the names that a package exports and nothing outside it imports."""
    package = PRODUCT / facade
    users = [
        file.read_text(encoding="utf-8")
        for folder in (PRODUCT, ROOT / "benchmarks")
        for file in folder.rglob("*.py")
        if package not in file.parents
    ]
    module = ".".join(package.relative_to(ROOT).parts)
    used = {
        name for source in (*users, *documented()) for at, name in imported(source) if at == module
    }
    return [
        name
        for name in exported((package / "__init__.py").read_text(encoding="utf-8"))
        if name not in used
    ]


@pytest.mark.parametrize("facade", FACADES)
def test_each_name_that_a_package_exports_is_used_outside_of_it(facade: str) -> None:
    assert without_a_user(facade) == [], f"import these from their modules, not from {facade}"


def test_every_package_that_exports_names_is_looked_at() -> None:
    found = {
        file.parent.relative_to(PRODUCT).as_posix()
        for layer in ("client", "locks", "state", "warehouse")
        for file in (PRODUCT / layer).rglob("__init__.py")
        if "__all__" in file.read_text(encoding="utf-8")
    }
    assert found == set(FACADES)
