"""`intacct-dagster coverage FILE`: what of the objects and fields that a team needs is to be had.

What can be read, sent and repeated safely is the model's word, which names no field that a query
may not ask for, and none that it may not filter by: that is tried, with queries of one row.
"""

from __future__ import annotations

import csv
import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import msgspec
import yaml
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from intacct_dagster.client import (
    AccessDenied,
    IntacctClient,
    ObjectModel,
    Query,
    RequestRefused,
    Usage,
    instead_of,
    known_names,
    only_in_xml,
    rest_name,
    rest_path,
    xml_name,
    xml_object,
)
from intacct_dagster.company import company_of
from intacct_dagster.config import ConfigError, Settings, load_settings
from intacct_dagster.extraction.permissions import refused_field
from intacct_dagster.state import ApiUsage, open_state

#: How many fields one question filters by: how many a query takes is not documented.
_FILTERS = 8
_XML_NAME = re.compile(r"[A-Z][A-Z0-9_]+")

How = Literal["query", "get", "send", "unknown"]
Where = Literal["REST", "XML only", "unknown", "denied"]


@dataclass(frozen=True)
class FieldCoverage:
    """A field: its path, and how it is had.

    `how` is query, get (record by record, from /objects), send (only in what is posted) or unknown.
    `filterable` is None where no query gives it.
    """

    asked: str
    path: str | None
    how: How
    filterable: bool | None = None
    postable: bool = False
    note: str = ""

    @property
    def there(self) -> bool:
        """Whether it can be had at all."""
        return self.how in ("query", "get", "send")


@dataclass(frozen=True)
class ObjectCoverage:
    """An object and the fields that are needed of it; without any, how many it has.

    `reads_as` is the name that `objects` in intacct.yaml takes.
    """

    asked: str
    where: Where
    reads_as: str | None = None
    xml: str | None = None
    postable: bool = False
    idempotent: bool = False
    note: str = ""
    fields: tuple[FieldCoverage, ...] = ()

    @property
    def there(self) -> bool:
        """Whether it and all its fields can be had."""
        return self.reads_as is not None and all(each.there for each in self.fields)


def read_needs(file: Path) -> dict[str, list[str]]:
    """The objects that a file names, with the fields that are needed of each.

    YAML: a list of names, or of {name, fields}, or a mapping of names to fields; also the `objects`
    of an intacct.yaml. CSV: columns `object` and `field`. Any other text: an object a line, and
    after it its fields. Raises ConfigError.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
        kind = file.suffix.lower()
        if kind in (".yaml", ".yml"):
            needs = _of_yaml(yaml.safe_load(text))
        elif kind == ".csv":
            needs = _of_csv(text)
        else:
            needs = _of_lines(text)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} cannot be read: {error}") from None
    except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        message = " ".join(str(error).split())
        raise ConfigError(f"{file} is no list of objects and fields: {message}") from None
    if not needs:
        raise ConfigError(f"{file} names no object.")
    return needs


def _of_yaml(given: Any) -> dict[str, list[str]]:
    if isinstance(given, dict) and "objects" in given:
        given = given["objects"]
    needs: dict[str, list[str]] = {}
    if isinstance(given, dict):
        pairs = [(name, fields or []) for name, fields in given.items()]
    elif isinstance(given, list):
        pairs = [
            (each, []) if isinstance(each, str) else (each["name"], _all_fields(each))
            for each in given
        ]
    else:
        raise TypeError("it is neither a list nor a mapping")
    for name, fields in pairs:
        if not isinstance(fields, list):
            raise TypeError(f"the fields of {name} are no list")
        needs.setdefault(str(name), []).extend(str(each) for each in fields)
    return needs


def _all_fields(given: Mapping[str, Any]) -> list[Any]:
    return [*(given.get("fields") or []), *(given.get("get_fields") or [])]


def _of_csv(text: str) -> dict[str, list[str]]:
    needs: dict[str, list[str]] = {}
    for row in csv.DictReader(text.splitlines()):
        if not row.get("object"):
            raise KeyError("a column `object`, and a value in it")
        fields = needs.setdefault(row["object"].strip(), [])
        if field := (row.get("field") or "").strip():
            fields.append(field)
    return needs


def _of_lines(text: str) -> dict[str, list[str]]:
    needs: dict[str, list[str]] = {}
    for line in text.splitlines():
        words = line.partition("#")[0].replace(",", " ").split()
        if words:
            needs.setdefault(words[0].removesuffix(":"), []).extend(words[1:])
    return needs


def examine(client: IntacctClient, needs: Mapping[str, Sequence[str]]) -> list[ObjectCoverage]:
    """What there is of each object and field. Raises IntacctError, but not for one of them."""
    return [_object(client, asked, list(dict.fromkeys(needs[asked]))) for asked in needs]


def _object(client: IntacctClient, asked: str, fields: list[str]) -> ObjectCoverage:
    is_xml = _XML_NAME.fullmatch(asked) is not None
    name = rest_name(asked) if is_xml else asked
    if name is None:
        if only_in_xml(asked):
            near_by = instead_of(asked)
            note = "the XML API alone has it, and it is not among what is read from there: " + (
                f"look at {near_by}"
                if near_by
                else "read it with a client of that API (readByQuery)"
            )
            return ObjectCoverage(asked, "XML only", xml=asked, note=note)
        near = difflib.get_close_matches(asked, known_names(), 2)
        return ObjectCoverage(asked, "unknown", note=_meant(near) or "no XML name that is known")
    try:
        model = client.model(name)
    except RequestRefused as error:
        message = " ".join(str(error).splitlines())
        where: Where = (
            "XML only" if name.startswith("xml/") and "no sender" in message else "unknown"
        )
        return ObjectCoverage(asked, where, xml=_xml_of(name), note=message)
    except AccessDenied as error:
        message = " ".join(str(error).splitlines())
        return ObjectCoverage(asked, "denied", xml=_xml_of(name), note=message)
    try:
        found = tuple(_fields(client, model, fields))
    except AccessDenied as error:
        message = " ".join(str(error).splitlines())
        return ObjectCoverage(asked, "denied", xml=_xml_of(name), note=message)
    lists = f", {len(model.lists)} lists" if model.lists else ""
    counts = f"{len(model.fields):,} fields{lists}"
    return ObjectCoverage(
        asked,
        "XML only" if name.startswith("xml/") else "REST",
        reads_as=name,
        xml=_xml_of(name),
        postable="POST" in model.methods,
        idempotent=model.idempotence_supported,
        note="" if fields else counts,
        fields=found,
    )


def _xml_of(name: str) -> str | None:
    if not name.startswith("xml/"):
        return xml_name(name)
    only_xml = xml_object(name)
    return only_xml.xml if only_xml is not None else None


def _fields(
    client: IntacctClient, model: ObjectModel, asked: Sequence[str]
) -> Iterable[FieldCoverage]:
    offered = {each.path: each for each in model.fields}
    sent = {each.path: each for each in model.write_only}
    whole = {*model.lists, *(each.path for each in model.references)}
    whole |= {path.rsplit(".", n)[0] for path in offered for n in range(1, path.count(".") + 1)}
    paths = {each: _path(model, each, {*offered, *sent, *whole}) for each in asked}
    wanted = [path for path in dict.fromkeys(paths.values()) if path in offered]
    refused, unfiltered = _tried(client, model, wanted)
    posted = "POST" in model.methods
    for name, path in paths.items():
        note = f"{path} in REST" if path is not None and path != name else ""
        if path is None:
            near = difflib.get_close_matches(_plain(name), {_plain(p): p for p in offered}, 2, 0.6)
            plain = {_plain(p): p for p in offered}
            yield FieldCoverage(name, None, "unknown", note=_meant([plain[n] for n in near]))
        elif path in offered and path not in refused:
            may_post = posted and not offered[path].read_only
            if model.by_period:
                note = "read whole, by reporting period"
            filterable = not model.by_period and path not in unfiltered
            yield FieldCoverage(name, path, "query", filterable, may_post, note)
        elif path in sent:
            yield FieldCoverage(name, path, "send", None, posted, note)
        else:
            may_post = posted and not (path in offered and offered[path].read_only)
            hint = "no query gives it: get_fields, /objects"
            yield FieldCoverage(name, path, "get", None, may_post, f"{note}; {hint}".lstrip("; "))


def _path(model: ObjectModel, asked: str, there: set[str]) -> str | None:
    if asked in there:
        return asked
    only_xml = xml_object(model.name)
    if only_xml is not None and asked in only_xml.by_xml:
        return only_xml.by_xml[asked].path
    return rest_path(asked, there) if _XML_NAME.fullmatch(asked) else None


def _tried(
    client: IntacctClient, model: ObjectModel, paths: Sequence[str]
) -> tuple[set[str], set[str]]:
    """Of the paths, those that a query does not give, and those that it cannot filter by."""
    if model.by_period or not paths:
        return set(), set()
    refused = _refused(paths, lambda part: client.query(Query(model.name, part, size=1)))
    filtered = [path for path in paths if path not in refused]
    unfiltered: set[str] = set()
    for first in range(0, len(filtered), _FILTERS):
        unfiltered |= _refused(
            filtered[first : first + _FILTERS],
            lambda part: client.query(
                Query(model.name, ("key",), [{"$ne": {path: None}} for path in part], size=1)
            ),
        )
    return refused, unfiltered


def _refused(paths: Sequence[str], ask: Callable[[Sequence[str]], object]) -> set[str]:
    """Those for which a question about all is refused, one at a time. Raises RequestRefused."""
    refused: set[str] = set()
    asked = list(paths)
    while asked:
        try:
            ask(asked)
        except RequestRefused as error:
            named = refused_field(error, asked)
            if named is None and len(asked) > 1:  # it names none: ask for each by itself
                return refused.union(*(_refused([path], ask) for path in asked))
            refused.add(named or asked[0])
            asked.remove(named or asked[0])
        else:
            break
    return refused


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _meant(near: Sequence[str]) -> str:
    return f"did you mean {' or '.join(near)}?" if near else ""


def run_coverage(file: Path, entity: str | None, *, as_json: bool) -> bool:
    """Prints what there is of what a file names. Whether all of it can be had."""
    needs = read_needs(file)
    settings = load_settings()
    chosen = entity or settings.active[0]
    if chosen not in settings.users:
        raise ConfigError(f"There is no entity {chosen}; intacct.yaml has: {list(settings.users)}.")
    with company_of(settings) as intacct:
        client = intacct.entity(chosen)
        found = examine(client, needs)
        usage = intacct.usage
    _counted(settings, usage)
    complete = all(each.there for each in found)
    console = Console(soft_wrap=True, highlight=False)
    if as_json:
        report = {
            "complete": complete,
            "entity": chosen,
            "transactions": usage.transactions,
            "objects": [{**asdict(each), "there": each.there} for each in found],
        }
        console.print(msgspec.json.encode(report).decode(), markup=False)
        return complete
    table = Table("needed", "where", "how", "filter", "post", "safe to repeat", "note")
    for each in found:
        table.add_row(
            f"[bold]{escape(each.asked)}[/]",
            _WHERE[each.where],
            each.reads_as or "",
            "",
            _mark(each.postable) if each.reads_as else "",
            _mark(each.idempotent) if each.reads_as else "",
            escape("; ".join(p for p in (f"XML: {each.xml}" if each.xml else "", each.note) if p)),
        )
        for one in each.fields:
            table.add_row(
                escape(f"  {one.asked}"),
                "",
                _HOW[one.how],
                "" if one.filterable is None else _mark(one.filterable),
                _mark(one.postable) if one.there else "",
                "",
                escape(one.note),
            )
    Console(highlight=False).print(table)
    fields = [one for each in found for one in each.fields]
    console.print(
        f"{sum(each.reads_as is not None for each in found)} of {len(found)} objects and "
        f"{sum(one.there for one in fields)} of {len(fields)} fields can be had, as the user of "
        f"{chosen} sees it; {usage.transactions} API transactions."
    )
    return complete


def _counted(settings: Settings, usage: Usage) -> None:
    state = open_state(settings.state)
    try:
        ApiUsage(state, settings.company).spend(
            at=datetime.now(UTC),
            run_id="coverage",
            entity="",
            object="",
            requests=usage.requests,
            transactions=usage.transactions,
        )
    finally:
        state.dispose()


_WHERE = {
    "REST": "[green]REST[/]",
    "XML only": "[yellow]XML only[/]",
    "unknown": "[red]unknown[/]",
    "denied": "[red]no permission[/]",
}
_HOW = {
    "query": "[green]query[/]",
    "get": "[yellow]/objects[/]",
    "send": "[yellow]only sent[/]",
    "unknown": "[red]unknown[/]",
}


def _mark(holds: bool) -> str:
    return "yes" if holds else "no"
