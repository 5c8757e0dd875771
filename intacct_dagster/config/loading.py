"""`intacct.yaml` → settings, with errors that name the file, the line and the key."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml
from dotenv import dotenv_values
from pydantic import BaseModel, ValidationError

from intacct_dagster.config.auth import Auth, Entity, Xml
from intacct_dagster.config.errors import ConfigError, KeyPath, PlacedError, Problem, dotted
from intacct_dagster.config.feeds import Csv, Feed, FeedColumn, Posting
from intacct_dagster.config.limits import Limits
from intacct_dagster.config.notifications import Email, Notification
from intacct_dagster.config.objects import ObjectSettings, Reading
from intacct_dagster.config.renamed import RenamedKey, as_written, old_names, use_new_names, warn_of
from intacct_dagster.config.schedules import Schedules
from intacct_dagster.config.settings import Settings
from intacct_dagster.config.snapshot import Reader
from intacct_dagster.warehouse import FeedError

CONFIG_VARIABLE = "INTACCT_CONFIG"
CONFIG_FILE = "intacct.yaml"

_VARIABLE = re.compile(r"\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}")
#: Fields of the settings that are no keys of the file.
_NOT_IN_THE_FILE = ("directory", "renamed_keys", "secret_variable")


def load_settings(path: Path | None = None) -> Settings:
    """Read `path`, or the file that INTACCT_CONFIG names, or ./intacct.yaml.

    What `.env` beside it sets is put into the environment, also over what was exported: Dagster
    does so, and a command that read another secret than the runs would be no use.

    Raises:
        ConfigError: With a line for each thing that is wrong.
    """
    file = path or Path(os.environ.get(CONFIG_VARIABLE) or CONFIG_FILE)
    if not file.is_file():
        raise ConfigError(
            f"{file}: there is no such file. Write one with `intacct-dagster init`, or name "
            f"yours with {CONFIG_VARIABLE}."
        )
    for name, value in dotenv_values(file.absolute().parent / ".env").items():
        if value is not None:
            os.environ[name] = value
    return read_settings(file.read_text(encoding="utf-8"), file=file.absolute())


def read_settings(text: str, *, file: Path) -> Settings:
    """Read settings from YAML text, and warn of keys under their old names.

    Args:
        text: The YAML. `${NAME}` stands for an environment variable, and `${NAME:-default}` for
            one with a default.
        file: Where it comes from: named in errors, and its folder anchors relative paths.

    Returns:
        The settings, with absolute paths.

    Raises:
        ConfigError: With a line for each thing that is wrong.
    """
    root = _parse(text, file)
    lines: dict[KeyPath, int] = {}
    problems: list[Problem] = []
    values = _plain(root, (), lines, problems)
    for part, secret in (("auth", "client_secret"), ("xml", "sender_password")):
        if isinstance(values.get(part), dict):
            values[part]["secret_variable"] = _secret_variable(root, part, secret)
    renamed = use_new_names(values, problems)
    if not problems:
        old_keys = tuple(
            RenamedKey(file, lines[before], dotted(before), str(after[-1]))
            for after, before in renamed.items()
        )
        try:
            settings = Settings.model_validate(
                {**values, "directory": file.parent, "renamed_keys": old_keys}
            )
        except ValidationError as error:
            problems.extend(_explain(error, values, renamed))
        else:
            problems.extend(_nothing_to_read(settings, datetime.now(UTC).date()))
            problems.extend(_flaws_of_feeds(settings, renamed))
            if not problems:
                warn_of(old_keys)
                return _with_absolute_paths(settings)
    raise ConfigError(
        "\n".join(
            f"{file}:{_line_of(problem.where, lines)}: {problem.text}"
            for problem in sorted(problems, key=lambda each: _line_of(each.where, lines))
        )
    )


def _parse(text: str, file: Path) -> yaml.MappingNode:
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        problem = getattr(error, "problem", None) or "not YAML"
        raise ConfigError(f"{file}:{line}: this is not YAML: {problem}") from None
    if not isinstance(root, yaml.MappingNode):
        raise ConfigError(f"{file}:1: expected keys such as company, base_url and entities")
    return root


def _secret_variable(root: yaml.MappingNode, *steps: str) -> str | None:
    """Return the variable in `client_secret: ${NAME}`, which is shown instead of the secret."""
    node: yaml.Node | None = root
    for step in steps:
        inner = node.value if isinstance(node, yaml.MappingNode) else []
        node = next((value for key, value in inner if key.value == step), None)
    match = _VARIABLE.fullmatch(node.value) if isinstance(node, yaml.ScalarNode) else None
    return match["name"] if match else None


def _plain(
    node: yaml.Node,
    where: KeyPath,
    lines: dict[KeyPath, int],
    problems: list[Problem],
) -> Any:
    """Return the node's value; note the line of every key, and put environment variables in."""
    lines.setdefault(where, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value)
            lines[(*where, key)] = key_node.start_mark.line + 1
            if key in values:
                problems.append(
                    Problem((*where, key), f"{dotted((*where, key))} is given twice: keep one")
                )
            values[key] = _plain(value_node, (*where, key), lines, problems)
        return values
    if isinstance(node, yaml.SequenceNode):
        return [
            _plain(item, (*where, index), lines, problems) for index, item in enumerate(node.value)
        ]
    try:
        value = yaml.SafeLoader("").construct_object(node, deep=True)
    except ValueError:  # "2026-13-01" looks like a date: let the key that wants one say so
        value = node.value
    if not isinstance(value, str) or "${" not in value:
        return value

    def put_in(match: re.Match[str]) -> str:
        found = os.environ.get(match["name"]) or match["default"]
        if found is None:
            problems.append(
                Problem(
                    where,
                    f"{dotted(where)} needs the environment variable {match['name']}, "
                    "which is not set: export it, or put it in .env",
                )
            )
            return ""
        return found

    return _VARIABLE.sub(put_in, value)


def _nothing_to_read(settings: Settings, today: date) -> Iterator[Problem]:
    """Check that there is a partition of an entity: without one, all would look as if read."""
    newest = today - timedelta(days=1 - settings.end_offset)
    if settings.start_date > newest:
        yield Problem(
            ("start_date",),
            f"start_date: there is no partition yet, because {settings.start_date} is after the "
            f"newest day there can be, {newest} (UTC): give an earlier day"
            + (", or end_offset: 1 to read today as well" if settings.start_date == today else ""),
        )
    if not settings.active:
        yield Problem(
            ("entities",),
            "entities: all of them are retired, so nothing would ever be read: add one, or take "
            "`retired` from one",
        )


def _flaws_of_feeds(settings: Settings, renamed: Mapping[KeyPath, KeyPath]) -> Iterator[Problem]:
    """Check each feed, its expressions included, without reading a file of it."""
    for name, feed in settings.feeds.items():
        try:
            feed.spec(name)
        except FeedError as error:
            where = as_written(("feeds", name, *error.where), renamed)
            yield Problem(where, f"{dotted(where)}: {error.reason}. {error.remedy}")


def _explain(
    error: ValidationError, values: Mapping[str, Any], renamed: Mapping[KeyPath, KeyPath]
) -> Iterator[Problem]:
    errors = error.errors(include_url=False)  # an input may be a secret: it is never shown
    for each in errors:
        where = as_written(each["loc"], renamed)
        match each["type"]:
            case "too_short":
                # pydantic says it also of a list whose items it could not read
                if any(
                    other["loc"][: len(each["loc"])] == each["loc"]
                    for other in errors
                    if other != each
                ):
                    continue
                text = f"{dotted(where)} needs at least one"
            case "extra_forbidden":
                hint = _hint(str(where[-1]), where[:-1], values)
                text = f"{dotted(where)} is not a key that is known here{hint}"
            case "missing":
                text = f"{dotted(where)} is missing"
            case "value_error" if isinstance(placed := each["ctx"]["error"], PlacedError):
                where = as_written((*each["loc"], *placed.where), renamed)
                text = str(placed)
            case "value_error":
                message = each["msg"].removeprefix("Value error, ")
                text = f"{dotted(where)}: {message}" if where else message
            case "string_type" if not isinstance(each["input"], list | dict | None):
                text = (
                    f"{dotted(where)} is a number, a date or true/false in YAML: put it in quotes"
                )
            case _:
                text = f"{dotted(where)}: {each['msg'][0].lower()}{each['msg'][1:]}"
        yield Problem(where, text)


def _hint(key: str, section: KeyPath, values: Mapping[str, Any]) -> str:
    old = old_names(section)
    near = difflib.get_close_matches(key, [*_known_keys(section, values), *old], 1)
    return f": did you mean '{old.get(near[0], near[0])}'?" if near else ": take it out"


def _known_keys(where: KeyPath, values: Mapping[str, Any]) -> list[str]:
    parts: dict[str, type[BaseModel]] = {
        "auth": Auth,
        "xml": Xml,
        "entities": Entity,
        "objects": ObjectSettings,
        "limits": Limits,
        "reading": Reading,
        "feeds": Feed,
        "posting": Posting,
        "reader": Reader,
        "schedules": Schedules,
        "notifications": Notification,
    }
    model: type[BaseModel] = parts.get(str(where[0]), Settings) if where else Settings
    if len(where) > 2 and where[0] == "feeds":
        inner: dict[str, type[BaseModel]] = {"csv": Csv, "columns": FeedColumn}
        model = inner.get(str(where[2]), Feed)
    if len(where) > 2 and where[0] == "notifications":
        model = Email
    return [name for name in model.model_fields if name not in (*values, *_NOT_IN_THE_FILE)]


def _line_of(where: KeyPath, lines: Mapping[KeyPath, int]) -> int:
    # A key that is missing has no line: the line of what should have held it.
    while where not in lines:
        where = where[:-1]
    return lines[where]


def _with_absolute_paths(settings: Settings) -> Settings:
    state = settings.state
    if "://" not in state:
        state = f"sqlite:///{(settings.directory / state).absolute()}"
    return settings.model_copy(
        update={"warehouse": (settings.directory / settings.warehouse).absolute(), "state": state}
    )
