"""The page from what was gathered: template, style and scripts put into one file."""

import base64
import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markdown_it import MarkdownIt
from markupsafe import Markup

from autoprune.core.errors import InputError
from autoprune.publish.spots import read_values

HERE = Path(__file__).parent
SCRIPTS = ("charts.js", "figures.js", "browser.js", "page.js")
CAPTIONS = {
    "partition": "Samples and classes of the clients.",
    "widths_by_round": (
        "Filters of each layer by round; steps down are the shrinks. Dashed: those that are live."
    ),
    "widths_by_layer": "Final widths of each method, layer by layer.",
    "kept_similarity": "Whether seeds agree on the filters that are kept.",
    "k_patience_map": "Parameters left and accuracy over k and patience.",
    "latency": "Inference time of pruned and dense networks.",
}


def picture(path: str) -> dict[str, str]:
    """A figure's SVG as an address that holds it, and the values to read in it, as JSON.

    Raises InputError when it is absent or no SVG.
    """
    try:
        image, values = read_values(Path(path).read_text("utf-8"))
    except OSError:
        raise InputError(f"{path}: no such file; draw the figures first") from None
    except (ElementTree.ParseError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: no SVG ({error}); draw the figures again") from None
    name, content = Path(path).stem, base64.b64encode(image.encode("utf-8")).decode()
    return {
        "spots": json.dumps(values._asdict(), ensure_ascii=False) if values else "",
        "name": name.replace("_", " "),
        "caption": CAPTIONS.get(name, name.replace("_", " ").capitalize() + "."),
        "address": f"data:image/svg+xml;base64,{content}",
    }


def as_json(value: Any) -> Markup:
    """JSON that may stand in a script element: no tag can begin in it; NaN is refused."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)


def prose(markdown: str) -> Markup:
    """Markdown as HTML, headings two levels lower; HTML in it is shown, not obeyed."""
    body = re.sub(r"\A# .*\n", "", markdown)  # the section has its own heading
    html = MarkdownIt("commonmark", {"html": False}).enable("table").render(body)
    return Markup(re.sub(r"(</?h)([1-4])\b", lambda m: f"{m[1]}{int(m[2]) + 1}", html))


def render(content: dict[str, Any]) -> str:
    """The page's HTML."""
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"json": as_json, "prose": prose}
    script = "\n".join((HERE / name).read_text("utf-8") for name in SCRIPTS)
    return environment.get_template("page.html.j2").render(
        **content,
        css=Markup((HERE / "page.css").read_text("utf-8")),
        script=Markup(script),
    )
