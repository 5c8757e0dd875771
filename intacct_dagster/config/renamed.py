"""Old names of keys: accepted for one release, with a warning that names the new one."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from intacct_dagster.config.errors import KeyPath, Problem, dotted

#: Section, old name and new name; `*` stands for any name. Remove with the release after 0.2.
RENAMED: tuple[tuple[tuple[str, ...], str, str], ...] = (
    ((), "keep_pages", "page_retention_days"),
    ((), "dagster_url", "webserver_url"),
    (("reading",), "sweep_months", "delete_scan_months"),
    (("schedules",), "runs_at_once", "max_concurrent_runs"),
    (("schedules",), "feed_seconds", "feed_poll_seconds"),
    (("schedules",), "changes_minutes", "change_poll_minutes"),
    (("feeds", "*"), "total", "control_totals"),
)


class RenamedKeyWarning(FutureWarning):
    """The file has a key under its old name, which the next release refuses."""


@dataclass(frozen=True)
class RenamedKey:
    """A key that the file has under its old name."""

    file: Path
    line: int
    old: str
    new: str

    @property
    def flaw(self) -> str:
        """Return which name is old."""
        return f"{self.old} is an old name that the next release refuses"

    @property
    def remedy(self) -> str:
        """Return what to do about it."""
        return f"Rename it to {self.new}."


def use_new_names(values: dict[str, Any], problems: list[Problem]) -> dict[KeyPath, KeyPath]:
    """Replace old names of keys in `values` by the new ones.

    Args:
        values: What the file says; changed in place.
        problems: Gets one for each key that is given under both names.

    Returns:
        For each key that was renamed, its new path and the path that the file has.
    """
    renamed: dict[KeyPath, KeyPath] = {}
    for steps, old, new in RENAMED:
        for where, section in _sections(values, steps, ()):
            if old not in section:
                continue
            before = (*where, old)
            if new in section:
                text = f"{dotted(before)} is the old name of {new}, which is given as well"
                problems.append(Problem(before, f"{text}: keep {new}"))
                continue
            section[new] = section.pop(old)
            renamed[*where, new] = before
    return renamed


def _sections(
    values: object, steps: tuple[str, ...], before: KeyPath
) -> Iterator[tuple[KeyPath, dict[str, Any]]]:
    if not isinstance(values, dict):
        return
    if not steps:
        yield before, values
        return
    for name in list(values) if steps[0] == "*" else steps[:1]:
        yield from _sections(values.get(name), steps[1:], (*before, name))


def as_written(where: KeyPath, renamed: Mapping[KeyPath, KeyPath]) -> KeyPath:
    """Return the path of a key as the file has it."""
    for after, before in renamed.items():
        if where[: len(after)] == after:
            return (*before, *where[len(after) :])
    return where


def old_names(section: KeyPath) -> dict[str, str]:
    """Return the old names of a section's keys, and the new ones."""
    return {
        old: new
        for steps, old, new in RENAMED
        if len(steps) == len(section)
        and all(step in ("*", name) for step, name in zip(steps, section, strict=True))
    }


#: Python's memory of what was shown: each old name once in a process.
_shown: dict[str | tuple[str, type[Warning], int], int] = {}


def warn_of(keys: tuple[RenamedKey, ...]) -> None:
    """Warn of each old name, at its line of the file, once in a process."""
    for key in keys:
        warnings.warn_explicit(
            f"{key.flaw}. {key.remedy}",
            RenamedKeyWarning,
            str(key.file),
            key.line,
            module=__name__,
            registry=_shown,
        )
