"""The product without the sandbox package: the rest works, and the message says what to do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from intacct_dagster.cli.app import main
from intacct_dagster_tests.code_location import PROJECT


@pytest.mark.parametrize("command", [["sandbox"], ["sandbox", "behaviours"], ["demo"]])
def test_a_command_that_needs_the_sandbox_names_the_command_that_installs_it(
    command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class NotInstalled:
        @staticmethod
        def find_spec(name: str, *_: object) -> None:
            if name == "intacct_sandbox":
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    for name in [one for one in sys.modules if one.partition(".")[0] == "intacct_sandbox"]:
        monkeypatch.delitem(sys.modules, name)
    # Where another test imported it with the sandbox, it would run the demo in this very clone.
    monkeypatch.delitem(sys.modules, "intacct_dagster.cli.demo.run", raising=False)
    monkeypatch.setattr(sys, "meta_path", [NotInstalled, *sys.meta_path])
    monkeypatch.chdir(PROJECT)
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 1
    assert "pip install intacct-sandbox" in result.output
    assert "make install" in result.output
    assert "Traceback" not in result.output


def test_the_code_location_loads_without_the_sandbox() -> None:
    code = (
        "import sys; sys.modules['intacct_sandbox'] = None;"
        "from intacct_dagster.config import load_settings;"
        "from intacct_dagster.defs import build_definitions;"
        "print(bool(list(build_definitions(load_settings()).assets or ())))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(PROJECT),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout.split()[-1:] == ["True"], done.stderr
