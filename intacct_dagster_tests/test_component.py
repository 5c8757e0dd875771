"""A project of one's own gets the company's assets, by the files that docs/library.md shows."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
import yaml

from intacct_dagster.component import IntacctCompany
from intacct_dagster.config import ConfigError, load_settings
from intacct_dagster.defs import build_definitions
from intacct_sandbox import LAST_DAY, RunningSandbox

PROJECT = Path(__file__).parent.parent
_FILES = dict(
    re.findall(
        r"^`([^`\n]+)`\n\n```\w+\n(.*?)^```$",
        (PROJECT / "docs" / "library.md").read_text(encoding="utf-8"),
        re.DOTALL | re.MULTILINE,
    )
)
_SETTINGS = Path("src/acme/defs/intacct/intacct.yaml")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, sandbox: RunningSandbox) -> Path:
    """The files of the page, with one entity and one day of the sandbox company."""
    folder = tmp_path_factory.mktemp("project")
    for name, text in _FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "dagster.yaml").touch()
    for package in (folder / "src/acme", folder / "src/acme/defs"):
        (package / "__init__.py").touch()
    settings = yaml.safe_load((PROJECT / "intacct.yaml").read_text(encoding="utf-8"))
    settings |= {
        "base_url": sandbox.base_url,
        "entities": settings["entities"][:1],
        "objects": ["accounts-receivable/invoice"],
        "start_date": LAST_DAY,
        "feeds": {},
    }
    (folder / _SETTINGS).write_text(yaml.safe_dump(settings), encoding="utf-8")
    return folder


def _in(project: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        cwd=project / "src",
        env={**os.environ, "PYTHONPATH": ".", "DAGSTER_HOME": str(project)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


_LOADED = """
import importlib, sys
graph = importlib.import_module(sys.argv[1]).defs().resolve_asset_graph()
print(*sorted(key.to_user_string() for key in graph.get_all_asset_keys()), sep="\\n")
"""


@pytest.mark.parametrize("module", ["acme.definitions", "acme.by_hand"])
def test_a_project_has_the_assets_of_the_company_and_its_own(project: Path, module: str) -> None:
    company = build_definitions(load_settings(project / _SETTINGS)).resolve_asset_graph()
    done = _in(project, "-W", "ignore", "-c", _LOADED, module)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split())
    assert loaded == {key.to_user_string() for key in company.get_all_asset_keys()} | {"revenue"}


def test_dagster_finds_nothing_amiss_in_such_a_project(project: Path) -> None:
    done = _in(project, "-m", "dagster", "definitions", "validate", "-m", "acme.definitions")
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stdout + done.stderr


_RUN = """
import dagster as dg
from acme.definitions import defs
job = defs().resolve_implicit_global_asset_job_def()
with dg.DagsterInstance.ephemeral() as instance:
    for keys, partition in (
        (["raw/accounts_receivable_invoice"], PARTITION),
        (["intacct/accounts_receivable_invoice", "revenue"], None),
    ):
        result = job.execute_in_process(
            instance=instance,
            asset_selection=[dg.AssetKey.from_user_string(key) for key in keys],
            partition_key=partition,
        )
    [revenue] = result.asset_materializations_for_node("revenue")
    print(revenue.metadata["invoiced"].value)
"""


def test_an_asset_of_the_project_reads_what_the_company_loaded(project: Path) -> None:
    code = _RUN.replace("PARTITION", repr(f"{LAST_DAY}|E110"))
    done = _in(project, "-W", "ignore", "-c", code)
    assert done.returncode == 0, done.stderr
    assert re.search(r"\| E110 +\| +[1-9][0-9.]+ \|", done.stdout), done.stdout


_LAUNCHED = """
import importlib, sys
import dagster as dg
module, key, resource = sys.argv[1:]
job = importlib.import_module(module).defs().resolve_implicit_global_asset_job_def()
with dg.DagsterInstance.ephemeral() as instance:
    try:
        job.execute_in_process(
            instance=instance,
            asset_selection=[dg.AssetKey.from_user_string(key)],
            partition_key=PARTITION if "/" in key else None,
            run_config={"resources": {resource: {"config": {"url": "https://elsewhere.example"}}}},
        )
    except dg.DagsterInvalidConfigError as error:
        print(error)
"""


@pytest.mark.parametrize(
    ("module", "key", "resource"),
    [
        ("acme.definitions", "raw/accounts_receivable_invoice", "intacct"),
        ("acme.definitions", "raw/accounts_receivable_invoice", "warehouse"),
        ("acme.definitions", "revenue", "warehouse"),
        ("acme.by_hand", "raw/accounts_receivable_invoice", "intacct"),
        ("acme.by_hand_bound", "balances", "bank"),
        ("acme.by_hand_bound", "balances", "io_manager"),
    ],
)
def test_a_launch_changes_no_bound_resource(
    project: Path, module: str, key: str, resource: str
) -> None:
    code = _LAUNCHED.replace("PARTITION", repr(f"{LAST_DAY}|E110"))
    done = _in(project, "-W", "ignore", "-c", code, module, key, resource)
    assert done.returncode == 0, done.stderr
    assert f'unexpected config entry "url" at path root:resources:{resource}' in done.stdout


def test_a_company_without_settings_is_shown_where_they_should_be(tmp_path: Path) -> None:
    missing = tmp_path / "gone.yaml"
    with pytest.raises(ConfigError, match=re.escape(f"{missing}: there is no such file")):
        dg.build_defs_for_component(component=IntacctCompany(settings=str(missing)))
