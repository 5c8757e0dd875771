"""Links from assets to the code that makes them: files of this machine, or a team's repository."""

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import dagster as dg

REFERENCES = "dagster/code_references"

#: The folder that holds the package: what lies in it is linked to by its path from there.
_ROOT = Path(__file__).parents[2]


def made_by(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the code link of an asset without an op: the function that describes it."""
    _, line = inspect.getsourcelines(function)
    here = dg.LocalFileCodeReference(
        file_path=inspect.getfile(function), line_number=line, label=function.__name__
    )
    return {REFERENCES: dg.CodeReferencesMetadataValue(code_references=[here])}


def in_repository(metadata: Mapping[str, Any], url: str | None) -> dict[str, Any]:
    """Return the metadata with code links that lead to `url`, the folder of the package there.

    None leaves the links as they are.
    """
    held = metadata.get(REFERENCES)
    if url is None or held is None:
        return dict(metadata)
    return {
        **metadata,
        REFERENCES: dg.CodeReferencesMetadataValue(
            code_references=[_linked(each, url.rstrip("/")) for each in held.code_references]
        ),
    }


def _linked(
    each: dg.LocalFileCodeReference | dg.UrlCodeReference, url: str
) -> dg.LocalFileCodeReference | dg.UrlCodeReference:
    if isinstance(each, dg.UrlCodeReference) or not Path(each.file_path).is_relative_to(_ROOT):
        return each
    path = Path(each.file_path).relative_to(_ROOT).as_posix()
    line = f"#L{each.line_number}" if each.line_number else ""
    return dg.UrlCodeReference(url=f"{url}/{path}{line}", label=each.label)
