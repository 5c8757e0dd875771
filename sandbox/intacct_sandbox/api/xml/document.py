"""XML as the gateway reads and writes it: elements with text and children, no document type."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr


class NotXml(ValueError):
    """It is no document that the gateway takes."""


@dataclass
class Element:
    """An element: its text, without that of its children, and its children in order."""

    name: str
    attributes: Mapping[str, str] = field(default_factory=dict)
    text: str = ""
    children: list[Element] = field(default_factory=list)

    def find(self, *path: str) -> Element | None:
        """The first descendant along a path of names."""
        at: Element | None = self
        for name in path:
            at = next((one for one in at.children if one.name == name), None) if at else None
        return at

    def said(self, *path: str) -> str:
        """The text along a path; empty if there is no such element."""
        found = self.find(*path)
        return found.text.strip() if found is not None else ""

    def all(self, name: str) -> Iterator[Element]:
        """The children of a name."""
        return (one for one in self.children if one.name == name)


_DEEPEST = 50


def read_document(body: bytes) -> Element:
    """The root of a document; raises `NotXml`."""
    root = Element("")
    stack = [root]

    def start(name: str, attributes: dict[str, str]) -> None:
        if len(stack) > _DEEPEST:
            raise NotXml("elements are nested too deep")
        child = Element(name, attributes)
        stack[-1].children.append(child)
        stack.append(child)

    def text(piece: str) -> None:
        stack[-1].text += piece

    def end(name: str) -> None:
        stack.pop()

    def no_document_type(*_: object) -> None:
        raise NotXml("a document type is not taken")

    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = start
    parser.CharacterDataHandler = text
    parser.EndElementHandler = end
    parser.StartDoctypeDeclHandler = no_document_type
    try:
        parser.Parse(body, True)
    except expat.ExpatError as error:
        raise NotXml(f"{expat.ErrorString(error.code)}: line {error.lineno}") from None
    return root.children[0]


def element(name: str, *content: str, **attributes: str | int) -> str:
    """An element of content that is XML already; see `text`."""
    given = "".join(f" {key}={quoteattr(str(value))}" for key, value in attributes.items())
    return f"<{name}{given}>{''.join(content)}</{name}>"


def text(name: str, content: str) -> str:
    """An element of text."""
    return f"<{name}>{escape(content)}</{name}>"
