"""XML as the gateway reads and writes it: elements with text and children, no document type."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from xml.sax.saxutils import escape, quoteattr

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import ParseError, iterparse


class MalformedXml(ValueError):
    """A document that the gateway does not take; the message says why."""


@dataclass
class Element:
    """An element: its text, without that of its children, and its children in order."""

    name: str
    attributes: Mapping[str, str] = field(default_factory=dict)
    text: str = ""
    children: list[Element] = field(default_factory=list)

    def find(self, *path: str) -> Element | None:
        """Return the first descendant along a path of names."""
        at: Element | None = self
        for name in path:
            at = next((one for one in at.children if one.name == name), None) if at else None
        return at

    def said(self, *path: str) -> str:
        """Return the text along a path; empty if there is no such element."""
        found = self.find(*path)
        return found.text.strip() if found is not None else ""

    def all(self, name: str) -> Iterator[Element]:
        """Return the children of a name."""
        return (one for one in self.children if one.name == name)


_DEEPEST = 50


def read_document(body: bytes) -> Element:
    """Return the root of a document; raise `MalformedXml` if the gateway does not take it."""
    root = Element("")
    stack = [root]
    try:
        for event, node in iterparse(BytesIO(body), ("start", "end"), forbid_dtd=True):
            if event == "start":
                if len(stack) > _DEEPEST:
                    raise MalformedXml("elements are nested too deep")
                child = Element(node.tag, dict(node.attrib))
                stack[-1].children.append(child)
                stack.append(child)
            else:
                read = stack.pop()
                read.text = (node.text or "") + "".join(one.tail or "" for one in node)
    except ParseError as error:
        raise MalformedXml(str(error)) from None
    except DefusedXmlException:
        raise MalformedXml("a document type is not taken") from None
    return root.children[0]


def element(name: str, *content: str, **attributes: str | int) -> str:
    """Return an element of content that is XML already; see `text`."""
    given = "".join(f" {key}={quoteattr(str(value))}" for key, value in attributes.items())
    return f"<{name}{given}>{''.join(content)}</{name}>"


def text(name: str, content: str) -> str:
    """Return an element of text."""
    return f"<{name}>{escape(content)}</{name}>"
