"""docs/configuration.md says of every key what the settings say."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
from pydantic import BaseModel

from intacct_dagster.config import SettingsSection

PROJECT = Path(__file__).parents[2]
SECTIONS = sorted(SettingsSection.__subclasses__(), key=lambda each: each.__name__)


@pytest.fixture(scope="module")
def page() -> str:
    made: str = runpy.run_path(str(PROJECT / "scripts/configuration_page.py"))["render"]()
    return made


def test_the_page_is_what_the_settings_say(page: str) -> None:
    kept = (PROJECT / "docs/configuration.md").read_text(encoding="utf-8")
    assert kept == page, "run `make configuration`"


@pytest.mark.parametrize("section", SECTIONS, ids=lambda each: each.__name__)
def test_every_key_is_explained_and_on_the_page(section: type[BaseModel], page: str) -> None:
    keys = section.model_json_schema()["properties"]
    assert [key for key, value in keys.items() if not value.get("description")] == []
    assert [key for key in keys if f"| `{key}` |" not in page] == []
