"""How large a company is that is kept on disk."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from intacct_sandbox.errors import SandboxError

_LIMITS = {"entities": (4, 1_000), "years": (1, 10), "lines": (100, 50_000_000)}


@dataclass(frozen=True)
class Size:
    """Entities, years of books up to the last day of the calendar, and journal entry lines.

    Raises `SandboxError` for a company that the sandbox does not generate.
    """

    entities: int = 100
    years: int = 3
    lines: int = 5_000_000

    def __post_init__(self) -> None:
        for name, (least, most) in _LIMITS.items():
            if not least <= getattr(self, name) <= most:
                raise SandboxError(f"A company has from {least:,} to {most:,} {name}.")

    def __str__(self) -> str:
        return f"{self.entities:,} entities, {self.years} years and {self.lines:,} lines"

    def kept(self) -> dict[str, int]:
        """Return it as it is written down."""
        return asdict(self)


LARGE = Size()
"""What `--size large` means."""
