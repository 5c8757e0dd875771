"""What `python -m build` makes: whole wheels, which run the demo in an empty environment."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from intacct_dagster.cli.demo.sandbox_company import PROJECT_FILES
from intacct_dagster_tests.code_location import PROJECT

pytestmark = pytest.mark.slow

#: The folder of each distribution in a clone, and its package.
SOURCES = {"intacct_dagster": PROJECT, "intacct_sandbox": PROJECT / "sandbox"}
_LONGEST = 600  # seconds that one command may take


def _run(*command: str | Path, folder: Path) -> str:
    kept = ("HOME", "LANG", "PATH", "PIP_", "SSL_", "TMPDIR", "UV_", "XDG_")
    done = subprocess.run(
        list(map(str, command)),
        cwd=folder,
        env={name: value for name, value in os.environ.items() if name.startswith(kept)},
        capture_output=True,
        text=True,
        timeout=_LONGEST,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build both distributions. Return the folder of the wheels and source distributions."""
    folder = tmp_path_factory.mktemp("distributions")
    for source in SOURCES.values():
        _run(sys.executable, "-m", "build", "--outdir", folder, source, folder=folder)
    return folder


def _one(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found


def _data_files(source: Path, package: str) -> Sequence[str]:
    """Return the files of a package in the clone that are not Python."""
    return [
        file.relative_to(source).as_posix()
        for file in (source / package).rglob("*")
        if file.is_file() and file.suffix not in {".py", ".pyc"}
    ]


@pytest.mark.parametrize("package", SOURCES)
def test_a_wheel_has_all_data_files(built: Path, package: str) -> None:
    data = _data_files(SOURCES[package], package)
    assert any(name.endswith((".sql", ".yaml")) for name in data)
    with zipfile.ZipFile(_one(built, f"{package}-*.whl")) as wheel:
        assert set(data) <= set(wheel.namelist())


@pytest.mark.parametrize("package", SOURCES)
def test_a_source_distribution_has_the_package_and_nothing_of_the_other(
    built: Path, package: str
) -> None:
    with tarfile.open(_one(built, f"{package}-*.tar.gz")) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {*_data_files(SOURCES[package], package), "pyproject.toml", "README.md"} <= names
    (other,) = SOURCES.keys() - {package}
    assert not any(other in name for name in names)


def test_the_demo_runs_from_the_wheels_in_an_empty_folder(built: Path, tmp_path: Path) -> None:
    environment, empty = tmp_path / "venv", tmp_path / "empty"
    empty.mkdir()
    _run(sys.executable, "-m", "venv", environment, folder=tmp_path)
    lock = PROJECT / "requirements.lock"
    pip = (environment / "bin" / "python", "-m", "pip", "--disable-pip-version-check", "-q")
    install = ("install", "-c", lock, "--find-links", built, "intacct_dagster[sandbox]")
    _run(*pip, *install, folder=empty)

    command = environment / "bin" / "intacct-dagster"
    first = _run(command, "demo", "--days", "1", folder=empty)
    assert f"Wrote {', '.join(PROJECT_FILES)} for the sandbox company into {empty}" in first
    assert " documents posted." in first
    assert "The sandbox's books agree" in first
    for name in PROJECT_FILES:
        assert (empty / name).read_bytes() == (PROJECT / name).read_bytes()
    again = _run(command, "demo", "--days", "1", folder=empty)
    assert "Wrote" not in again
    assert "Nothing was posted" in again
