"""What can go wrong in the warehouse. Each error is one or two lines that end with what to do."""

from __future__ import annotations

from pathlib import Path


class WarehouseError(Exception):
    """Something the warehouse could not do. Nothing was half-written when this is raised."""


class WarehouseLocked(WarehouseError):
    """Another holder kept the DuckDB file longer than `lock_timeout` seconds.

    `pid` and `program` say who, where DuckDB says it.
    """

    def __init__(
        self,
        path: Path,
        waited: float,
        *,
        pid: int | None = None,
        program: str | None = None,
        in_this_process: bool = False,
    ) -> None:
        self.path = path
        self.waited = waited
        self.pid = pid
        self.program = program
        if in_this_process:
            holder = "another connection of this process"
        elif pid is None:
            holder = "another process"
        else:
            holder = f"{program or 'a process'} (pid {pid})"
        super().__init__(
            f"The warehouse {path} is held by {holder}; waited {waited:.0f} s for it.\n"
            "Close what has it open (a notebook, a duckdb shell), or try again when it has ended."
        )


class WarehouseUnreadable(WarehouseError):
    """The DuckDB file does not exist, is no DuckDB file, or its folder cannot be written."""


class SchemaChanged(WarehouseError):
    """A table of the warehouse has a column of another type than what is to be written."""

    def __init__(self, reason: str, remedy: str) -> None:
        self.reason = reason
        self.remedy = remedy
        super().__init__(f"{reason}.\n{remedy}")


class NotMaterialized(WarehouseError):
    """A table that is needed does not exist or is not complete yet; the message names the asset."""


class LoadRefused(WarehouseError):
    """Rows of one object and entity were not stored; the partitions are as they were.

    `column` and `key` name the place where there is one.
    """

    def __init__(
        self,
        object: str,
        entity: str,
        reason: str,
        remedy: str,
        *,
        column: str | None = None,
        key: str | None = None,
    ) -> None:
        self.object = object
        self.entity = entity
        self.column = column
        self.key = key
        super().__init__(f"{object} of {entity} was not loaded: {reason}.\n{remedy}")


class PageArchiveUnreadable(WarehouseError):
    """A file of the page archive is damaged or was changed; nothing of its load was done."""

    def __init__(self, file: Path, reason: str) -> None:
        self.file = file
        super().__init__(
            f"{file} cannot be read: {reason}.\n"
            "Delete its folder: the partitions that it was for are then read from Intacct."
        )


class FeedError(WarehouseError):
    """A feed's definition or one of its files cannot be used; nothing of the feed was written.

    `file` is the file's path, or None when it is the definition; then `where` are the keys that
    lead to what is wrong with it.
    """

    def __init__(
        self,
        feed: str,
        reason: str,
        remedy: str,
        *,
        file: str | None = None,
        where: tuple[str | int, ...] = (),
    ) -> None:
        self.feed = feed
        self.file = file
        self.where = where
        self.reason = reason
        self.remedy = remedy
        super().__init__(f"Feed {feed}: {reason}.\n{remedy}")


class ReconciliationRefused(WarehouseError):
    """A feed cannot be compared with Intacct's copy; the reconciled partitions are as they were."""
