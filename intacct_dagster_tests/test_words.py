"""The linter of words: what it finds, and that its list of exempt files can only shrink."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

from intacct_dagster_tests.code_location import PROJECT

LINTER: dict[str, Any] = runpy.run_path(str(PROJECT / "scripts" / "check_words.py"))


def _project(root: Path, **files: str) -> Path:
    (root / "docs").mkdir()
    for name, text in files.items():
        (root / "docs" / f"{name}.md").write_text(text, encoding="utf-8")
    return root


@pytest.mark.parametrize("word", sorted(LINTER["WORDS"]))
def test_a_word_is_found_in_sentences_and_in_names(word: str) -> None:
    snake, camel = word.replace(" ", "_"), word.title().replace(" ", "")
    texts = [f"It is {word}.", f"{word.capitalize()} it is.", f"def _{snake}_of(x):", snake.upper()]
    texts += [f"class {camel}:", f"class Large{camel}Size:", f"{snake}Of"]
    for text in texts:
        assert [line for line, _ in LINTER["found_in"](f"first\n{text}\n")] == [2], text


@pytest.mark.parametrize(
    "text", ["a real state", "estates", "retold", "fatesque", "amendment", "mender", "bookshelf"]
)
def test_a_word_that_only_contains_one_is_none(text: str) -> None:
    assert not list(LINTER["found_in"](text))


def test_a_word_over_two_lines_is_found() -> None:
    assert [line for line, _ in LINTER["found_in"]("# the front\n# door\n")] == [1]


def test_a_mistake_names_file_line_and_what_to_write(tmp_path: Path) -> None:
    root = _project(tmp_path, page="fine\nit is sent anew\n", other="fine")
    assert list(LINTER["check"](root, ())) == ["docs/page.md:2: 'anew': write again"]


def test_a_file_is_exempt_only_while_it_needs_to_be(tmp_path: Path) -> None:
    root = _project(tmp_path, page="sent anew", other="fine")
    exempt = ("docs/page.md", "docs/other.md", "docs/gone.md")
    assert [mistake.partition(" ")[0] for mistake in LINTER["check"](root, exempt)] == [
        "docs/gone.md",
        "docs/other.md",
    ]


def test_what_was_rewritten_has_none_of_the_words() -> None:
    assert list(LINTER["check"](PROJECT)) == []


def test_only_tests_are_exempt() -> None:
    assert [
        name for name in LINTER["NOT_REWRITTEN"] if not name.startswith("intacct_dagster_tests/")
    ] == []
