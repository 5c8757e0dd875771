"""Check the ranges of pyproject.toml: what resolves beside them, and what the tests pass on.

`python scripts/check_dependencies.py resolve` resolves the package beside other Dagster libraries,
and fails if it holds one of them, or Dagster, back. `… oldest` and `… newest` install the lowest
and the highest versions that the ranges allow into an environment in a temporary folder, and run
the tests of what Dagster sees there, on the stock dagster.yaml. All three ask the package index
that pip is configured for. uv is used, and installed into that folder where it is missing.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
TESTS = PROJECT / "intacct_dagster_tests"
#: Libraries that teams use beside this one; each pins the very same Dagster.
NEIGHBOURS = ("dagster-duckdb-pandas", "dagster-snowflake-pandas", "dagster-dlt")
#: The tests of what calls Dagster, or is called by it: all assets and checks in the main job,
#: sensors, schedules, partitions, launches, the storage of events, the component, the deployment's
#: files, and `demo` in a process of its own on the stock dagster.yaml. The other tests of `defs/`
#: call nothing of Dagster that these do not, but on more kinds of data; `client/`, `config/`,
#: `extraction/`, `posting/`, `state/`, `warehouse/` and the sandbox do not import Dagster (import
#: contracts). What needs the UI, and all that is `slow`, is not run here either.
TOUCH_DAGSTER = (
    "defs/automation",
    "defs/test_launch.py",
    "defs/test_main_job.py",
    "defs/test_partitions.py",
    "instance",
    "test_component.py",
    "test_deploy.py",
    "test_sandbox_missing.py",
    "cli/demo",
)
#: Tests of the opt-in history, which the oldest Dagster does not have.
BATCHED = "from intacct_dagster.instance.history.batched import"

RESOLVE_SECONDS = 300
INSTALL_SECONDS = 900
TEST_SECONDS = 2400


class Failed(Exception):
    """A check failed; the message says what to look at."""


def main(what: str) -> None:
    """Run one of the checks."""
    with tempfile.TemporaryDirectory(prefix="intacct-dependencies-") as folder:
        uv = uv_command(Path(folder))
        if what == "resolve":
            check_neighbours(uv)
        else:
            run_tests(uv, Path(folder) / "venv", oldest=what == "oldest")


def uv_command(folder: Path) -> str:
    """Return the uv on the path, or one that is installed into the folder."""
    found = shutil.which("uv")
    if found is not None:
        return found
    run([sys.executable, "-m", "venv", str(folder / "uv")], INSTALL_SECONDS)
    run([str(folder / "uv/bin/pip"), "install", "--quiet", "uv"], INSTALL_SECONDS)
    return str(folder / "uv/bin/uv")


def check_neighbours(uv: str) -> None:
    """Resolve the package beside each neighbour, and compare with the neighbour alone."""
    series = next(each for each in dependencies() if re.match(r"dagster\W", each))
    expect("the newest Dagster", uv, [series], [ours()])
    webserver = next(each for each in extra("ui") if each.startswith("dagster-webserver"))
    expect("the newest webserver", uv, [webserver], [ours("ui", "pandas")])
    for neighbour in NEIGHBOURS:
        expect(neighbour, uv, [series, neighbour], [ours("ui", "pandas"), neighbour])
    for pandas in ("pandas>=2,<3", "pandas>=3,<4"):
        expect(pandas, uv, [series, webserver, pandas], [ours("ui", "pandas"), pandas])


def expect(about: str, uv: str, alone: Sequence[str], together: Sequence[str]) -> None:
    """Raise Failed unless what is resolved together is no older than what is resolved alone."""
    without, found = resolved(uv, alone), resolved(uv, together)
    held_back = {
        name: f"{found.get(name)} instead of {version}"
        for name, version in without.items()
        if name.startswith("dagster") and found.get(name) != version
    }
    if held_back:
        raise Failed(f"The package holds back what {about} resolves to: {held_back}")
    shown = ("dagster", "dagster-webserver", "pandas", "duckdb")
    versions = ", ".join(f"{name} {found[name]}" for name in shown if name in found)
    print(f"beside {about}: {versions}", flush=True)


def resolved(uv: str, requirements: Sequence[str]) -> dict[str, str]:
    """Return the version of each package that the requirements resolve to."""
    how = ("--quiet", "--no-header", "--no-annotate", "--python-version", "3.11")
    given = "\n".join(requirements)
    compiled = run([uv, "pip", "compile", "-", *how], RESOLVE_SECONDS, given=given)
    return dict(re.findall(r"(?m)^([a-z0-9.-]+)==([^\s;]+)", compiled))


def run_tests(uv: str, environment: Path, *, oldest: bool) -> None:
    """Install the lowest or the highest versions allowed, and run TOUCH_DAGSTER on them."""
    run([uv, "venv", "--quiet", "--python", sys.executable, str(environment)], INSTALL_SECONDS)
    python = str(environment / "bin/python")
    wanted = ["-e", f"{PROJECT}[pandas]", "-e", f"{PROJECT / 'sandbox'}[large]", *tools()]
    how = ["--resolution", "lowest-direct"] if oldest else ["--upgrade"]
    run([uv, "pip", "install", "--quiet", "--python", python, *how, *wanted], INSTALL_SECONDS)
    frozen = run([uv, "pip", "freeze", "--quiet", "--python", python], INSTALL_SECONDS)
    print(
        *re.findall(r"(?m)^(?:dagster|pandas|duckdb|sqlalchemy|pydantic)==.*", frozen), flush=True
    )
    pytest = [python, "-m", "pytest", "-q", "-n", "2", "--dist", "worksteal"]
    pytest += ["-m", "not slow", "-p", "no:cacheprovider"]
    command = [*pytest, *map(str, tests(batched=not oldest))]
    ran = subprocess.run(
        command, cwd=PROJECT, env=environment_of(), timeout=TEST_SECONDS, check=False
    )
    if ran.returncode != 0:
        raise Failed(f"The tests failed on the {'oldest' if oldest else 'newest'} versions.")


def tests(*, batched: bool) -> Iterator[Path]:
    """Yield the files of TOUCH_DAGSTER, without those of the batched history unless wanted."""
    for name in TOUCH_DAGSTER:
        found = TESTS / name
        for path in sorted(found.rglob("test_*.py")) if found.is_dir() else [found]:
            if batched or BATCHED not in path.read_text(encoding="utf-8"):
                yield path


def tools() -> list[str]:
    """Return what the tests need, without the extras of the package itself."""
    return [each for each in extra("dev") if not each.startswith("intacct_dagster[")]


def ours(*extras: str) -> str:
    """Return the package of this folder as a requirement."""
    named = f"[{','.join(extras)}]" if extras else ""
    return f"intacct_dagster{named} @ {PROJECT.as_uri()}"


def dependencies() -> list[str]:
    """Return the hard dependencies of pyproject.toml."""
    return list(pyproject()["dependencies"])


def extra(name: str) -> list[str]:
    """Return an extra of pyproject.toml."""
    return list(pyproject()["optional-dependencies"][name])


def pyproject() -> dict[str, Any]:
    """Return the project table of pyproject.toml."""
    with (PROJECT / "pyproject.toml").open("rb") as file:
        return dict(tomllib.load(file)["project"])


def environment_of() -> dict[str, str]:
    """Return the environment without settings of a company or of an instance."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("INTACCT_", "DAGSTER_", "PYTHONPATH"))
    }


def run(command: Sequence[str], seconds: int, *, given: str | None = None) -> str:
    """Return what a command printed. Raises Failed with its errors."""
    try:
        ran = subprocess.run(
            command,
            input=given,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
            cwd=PROJECT,
            env=environment_of(),
        )
    except subprocess.TimeoutExpired:
        raise Failed(f"{' '.join(command[:4])} took more than {seconds} s.") from None
    if ran.returncode != 0:
        about = f" for {given}" if given else ""
        raise Failed(f"{' '.join(command[:4])} failed{about}:\n{ran.stderr[-3000:]}")
    return ran.stdout


@contextmanager
def reported() -> Iterator[None]:
    """End the process with a failed check's message instead of a traceback."""
    try:
        yield
    except Failed as failure:
        sys.exit(str(failure))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["resolve" | "oldest" | "newest" as what]:
            with reported():
                main(what)
        case _:
            sys.exit(__doc__)
