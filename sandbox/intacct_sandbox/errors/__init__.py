"""What goes wrong around the sandbox, not inside its API."""

from __future__ import annotations


class SandboxError(Exception):
    """A sandbox that cannot start or write; one or two lines that say what to do."""
