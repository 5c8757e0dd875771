"""What Intacct holds of a document, compared with what it was sent: the proof after posting.

Documents are read by whole records, 500 to a request, or by query, 4,000 to a page, whichever takes
fewer requests. A page can only say that a document agrees: what it does not show so, or not at all,
is read as a whole record, and that decides.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import msgspec

from intacct_dagster.client import (
    KEYS_IN_A_GET,
    LARGEST_PAGE,
    AccessDenied,
    IntacctClient,
    IntacctError,
    ObjectModel,
    Query,
    RequestRefused,
)
from intacct_dagster.posting.agreement import (
    PROGRESS_FIELDS,
    FieldDifference,
    compare_fields,
    same,
)
from intacct_dagster.state.ledger import Ledger, Posted

#: Groups of documents that are read at the same time; what is in flight at once is bounded
#: elsewhere.
_GROUPS_AT_ONCE = 3

_KEY = "key"


@dataclass(frozen=True)
class ReadBack:
    """`compared` documents were read; `not_shown` of their fields Intacct does not give back."""

    compared: int
    not_shown: int
    differences: tuple[FieldDifference, ...]


class PostedReader:
    """Reads the posted documents of an object back, and compares each field sent.

    Documents that agree are noted in the ledger and not read again; a difference comes again until
    it is corrected. At most `in_flight` requests are under way at once.
    """

    def __init__(
        self, client: IntacctClient, ledger: Ledger, object: str, *, in_flight: int = 1
    ) -> None:
        if client.entity_id is None:
            raise ValueError("documents are posted to an entity, not to the top level")
        self._client = client
        self._entity = client.entity_id
        self._ledger = ledger
        self._object = object
        self.in_flight = in_flight
        self._models: dict[str, ObjectModel | None] = {}
        self._models_lock = threading.Lock()
        self._pages_help = True

    def read_back(self) -> ReadBack:
        """Read every document that was posted and not yet compared.

        Raises IntacctError; what was read until then is noted.
        """
        groups: list[list[str]] = []
        room = 0
        for chunk_id, documents in self._ledger.not_read_back(self._object, self._entity):
            if documents > room:
                groups.append([])
                room = LARGEST_PAGE
            groups[-1].append(chunk_id)
            room -= documents
        with (
            ThreadPoolExecutor(self.in_flight) as requests,
            ThreadPoolExecutor(_GROUPS_AT_ONCE) as at_once,
        ):
            parts = list(at_once.map(lambda group: self.read(group, requests), groups))
        return ReadBack(
            sum(each.compared for each in parts),
            sum(each.not_shown for each in parts),
            tuple(one for each in parts for one in each.differences),
        )

    def alongside(self) -> Alongside:
        """Read back what is being posted; see there."""
        return Alongside(self)

    def read(self, chunk_ids: Sequence[str], requests: ThreadPoolExecutor) -> ReadBack:
        """Read the documents of these chunks, whose number is that of a page at most."""
        posted = self._ledger.posted(chunk_ids)
        agreed: dict[str, int] = {}  # by source id: the fields that are not shown
        for run in _runs(posted):
            rows = _FlatRows(run)
            if (questions := self._questions(rows)) is not None:
                try:
                    agreed |= self._by_query(rows, questions, requests)
                except (RequestRefused, AccessDenied):
                    self._pages_help = False
        left = [each for each in posted if each.source_id not in agreed]
        differences: list[FieldDifference] = []
        agreeing = [each for each in posted if each.source_id in agreed]
        not_shown = sum(agreed.values())
        parts = [left[n : n + KEYS_IN_A_GET] for n in range(0, len(left), KEYS_IN_A_GET)]
        for part, found in zip(parts, requests.map(self._get, parts), strict=True):
            for each in part:
                fields = list(compare_fields(each, found.get(each.intacct_key), self._entity))
                wrong = [one for one in fields if one is not None]
                not_shown += len(fields) - len(wrong)
                differences += wrong
                if not wrong:
                    agreeing.append(each)
        self._ledger.agreed(agreeing)
        return ReadBack(len(posted), not_shown, tuple(differences))

    def _get(self, part: Sequence[Posted]) -> Mapping[str, Mapping[str, Any]]:
        return self._client.get(self._object, [each.intacct_key for each in part])

    # -- by query -----------------------------------------------------------------------------

    def _questions(self, sent: _FlatRows) -> list[_Question] | None:
        """What to ask for these documents, the document first; None where records are cheaper."""
        number = len(sent.posted)
        pages = sum(-(-len(rows) // LARGEST_PAGE) for _, rows in sent.of.values())
        if not self._pages_help or not sent.flat or pages >= -(-number // KEYS_IN_A_GET):
            return None
        model = self._model(self._object)
        if model is None:
            return None
        questions: list[_Question] = []
        for path, (_, rows) in sorted(sent.of.items()):
            shown = self._model(model.lists.get(path, "")) if path else model
            if shown is None:
                return None
            owner = _owner(shown, self._object) if path else _KEY
            if owner is None:
                return None
            if (asked := _asked(shown, set().union(*rows))) is None:
                return None
            questions.append(_Question(shown.name, path, owner, len(rows), *asked))
        return questions

    def _model(self, object: str) -> ObjectModel | None:
        with self._models_lock:
            if object not in self._models:
                try:
                    self._models[object] = self._client.known_model(object) if object else None
                except (RequestRefused, AccessDenied):
                    self._models[object] = None
            return self._models[object]

    def _by_query(
        self, sent: _FlatRows, questions: Sequence[_Question], requests: ThreadPoolExecutor
    ) -> dict[str, int]:
        """The source ids of the documents that pages show to agree, and what they do not show."""
        between = (sent.posted[0].intacct_key, sent.posted[-1].intacct_key)
        answers = list(requests.map(lambda each: self._rows(each, between), questions))
        agreed = [0] * len(sent.posted)  # how many fields are not shown; -1 is a difference
        for question, rows in zip(questions, answers, strict=True):
            if rows is None:
                return {}
            held = _by_owner(rows, question.by, [each.intacct_key for each in sent.posted])
            pairs = zip(sent.documents(question.list), held, strict=True)
            for place, (ours, theirs) in enumerate(pairs):
                if agreed[place] < 0:
                    continue
                if not _all_there(ours, theirs, question.not_shown, texts=sent.texts):
                    agreed[place] = -1
                elif question.not_shown:
                    agreed[place] += sum(name in question.not_shown for one in ours for name in one)
        there = {
            each.source_id: not_shown
            for each, not_shown in zip(sent.posted, agreed, strict=True)
            if not_shown >= 0
        }
        if not there:
            # e.g. where Intacct adds lines of its own, of taxes: only records tell them apart
            self._pages_help = False
        return there

    def _rows(self, question: _Question, between: tuple[str, str]) -> list[dict[str, Any]] | None:
        """The rows of a question, or None where there are so many others among them that whole
        records are cheaper."""
        rows: list[dict[str, Any]] = []
        first, last = between
        while True:
            page = self._client.query(
                Query(
                    question.object,
                    tuple(dict.fromkeys((question.by, _KEY, *question.fields))),
                    ({"$gte": {question.by: first}}, {"$lte": {question.by: last}}),
                    order_by=({_KEY: "asc"},),
                    start=len(rows) + 1,
                    size=LARGEST_PAGE,
                )
            )
            if page.total_count > 2 * max(question.expected, LARGEST_PAGE):
                return None
            got = page.rows
            rows += got
            if not got or len(rows) >= page.total_count:
                return rows


class Alongside:
    """Reads back what was posted while more is being posted, whenever there is enough for a page.

    What is left, or could not be read, `PostedReader.read_back` reads. Use it in a `with`, which
    ends when all is read that was begun.
    """

    def __init__(self, reader: PostedReader) -> None:
        self._reader = reader
        self._threads = ThreadPoolExecutor(_GROUPS_AT_ONCE)
        self._requests = ThreadPoolExecutor(reader.in_flight)
        # (length of its first key, that key, chunk, documents): chunks whose keys follow each other
        # are read together, for a page is asked for from the first key to the last
        self._waiting: list[tuple[int, str, str, int]] = []
        self._begun: list[Future[ReadBack]] = []

    def __enter__(self) -> Alongside:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._threads.shutdown(cancel_futures=error is not None)
        self._requests.shutdown()
        for each in self._begun:
            failed = None if each.cancelled() else each.exception()
            # what Intacct would not say now is asked again, and reported then
            if failed is not None and error is None and not isinstance(failed, IntacctError):
                raise failed

    def posted(self, chunk_id: str, documents: int, first_key: str | None) -> None:
        """So many documents of this chunk are in the ledger as posted, the first under this key."""
        if not documents or first_key is None:
            return
        self._waiting.append((len(first_key), first_key, chunk_id, documents))
        # The chunks that were under way together have keys among each other's: as many as were
        # sent, and as many again whose answer waited to be written down.
        under_way = 2 * self._reader.in_flight * max(number for *_, number in self._waiting)
        if sum(number for *_, number in self._waiting) >= LARGEST_PAGE + under_way:
            self._begin()

    def _begin(self) -> None:
        self._waiting.sort()
        chunk_ids: list[str] = []
        documents = 0
        while self._waiting and (not chunk_ids or documents + self._waiting[0][-1] <= LARGEST_PAGE):
            *_, chunk_id, number = self._waiting.pop(0)
            chunk_ids.append(chunk_id)
            documents += number
        self._begun.append(self._threads.submit(self._reader.read, chunk_ids, self._requests))


@dataclass(frozen=True)
class _Question:
    """What pages are asked for: an object's `fields` of the rows whose `by` is within a range.

    `list` is where a document has these rows, empty for the document itself; `expected` is how many
    of them there are. `not_shown` are fields that can only be sent.
    """

    object: str
    list: str
    by: str
    expected: int
    fields: tuple[str, ...]
    not_shown: frozenset[str]


_Flat = dict[str, Any]


class _FlatRows:
    """What was sent, as the flat rows of which pages consist: the documents, and their lists.

    `posted` are in the order of their keys. `of` has the rows of each list, and how many of them
    each document has; those of the documents themselves are under an empty name. `flat` says
    whether all can be compared so at all, and `texts` that every value is a text.

    There are no objects of documents or lists: tens of thousands of them, alive for as long as an
    answer takes, would have Python look through all of its objects for garbage again and again.
    """

    def __init__(self, posted: Sequence[Posted]) -> None:
        self.posted = posted
        self.of: dict[str, tuple[list[int], list[_Flat]]] = {"": ([], [])}
        self.flat = True
        self.texts = True
        for place, each in enumerate(posted):
            document: _Flat = {}
            self._flatten("", msgspec.json.decode(each.payload), document, place)
            self._add("", document, place)

    def documents(self, path: str) -> Iterator[list[_Flat]]:
        """Yield the rows of a list (or of the documents themselves), document by document."""
        numbers, rows = self.of[path]
        first = 0
        for number in numbers:
            yield rows[first : first + number]
            first += number
        for _ in range(len(self.posted) - len(numbers)):
            yield []

    def _add(self, path: str, row: _Flat, place: int) -> None:
        numbers, rows = self.of.setdefault(path, ([], []))
        numbers += [0] * (place + 1 - len(numbers))
        numbers[place] += 1
        rows.append(row)

    def _flatten(self, prefix: str, group: _Flat, row: _Flat, place: int | None) -> None:
        """Put the fields of a group into a row. Of a document (which has a place) lists may be
        part, not of a line."""
        for name, value in group.items():
            path = prefix + name
            if isinstance(value, dict):
                self._flatten(path + ".", value, row, place)
            elif isinstance(value, list):
                self.flat = self.flat and place is not None
                self.of.setdefault(path, ([], []))  # where there are none, none may be found
                for each in value if place is not None else ():
                    line: _Flat = {}
                    if isinstance(each, dict):
                        self._flatten("", each, line, None)
                    else:
                        self.flat = False
                    self._add(path, line, place or 0)
            elif place is None or path not in PROGRESS_FIELDS:
                row[path] = value
                if type(value) is not str:
                    self.texts = False


def _runs(posted: Sequence[Posted]) -> list[list[Posted]]:
    """Return the documents by keys of one length, in their order.

    Whether Intacct compares keys as numbers or as texts is documented nowhere: with digits only and
    of one length that is the same.
    """
    by_length: dict[int, list[Posted]] = {}
    for each in posted:
        key = each.intacct_key
        if key.isascii() and key.isdigit():
            by_length.setdefault(len(key), []).append(each)
    for run in by_length.values():
        run.sort(key=lambda each: each.intacct_key)
    return list(by_length.values())


def _by_owner(rows: list[_Flat], by: str, keys: Sequence[str]) -> Iterator[list[_Flat]]:
    """Yield the rows of each of these keys, which are in order; each of them once."""
    owners = sorted((str(row.get(by)), place) for place, row in enumerate(rows))
    last, at = len(owners), 0
    for key in keys:
        while at < last and owners[at][0] < key:
            at += 1
        found = []
        while at < last and owners[at][0] == key:
            found.append(rows[owners[at][1]])
            at += 1
        yield found


def _asked(model: ObjectModel, wanted: set[str]) -> tuple[tuple[str, ...], frozenset[str]] | None:
    """Of the wanted fields, those that a query shows and those that nothing shows; None if there
    are others."""
    shown = {each.path for each in model.fields} & wanted
    not_shown = frozenset(each.path for each in model.write_only) & wanted
    return None if wanted - shown - not_shown else (tuple(sorted(shown)), not_shown)


def _owner(lines: ObjectModel, document: str) -> str | None:
    """Return where a line has the key of its document; None if its model does not say."""
    owners = [each for each in lines.references if each.is_owner and each.object == document]
    key = f"{owners[0].path}.{_KEY}" if len(owners) == 1 else None
    return key if key in {each.path for each in lines.fields} else None


def _all_there(
    sent: Sequence[_Flat], held: Sequence[_Flat], not_shown: frozenset[str], *, texts: bool
) -> bool:
    """Return whether these rows are what was sent, in whichever order; no order is documented."""
    if len(sent) != len(held):
        return False
    # mostly Intacct gives back the very texts that it was sent (and 1 is no True, though equal)
    if texts and all(one.items() <= other.items() for one, other in zip(sent, held, strict=True)):
        return True
    if all(_row_agrees(one, other, not_shown) for one, other in zip(sent, held, strict=True)):
        return True
    left = list(held)
    for one in sent:
        place = next((n for n, row in enumerate(left) if _row_agrees(one, row, not_shown)), None)
        if place is None:
            return False
        del left[place]
    return True


def _row_agrees(sent: _Flat, held: Mapping[str, Any], not_shown: frozenset[str]) -> bool:
    return all(
        name in not_shown or (name in held and same(value, held[name]))
        for name, value in sent.items()
    )
