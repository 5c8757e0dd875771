"""The wheels as a stranger gets them: the sandbox's alone, in an empty environment, over HTTP."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import textwrap
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from intacct_dagster_tests.sandbox.caller import INVOICE, PROJECT

pytestmark = pytest.mark.slow

_LONGEST = 600  # seconds that pip may take


@dataclass(frozen=True)
class Installed:
    """An environment with the sandbox's wheel and what it depends on."""

    bin: Path
    wheels: dict[str, Path]
    """By distribution."""
    folder: Path

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run one of its programs in an empty folder."""
        return subprocess.run(
            [str(self.bin / words[0]), *words[1:]],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=_LONGEST,
            check=False,
        )


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Build both wheels, and install the sandbox's as its README says."""
    root = tmp_path_factory.mktemp("wheels")
    environment, dist, empty = root / "venv", root / "dist", root / "empty"
    empty.mkdir()
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True, timeout=_LONGEST)
    pip = [str(environment / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "-q"]
    build = ["wheel", "--no-deps", "--wheel-dir", str(dist), str(PROJECT / "sandbox"), str(PROJECT)]
    subprocess.run([*pip, *build], check=True, timeout=_LONGEST)
    install = ["install", "-c", str(PROJECT / "requirements.lock"), "--find-links", str(dist)]
    subprocess.run([*pip, *install, "intacct-sandbox"], check=True, timeout=_LONGEST)
    wheels = {file.name.partition("-")[0]: file for file in dist.glob("*.whl")}
    return Installed(environment / "bin", wheels, empty)


@contextmanager
def _serving(installed: Installed, *options: str) -> Iterator[dict[str, Any]]:
    """Serve on a free port and give what the ready line says."""
    with subprocess.Popen(
        [str(installed.bin / "intacct-sandbox"), "--port", "0", *options],
        cwd=installed.folder,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            ready: dict[str, Any] = json.loads(process.stdout.readline())
            yield ready
        finally:
            process.terminate()


def test_each_wheel_holds_its_own_package_and_nothing_else(installed: Installed) -> None:
    for distribution, wheel in installed.wheels.items():
        with zipfile.ZipFile(wheel) as archive:
            names = archive.namelist()
        tops = {name.partition("/")[0] for name in names}
        assert {top for top in tops if not top.endswith(".dist-info")} == {distribution}
        assert f"{distribution}/py.typed" in names
    assert set(installed.wheels) == {"intacct_sandbox", "intacct_dagster"}


@pytest.mark.parametrize("package", ["dagster", "duckdb", "pandas", "intacct_dagster"])
def test_the_sandbox_needs_neither_the_product_nor_what_the_product_needs(
    installed: Installed, package: str
) -> None:
    done = installed.run("python", "-c", f"import {package}")
    assert "ModuleNotFoundError" in done.stderr


def test_the_product_and_the_sandbox_install_together_from_wheels(installed: Installed) -> None:
    lock, dist = PROJECT / "requirements.lock", installed.wheels["intacct_dagster"].parent
    done = installed.run(
        *("python", "-m", "pip", "install", "--dry-run", "--ignore-installed", "-c", str(lock)),
        *("--find-links", str(dist), "intacct_dagster[sandbox]"),
    )
    assert done.returncode == 0, done.stderr
    would_install = done.stdout.rpartition("Would install")[2]
    assert "dagster-1." in would_install
    for wheel in installed.wheels.values():
        name, version, *_ = wheel.name.split("-")
        assert f"{name}-{version}" in would_install.replace("intacct-", "intacct_")


def test_it_is_asked_over_http(installed: Installed) -> None:
    with _serving(installed) as ready, httpx.Client(base_url=ready["base_url"]) as client:
        asked = {
            "grant_type": "client_credentials",
            "client_id": ready["client_id"],
            "client_secret": ready["client_secret"],
            "username": "usa@demo",
        }
        token = client.post("/oauth2/token", data=asked).raise_for_status().json()["access_token"]
        client.headers["Authorization"] = f"Bearer {token}"
        query = {"object": INVOICE, "fields": ["key", "customer.name"], "size": 3}
        answer = client.post("/services/core/query", json=query).raise_for_status().json()
        assert len(answer["ia::result"]) == 3
        assert answer["ia::meta"]["totalCount"] > 3
        control = ready["base_url"].removesuffix("/ia/api/v1") + "/_sandbox"
        assert httpx.get(f"{control}/requests").json()["requests"]["query POST"] == 1
        export = {"fileType": "xlsx", "query": query}
        assert client.post("/services/core/export", json=export).content[:2] == b"PK"


def test_a_large_company_without_duckdb_names_the_command_that_installs_it(
    installed: Installed,
) -> None:
    done = installed.run("intacct-sandbox", "--port", "0", "--size", "large", "--state", "large")
    assert done.returncode == 1
    assert "pip install 'intacct-sandbox[large]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_commands_and_the_example_of_the_readme_work(installed: Installed) -> None:
    page = (PROJECT / "sandbox" / "README.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    checked = f"{example}\nassert token.count('.') == 2, token\n"
    done = installed.run("python", "-c", textwrap.dedent(checked))
    assert done.returncode == 0, done.stderr
    listed = installed.run("intacct-sandbox", "behaviours")
    assert "refresh_rotation" in listed.stdout
    with _serving(installed, "--behaviour", "refresh_rotation=grace") as ready:
        assert ready["company"] == "demo"
    got = installed.run("intacct-sandbox", "replay", str(PROJECT / "no" / "such" / "folder"))
    assert got.returncode == 1
    assert "There is no directory" in got.stderr
    commands = set(re.findall(r"^\$ intacct-sandbox ?(\S*)", page, re.MULTILINE))
    assert commands == {"--port", "behaviours", "--behaviour", "replay"}
