"""Charts in metadata: small SVG images inside markdown, which Dagster's UI renders."""

import base64
from collections.abc import Mapping, Sequence
from html import escape

import dagster as dg

_WIDTH = 640
_BAR, _GAP = 18, 8
_LABEL, _VALUE = 90, 130
#: As wide as a letter of the labels is at most, near enough.
_LETTER = 6.5
_TITLE = 24
_FONT = "font-family='sans-serif' font-size='12' fill='#444'"

#: Colours that colour-blind readers tell apart (Okabe and Ito), by what they stand for.
GOOD, BAD, DOUBTFUL, PLAIN = "#009e73", "#d55e00", "#e69f00", "#0072b2"


def bars(
    title: str,
    rows: Sequence[tuple[str, Mapping[str, float]]],
    colours: Mapping[str, str],
    *,
    unit: str = "",
) -> dg.MarkdownMetadataValue:
    """Return a chart with a row of stacked bars for each label, in the order given.

    The image is a data URI, so that nothing is fetched to show it.

    Args:
        rows: (label, amount by part). An amount of 0 has no bar.
        colours: The colour of each part.
        unit: The unit of the amounts, which stand beside the bars.
    """
    most = max((sum(parts.values()) for _, parts in rows), default=0) or 1
    height = _TITLE + 40 + len(rows) * (_BAR + _GAP)
    begins = max(_LABEL, 12 + _LETTER * max((len(label) for label, _ in rows), default=0))
    drawn = [
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{_WIDTH}' height='{height}' role='img'>",
        f"<title>{escape(title)}</title>",
        f"<text x='4' y='14' {_FONT} font-weight='bold'>{escape(title)}</text>",
    ]
    place = 4.0
    for part, colour in colours.items():
        drawn.append(
            f"<rect x='{place:.0f}' y='{_TITLE + 4}' width='12' height='12' fill='{colour}'/>"
            f"<text x='{place + 17:.0f}' y='{_TITLE + 14}' {_FONT}>{escape(part)}</text>"
        )
        place += 30 + 7.5 * len(part)
    for number, (label, parts) in enumerate(rows):
        top = _TITLE + 30 + number * (_BAR + _GAP)
        drawn.append(f"<text x='4' y='{top + 13}' {_FONT}>{escape(label)}</text>")
        left = begins
        for part, colour in colours.items():
            width = parts.get(part, 0) / most * (_WIDTH - begins - _VALUE)
            if width > 0:
                width = max(width, 1.5)  # what is there can be seen
                drawn.append(
                    f"<rect x='{left:.1f}' y='{top}' width='{width:.1f}' height='{_BAR}'"
                    f" fill='{colour}'/>"
                )
                left += width
        drawn.append(
            f"<text x='{left + 6:.1f}' y='{top + 13}' {_FONT}>"
            f"{escape(_amounts(parts, unit))}</text>"
        )
    drawn.append("</svg>")
    data = base64.b64encode("".join(drawn).encode()).decode()
    return dg.MetadataValue.md(f"![{escape(title)}](data:image/svg+xml;base64,{data})")


def _amounts(parts: Mapping[str, float], unit: str) -> str:
    shown = " + ".join(f"{amount:,.0f}" for amount in parts.values() if amount) or "0"
    return f"{shown} {unit}".strip()
