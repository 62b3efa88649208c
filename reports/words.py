"""Numbers and lists as a reader meets them, the same in page, tables and terminal."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pandas as pd
from markupsafe import Markup, escape

FEW = 10  # images below which an interval is rough


def score(value: float | None, missing: str = "–", digits: int = 3) -> str:
    """A score: ".713", "−.020", "1.000"; `missing` for None and NaN."""
    if value is None or pd.isna(value):
        return missing
    text = f"{value:.{digits}f}"
    text = text.removeprefix("-") if float(text) == 0 else text
    return re.sub(r"^(-?)0\.", r"\1.", text).replace("-", "−")


def signed(value: float | None, missing: str = "–", digits: int = 3) -> str:
    """A difference: "+.020", "−.020", ".000"."""
    text = score(value, missing, digits)
    return text if text in (missing, score(0, digits=digits)) or text.startswith("−") else f"+{text}"


def span(low: float | None, high: float | None, digits: int = 3) -> str:
    """An interval: "[.693, .867]", "" where there is none."""
    return "" if low is None or pd.isna(low) else f"[{score(low, digits=digits)}, {score(high, digits=digits)}]"


def number(value: float | None, digits: int = 2, missing: str = "–") -> str:
    """Fixed-point text, `missing` for None and NaN."""
    return missing if value is None or pd.isna(value) else f"{value:.{digits}f}"


def percent(value: float | None, missing: str = "–") -> str:
    """A share: "98 %"."""
    return missing if value is None or pd.isna(value) else f"{100 * value:.0f} %".replace("-", "−")


def count(number: int, noun: str, plural: str = "") -> str:
    """A number of things: "1 image", "2 images"."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def listed(names: Sequence[str], most: int = 4) -> str:
    """Names as a sentence has them: "A", "A and B", "A, B and 3 others"."""
    if len(names) > most:
        names = [*names[: most - 1], f"{len(names) - most + 1} others"]
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def duration(seconds: float) -> str:
    """A time: "4 min 3 s", "2 h 5 min", "0.42 s"."""
    if seconds < 60:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def linked(text: object) -> Markup:
    """Escaped text in which web addresses can be followed; nothing is fetched from them."""
    parts = re.split(r"(https?://[^\s<>\"']*[^\s<>\"'.,;:)])", str(text))
    return Markup("").join(
        Markup('<a href="{0}" rel="noopener noreferrer external">{0}</a>').format(part) if i % 2 else escape(part)
        for i, part in enumerate(parts)
    )


_QUOTED = re.compile(r"""(['"])((?:/|[A-Za-z]:\\)[^'"]*[/\\])([^'"/\\]*)\1""")
_BARE = re.compile(r"""(?<![\w.:/\\])(?:/|[A-Za-z]:\\)(?:[^\s'",:;()<>/\\]+[/\\])+([^\s'",:;()<>/\\]*)""")


def public(text: object) -> str:
    """Text without the folders of absolute paths, because a report may be published: "/home/me/a.png" -> "a.png"."""
    return _BARE.sub(r"\1", _QUOTED.sub(r"\1\3\1", str(text)))
