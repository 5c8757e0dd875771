"""Check that the project's text uses none of a short list of words that readers have to guess.

`python scripts/check_words.py` reads code (identifiers, docstrings, comments, messages) and docs,
prints each place that has such a word, and fails if there is any. Files of `NOT_REWRITTEN` are
exempt; the list can only shrink: a file of it that has none of the words, or that is gone, fails
the check too.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Collection, Iterator
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent

#: Each word, and what to write instead.
WORDS = {
    "told": "reported, given",
    "anew": "again",
    "weather": "transient error",
    "fate": "outcome, status",
    "fates": "outcomes",
    "mend": "correct",
    "mended": "corrected",
    "shelf": "object statistics",
    "estate": "large company",
    "luck": "seed, chance",
    "scissors": "divergence",
    "mishap": "fault",
    "referee": "audit log",
    "front door": "gateway",
    "plainly": "leave it out",
}

#: What is read: these files and folders of the project, and of the folders these endings.
READ = (
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Makefile",
    "README.md",
    "benchmarks",
    "browser",
    "dagster.yaml",
    "deploy",
    "docs",
    "intacct.yaml",
    "intacct_dagster",
    "intacct_dagster_tests",
    "pyproject.toml",
    "sandbox",
    "scripts",
    "workspace.yaml",
)
ENDINGS = {".conf", ".md", ".py", ".sh", ".sql", ".toml", ".yaml"}
#: Folders of tools and builds, and recordings of what others wrote.
SKIPPED = {".venv", "__pycache__", "build", "dist", "samples"}
#: These two name the words.
NAMES_THEM = {"scripts/check_words.py", "intacct_dagster_tests/test_words.py"}

#: Files whose text is not rewritten yet. Take a file off when it is; add none.
NOT_REWRITTEN: tuple[str, ...] = (
    "intacct_dagster_tests/cli/test_coverage.py",
    "intacct_dagster_tests/cli/test_posting.py",
    "intacct_dagster_tests/cli/test_sessions.py",
    "intacct_dagster_tests/client/test_xml.py",
    "intacct_dagster_tests/code_location.py",
    "intacct_dagster_tests/config/test_settings.py",
    "intacct_dagster_tests/defs/automation/test_alerts.py",
    "intacct_dagster_tests/defs/automation/test_changes_sensor.py",
    "intacct_dagster_tests/defs/automation/test_feed_sensor.py",
    "intacct_dagster_tests/defs/automation/test_schedules.py",
    "intacct_dagster_tests/defs/extraction/test_metadata.py",
    "intacct_dagster_tests/defs/extraction/test_xml.py",
    "intacct_dagster_tests/defs/test_main_job.py",
    "intacct_dagster_tests/extraction/test_bad_input.py",
    "intacct_dagster_tests/extraction/test_details.py",
    "intacct_dagster_tests/extraction/test_extract.py",
    "intacct_dagster_tests/extraction/test_lines.py",
    "intacct_dagster_tests/extraction/test_strangers.py",
    "intacct_dagster_tests/posting/test_engine.py",
    "intacct_dagster_tests/posting/test_verification.py",
    "intacct_dagster_tests/state/test_encryption_key.py",
    "intacct_dagster_tests/test_deploy.py",
    "intacct_dagster_tests/test_newcomer.py",
    "intacct_dagster_tests/test_rehearsal.py",
    "intacct_dagster_tests/warehouse/feeds/test_read.py",
    "intacct_dagster_tests/warehouse/feeds/test_sources.py",
    "intacct_dagster_tests/warehouse/raw/test_page_archive.py",
)


def _pattern(word: str) -> re.Pattern[str]:
    """Return the pattern of a word in a sentence, in snake_case, in CamelCase and in capitals."""
    first, *rest = word.split(" ")
    lower = _SPACE.join([first, *(f"[{each[0]}{each[0].upper()}]{each[1:]}" for each in rest)])
    upper = _SPACE.join(each.upper() for each in (first, *rest))
    return re.compile(
        rf"(?<![A-Za-z]){lower}(?![a-z])|(?<![A-Z]){lower[0].upper()}{lower[1:]}(?![a-z])"
        rf"|(?<![A-Za-z]){upper}(?![A-Za-z])"
    )


_SPACE = r"[\s_#-]*"
_PATTERNS = {word: _pattern(word) for word in WORDS}


def found_in(text: str) -> Iterator[tuple[int, str]]:
    """Yield each of the words that a text has, with the number of its line."""
    small = text.lower()
    for word, pattern in _PATTERNS.items():
        first = word.partition(" ")[0]
        # Few places have the letters: to look for them is a tenth of what the pattern takes.
        start = small.find(first)
        while start >= 0:
            if pattern.match(text, start):
                yield text.count("\n", 0, start) + 1, word
            start = small.find(first, start + 1)


def check(root: Path, exempt: Collection[str] = NOT_REWRITTEN) -> Iterator[str]:
    """Yield each mistake: a word in a file, or a file that is exempt without need.

    Args:
        root: The project's folder.
        exempt: Paths, relative to it, of the files that may have the words.
    """
    needless = set(exempt)
    for file in _files(root):
        name = file.relative_to(root).as_posix()
        words = list(found_in(file.read_text(encoding="utf-8")))
        if name in needless and words:
            needless.remove(name)
        elif name not in exempt:
            for line, word in words:
                yield f"{name}:{line}: '{word}': write {WORDS[word]}"
    for name in sorted(needless):
        yield f"{name} has none of the words or is gone: remove it from NOT_REWRITTEN"


def _files(root: Path) -> Iterator[Path]:
    for name in READ:
        place = root / name
        if place.is_file():
            yield place
        for folder, folders, files in os.walk(place):
            folders[:] = sorted(each for each in folders if each not in SKIPPED)
            for each in sorted(files):
                file = Path(folder) / each
                if file.suffix in ENDINGS and file.relative_to(root).as_posix() not in NAMES_THEM:
                    yield file


def main() -> None:
    """Print all mistakes. Exit with 1 if there is any."""
    mistakes = list(check(PROJECT))
    for mistake in mistakes:
        print(mistake)
    if mistakes:
        sys.exit("Write what the style of CONTRIBUTING.md asks for, in plain technical English.")


if __name__ == "__main__":
    main()
