"""HTML: one environment of templates, for the page of a table and for the report."""

import base64
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markdown_it import MarkdownIt
from markupsafe import Markup

from autoprune.core.errors import InputError
from autoprune.core.labels import MINUS
from autoprune.publish.latex import BOLD
from autoprune.publish.spots import read_values

TEMPLATES = Path(__file__).parent / "templates"
VERDICTS = (
    *("holds", "does not hold", "not tested", "not resolved", "unproven"),
    *("depends on training rounds", "not tested at the paper's size"),
)


def verdict_class(verdict: str) -> str:
    """The CSS class of a verdict."""
    return re.sub("[^a-z]+", "-", verdict)


def as_json(value: Any) -> Markup:
    """JSON that may stand in a script element: no tag can begin in it; NaN is refused."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)


def prose(markdown: str) -> Markup:
    """Markdown as HTML, headings a level lower; HTML in it is shown, not obeyed."""
    body = re.sub(r"\A# .*\n", "", markdown)  # the section has its own heading
    html = MarkdownIt("commonmark", {"html": False}).enable("table").render(body)
    return Markup(re.sub(r"(</?h)([1-4])\b", lambda m: f"{m[1]}{int(m[2]) + 1}", html))


def render(template: str, **content: Any) -> str:
    """A page of its template in TEMPLATES; ``file`` puts another file of it in as it stands."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"json": as_json, "prose": prose, "css": verdict_class}
    environment.globals["file"] = lambda name: Markup((TEMPLATES / name).read_text("utf-8"))
    return environment.get_template(template).render(**content)


def table_page(frame: pd.DataFrame, title: str, notes: Sequence[str], group: int = 1) -> str:
    """A self-contained page with one table of text; a line is drawn where the first ``group``
    columns change, a cell in <b></b> is bold."""
    rows: list[dict[str, Any]] = []
    before = None
    for values in frame.itertuples(index=False, name=None):
        now = values[:group]
        rows.append({"parts": before not in (None, now), "cells": [_cell(v) for v in values]})
        before = now
    return render("table.html.j2", title=title, notes=notes, head=list(frame.columns), rows=rows)


def _cell(value: str) -> dict[str, Any]:
    bold = BOLD.fullmatch(value)
    plain = bold.group(1) if bold else value
    css = ""
    if value in VERDICTS:
        css = verdict_class(value)
    elif plain[:1].isdigit() or plain[:1] in ("+", MINUS, "–"):
        css = "n"
    elif len(value) > 14:  # a sentence gets room, so that rows stay low
        css = "long" if len(value) > 40 else "medium"
    return {"text": plain, "bold": bool(bold), "css": css}


def picture(path: str, caption: str) -> dict[str, str]:
    """A figure's SVG as an address that holds it, and the values to read in it, as JSON.

    Raises InputError when it is absent or no SVG.
    """
    try:
        image, values = read_values(Path(path).read_text("utf-8"))
    except OSError:
        raise InputError(f"{path}: no such file; draw the figures first") from None
    except (ElementTree.ParseError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: no SVG ({error}); draw the figures again") from None
    content = base64.b64encode(image.encode("utf-8")).decode()
    return {
        "spots": json.dumps(values._asdict(), ensure_ascii=False) if values else "",
        "name": Path(path).stem.replace("_", " "),
        "caption": caption,
        "address": f"data:image/svg+xml;base64,{content}",
    }
