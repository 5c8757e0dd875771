"""An answer of the XML gateway, read without trust: no document type, no entities, one pass.

The form (facts: Sage's XML developer documentation, web-services/responses and error-handling):
`control` (the sender), then `operation` with `authentication` (the session and its entity) and
`result` (the function), each with a `status`; an `errormessage` stands beside the part that failed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser, ParseError

#: Deeper than any answer to what is asked here; an answer is refused before it grows a stack.
_DEEPEST = 32

_CONTROL = ("response", "control")
_SESSION = ("response", "operation", "authentication")
_RESULT = ("response", "operation", "result")
_DATA = (*_RESULT, "data")
_ERROR = ("errormessage", "error")


class NotXml(ValueError):
    """It is no answer of the gateway; the message says why."""


@dataclass(frozen=True)
class XmlError:
    """One `error` of an `errormessage`. Texts are Sage's; any may be empty."""

    number: str = ""
    description: str = ""
    description2: str = ""
    correction: str = ""

    @property
    def said(self) -> str:
        """What it says, in one line."""
        parts = (self.description2 or self.description, self.correction)
        said = " ".join(" ".join(part.split()) for part in parts if part)
        return f"{said} ({self.number})" if said and self.number else said or self.number


@dataclass
class XmlAnswer:
    """What an answer says. `rows` are the elements in `data`: their fields, by name; empty is None.

    A status is `success`, `failure`, `aborted` or, where the answer does not come so far, empty.
    """

    control: str = ""
    session: str = ""
    function: str = ""
    #: the entity that the session is in; empty at the top level
    entity: str = ""
    #: what the function was called in the request
    control_id: str = ""
    errors: list[XmlError] = field(default_factory=list)
    data: Mapping[str, str] = field(default_factory=dict)
    rows: list[dict[str, str | None]] = field(default_factory=list)
    #: when it was made, by the clock of the server
    date: datetime | None = None


def read_answer(body: bytes) -> XmlAnswer:
    """Return the answer in a body, read in one pass without a tree. Raises NotXml."""
    reader = _Reader()
    # Without a document type there are no entities of its own, so nothing can be made to grow.
    parser = DefusedXMLParser(target=reader, forbid_dtd=True)
    try:
        parser.feed(body)
        parser.close()
    except DefusedXmlException:
        raise NotXml("it declares a document type or an entity") from None
    except ParseError as error:
        raise NotXml(f"it is not XML ({error})") from None
    if reader.root != "response":
        raise NotXml(f"its root is <{reader.root[:40]}>, not <response>")
    return reader.answer


class _Reader:
    """The parser's target: it gets each tag and text in order."""

    def __init__(self) -> None:
        self.answer = XmlAnswer()
        self.root = ""
        self._path: list[str] = []
        self._texts: list[str] = []
        self._row: dict[str, str | None] = {}
        self._error: dict[str, str] = {}

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if len(self._path) >= _DEEPEST:
            raise NotXml("its elements are nested too deep")
        self.root = self.root or name
        self._path.append(name)
        self._texts = []
        path = tuple(self._path)
        if path == _DATA:
            self.answer.data = attributes
        elif path[:-1] == _DATA:
            self._row = {}
        elif path[-2:] == _ERROR:
            self._error = {}

    def data(self, text: str) -> None:
        self._texts.append(text)

    def end(self, name: str) -> None:
        path, text = tuple(self._path), "".join(self._texts).strip()
        self._path.pop()
        self._texts = []
        above = path[:-1]
        if above[:-1] == _DATA:
            self._row[name] = text or None
        elif above == _DATA:
            self.answer.rows.append(self._row)
        elif above[-2:] == _ERROR:
            self._error[name] = text
        elif path[-2:] == _ERROR:
            parts = (self._error.get(each, "") for each in _PARTS_OF_AN_ERROR)
            self.answer.errors.append(XmlError(*parts))
        elif path == (*_CONTROL, "status"):
            self.answer.control = text
        elif path == (*_SESSION, "status"):
            self.answer.session = text
        elif path == (*_SESSION, "locationid"):
            self.answer.entity = text
        elif path == (*_RESULT, "status"):
            self.answer.function = text
        elif path == (*_RESULT, "controlid"):
            self.answer.control_id = text


_PARTS_OF_AN_ERROR = ("errorno", "description", "description2", "correction")
