"""Write docs/sandbox-parity.md, what the sandbox simulates and how that is known: `make parity`."""

from __future__ import annotations

from pathlib import Path

from intacct_sandbox.tools.parity_page import render

PAGE = Path(__file__).parent.parent / "docs" / "sandbox-parity.md"

if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
