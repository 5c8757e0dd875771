"""The journal: what was written to the books since they were generated, one JSON line a request.

A line is flushed before its answer goes out, so an answer that anyone got is in the journal. A
crash can tear the last line only; nobody got the answer to it, and it is dropped. Every line ends
with a newline, which is how a torn one is recognized.
"""

from __future__ import annotations

import fcntl
import io
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from intacct_sandbox.errors import SandboxError
from intacct_sandbox.objects.catalogue import Json
from intacct_sandbox.seed.size import Size

_FORMAT = 2


class Journal:
    """The journal of one state directory, which nobody else may use meanwhile.

    Raises `SandboxError` when another sandbox uses the directory, when the journal belongs to a
    company of another seed or size, or when it cannot be read.
    """

    def __init__(self, directory: Path, seed: int, size: Size | None = None) -> None:
        self.directory = directory
        self._card = directory / "sandbox.json"
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._lock = (directory / "lock").open("a")
        except OSError as error:
            raise SandboxError(
                f"The state directory {directory} cannot be used ({error.strerror}): "
                "choose another with --state."
            ) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.close()
            raise SandboxError(self._who_uses_it()) from error
        self._path = directory / "journal.jsonl"
        try:
            self._entries = self._read(seed, size)
            self._file: io.BufferedWriter | None = self._path.open("ab")
            self._head: dict[str, Json] = {"format": _FORMAT, "seed": seed}
            if size is not None:
                self._head["size"] = dict(size.kept())
            if self._path.stat().st_size == 0:
                self.append(self._head)
        except BaseException:
            self._lock.close()
            raise

    def _who_uses_it(self) -> str:
        try:
            card = json.loads(self._card.read_text(encoding="utf-8"))
            who = f"the sandbox at {card['base_url']} (process {card['pid']})"
        except (OSError, ValueError, KeyError, TypeError):
            who = "another sandbox"
        return (
            f"The state directory {self.directory} is used by {who}: stop that one, use it, "
            "or choose another directory with --state."
        )

    def _read(self, seed: int, size: Size | None) -> list[dict[str, Any]]:
        if not self._path.exists():
            return []
        content = self._path.read_bytes()
        whole, newline, torn = content.rpartition(b"\n")
        if torn:
            with self._path.open("r+b") as file:
                file.truncate(len(whole) + len(newline))
        entries: list[dict[str, Any]] = []
        for number, line in enumerate(whole.split(b"\n") if newline else (), start=1):
            try:
                entry = msgspec.json.decode(line)
            except msgspec.DecodeError as error:
                raise SandboxError(
                    f"Line {number} of {self._path} cannot be read: restore the file, or remove it "
                    "to begin with fresh books."
                ) from error
            entries.append(entry)
        if entries:
            head = entries.pop(0)
            if head.get("format") != _FORMAT or "seed" not in head:
                raise SandboxError(
                    f"{self._path} is not a journal of this version of the sandbox: remove it to "
                    "begin with fresh books."
                )
            if head["seed"] != seed:
                raise SandboxError(
                    f"The books in {self.directory} belong to seed {head['seed']}, not {seed}: "
                    "start with that seed, or choose another directory with --state."
                )
            there = Size(**head["size"]) if "size" in head else None
            if there != size:
                shown = f"has {there}: start with them" if there else "is the small one: start it"
                raise SandboxError(
                    f"The company in {self.directory} {shown}, or choose another directory with "
                    "--state."
                )
        return entries

    def entries(self) -> Iterator[dict[str, Any]]:
        """Yield the entries found at the start, oldest first; each is handed out once."""
        entries, self._entries = self._entries, []
        yield from entries

    def append(self, entry: Mapping[str, Json]) -> None:
        """Write one entry and hand it to the operating system; raises `OSError`."""
        if self._file is None:
            raise OSError("the journal is closed")
        self._file.write(msgspec.json.encode(entry) + b"\n")
        self._file.flush()

    def content(self) -> bytes:
        """Return everything written so far."""
        return self._path.read_bytes()

    def rewrite(self, content: bytes | None = None) -> None:
        """Go back to what `content` gave once, or to the beginning; raises `OSError`."""
        if self._file is None:
            raise OSError("the journal is closed")
        fresh = self._path.with_suffix(".new")
        fresh.write_bytes(msgspec.json.encode(self._head) + b"\n" if content is None else content)
        fresh.replace(self._path)
        self._file.close()
        self._file = self._path.open("ab")

    def show_card(self, info: Mapping[str, Json]) -> None:
        """Leave `sandbox.json` in the directory: who runs here, for as long as it runs."""
        fresh = self._card.with_suffix(".new")
        fresh.write_text(json.dumps({**info, "pid": os.getpid()}) + "\n", encoding="utf-8")
        fresh.replace(self._card)

    def close(self) -> None:
        """Take the card away and give the directory free."""
        if self._file is None:
            return
        self._file.close()
        self._file = None
        self._card.unlink(missing_ok=True)
        self._lock.close()
