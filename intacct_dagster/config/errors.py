"""The error for a configuration that cannot be used, and where each problem is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

#: The steps from the top of the file to a key: names of keys, and positions in lists.
KeyPath = tuple[str | int, ...]


class ConfigError(Exception):
    """The configuration cannot be used. Each line of the message is one thing to correct."""


class PlacedError(ValueError):
    """What is wrong with a key that lies below the section that is checked, at the path `where`."""

    def __init__(self, where: KeyPath, text: str) -> None:
        super().__init__(text)
        self.where = where


@dataclass(frozen=True)
class Problem:
    """What is wrong with a key. The line is looked up when all problems are known."""

    where: KeyPath
    text: str


def dotted(where: Sequence[str | int]) -> str:
    """Return the path of a key as a person writes it, such as `entities[0].user`."""
    return "".join(
        f"[{step}]" if isinstance(step, int) else f".{step}" if index else step
        for index, step in enumerate(where)
    )
