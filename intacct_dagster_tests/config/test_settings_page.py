"""docs/configuration.md says of every key what the settings say."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel

from intacct_dagster.cli.settings_page import settings_page
from intacct_dagster.config import _Settings

PROJECT = Path(__file__).parents[2]
_SECTIONS = sorted(_Settings.__subclasses__(), key=lambda each: each.__name__)


def test_the_page_is_what_the_settings_say() -> None:
    page = (PROJECT / "docs/configuration.md").read_text(encoding="utf-8")
    assert page == settings_page(), "run `make configuration`"


@pytest.mark.parametrize("section", _SECTIONS, ids=lambda each: each.__name__)
def test_every_key_is_explained_and_on_the_page(section: type[BaseModel]) -> None:
    keys = section.model_json_schema()["properties"]
    assert [key for key, value in keys.items() if not value.get("description")] == []
    assert [key for key in keys if f"| `{key}` |" not in settings_page()] == []
