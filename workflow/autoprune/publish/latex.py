"""Tables as LaTeX for papers: escaped, numbers to the right, as wide as the text of a page."""

import re
import textwrap
import unicodedata
from collections.abc import Mapping, Sequence

import pandas as pd
from pylatexenc.latexencode import (
    RULE_DICT,
    UnicodeToLatexConversionRule,
    UnicodeToLatexEncoder,
)

# as they stand in any encoding of the font, where the library has them for typed text
AS_THEY_STAND = {
    "`": r"\textasciigrave{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\char34{}",  # babel makes the bare sign active in some languages
}
ENCODER = UnicodeToLatexEncoder(
    conversion_rules=[
        UnicodeToLatexConversionRule(RULE_DICT, {ord(k): v for k, v in AS_THEY_STAND.items()}),
        "defaults",
    ],
    replacement_latex_protection="braces-after-macro",
    unknown_char_policy=lambda sign: f"[U+{ord(sign):04X}]",
    unknown_char_warning=False,
)
# Characters on a line of a page 7.1 inches wide, by font size of a 10 pt class; a little less than
# fit in Computer Modern, which is wider than most.
LINE = {r"\footnotesize": 114, r"\scriptsize": 127}
GAP = 1.5  # characters between two columns
WRAPPED = 16  # a text column that is wider may be broken into lines
PLACES = ("heading", "below", "left out")  # of a column, where a page has less room
ROWS = 40  # more do not fit on a page
BOLD = re.compile(r"<b>(.*)</b>", re.DOTALL)
# what a number may have beside it: its unit, its number of seeds
BESIDE = re.compile(r"\(n=\d+\)|\bMB\b|\bms\b|\bpoints\b")


def escape(text: str) -> str:
    """``text`` so that LaTeX prints it as it stands, in any encoding of the font.

    White space becomes a space; a letter that LaTeX has no command for is named by its code point:
    [U+5B57].
    """
    spaced = "".join(map(_spaced, unicodedata.normalize("NFC", text)))
    signs = ENCODER.unicode_to_latex(spaced)
    signs = re.sub(r"([-',])(?=\1)", r"\1{}", signs)  # two of them would make one other sign
    # at the start of a row these would belong to the end of the row before
    return re.sub(r"^[*[]", r"{\g<0>}", signs)


def _spaced(sign: str) -> str:
    """A space for any other white space and for what controls a terminal."""
    white = sign.isspace() and sign != "\N{NO-BREAK SPACE}"
    return " " if white or unicodedata.category(sign) == "Cc" else sign


def is_number(value: str) -> bool:
    """Whether a cell is a number, with what may stand beside one, or the dash for none."""
    rest = BESIDE.sub("", value)
    return bool(re.match(r"[0-9+–\N{MINUS SIGN}]", rest)) and not re.search(r"[^\W\d_]", rest)


def latex_table(
    frame: pd.DataFrame, title: str, notes: Sequence[str], paper: Mapping[str, str] | None = None
) -> str:
    """A table for \\input: a booktabs tabular as wide as the page's text, its notes below it.

    ``frame`` holds text; a cell in <b></b> is set bold. ``paper``: of a column what it is as in
    ``tables.Column``. With more rows than fit on a page it is a longtable, which breaks over pages
    and wants them in one column.
    """
    places = {of: [n for n, what in (paper or {}).items() if what == of] for of in PLACES}
    headings, below, gone = places.values()
    frame, explained = _explained(frame, below)
    shown = frame.drop(columns=[*gone, *headings])
    if gone:
        notes = [*notes, f"Left out here, in the table's other files: {'; '.join(gone)}."]
    plain = shown.map(lambda cell: BOLD.sub(r"\1", cell))
    font, widths = _layout(plain)
    formats = [_format(plain[name], width, LINE[font]) for name, width in widths.items()]
    cells = pd.DataFrame(
        {
            _head(name, plain[name], widths[name], kind): [_cell(cell) for cell in shown[name]]
            for name, kind in zip(shown, formats, strict=True)
        }
    )
    long = len(cells) > ROWS
    _put_headings(cells, frame[headings])
    body = cells.style.hide(axis="index").to_latex(
        column_format="".join(formats), hrules=True, environment="longtable" if long else None
    )
    return "\n".join(
        [
            f"% {escape(title)}. In the preamble: \\usepackage{{array,booktabs,longtable}}",
            "% More rows than a page holds: \\input it where pages have one column (\\onecolumn)."
            if long
            else "% \\begin{table*} \\caption{} \\input{this file} \\end{table*}",
            rf"\begingroup{font}\setlength{{\tabcolsep}}{{3pt}}\setlength{{\parindent}}{{0pt}}",
            body.rstrip("\n"),
            r"\par\smallskip",
            *(rf"{escape(note)}\par" for note in [*notes, *explained]),
            r"\endgroup",
            "",
        ]
    )


def _explained(frame: pd.DataFrame, below: Sequence[str]) -> tuple[pd.DataFrame, list[str]]:
    """The columns ``below`` as numbers (R1, R2), and a note for each of their texts."""
    frame, explained = frame.copy(), []
    for name in below:
        letter = name[0].upper()
        numbers = {
            text: f"{letter}{place}" for place, text in enumerate(dict.fromkeys(frame[name]), 1)
        }
        frame[name] = frame[name].map(numbers)
        texts = "; ".join(f"{number}: {text}" for text, number in numbers.items())
        explained.append(f"{name.capitalize()} – {texts}.")
    return frame, explained


def _pieces(text: str) -> list[str]:
    """The parts of a text between which a line may end."""
    return re.findall(r"[^\s/-]*[/-]?", text)


def _layout(plain: pd.DataFrame) -> tuple[str, dict[str, int | None]]:
    """The font size, and of each column its width in characters, None for its natural one."""
    natural, least = {}, {}
    for name in plain:
        longest = max((len(piece) for piece in _pieces(name)), default=1)
        natural[name] = max([longest, *plain[name].map(len)])
        words = [len(piece) for cell in plain[name] for piece in _pieces(cell)]
        broken = natural[name] > WRAPPED and not plain[name].map(is_number).all()
        least[name] = max(longest, *words) if broken else natural[name]
    gaps = GAP * len(natural)
    for font, line in LINE.items():
        if sum(natural.values()) + gaps <= line:
            return font, dict.fromkeys(natural)
    # the smaller font: what is left of the line goes to the widest texts, as evenly as can be
    widths = dict(least)
    room = int(LINE[font] - gaps - sum(widths.values()))
    for _ in range(max(room, 0)):
        wanting = [name for name in widths if widths[name] < natural[name]]
        if wanting:  # the one whose text would have most lines
            widths[max(wanting, key=lambda name: natural[name] / widths[name])] += 1
    broken = {name for name in widths if widths[name] < natural[name]}
    return font, {name: width if name in broken else None for name, width in widths.items()}


def _format(cells: pd.Series, width: int | None, line: int) -> str:
    """A column as LaTeX wants it described; ``width`` and ``line`` in characters."""
    if width is None:
        return "r" if cells.map(is_number).all() else "l"
    return rf">{{\raggedright\arraybackslash}}p{{{width / line:.3f}\textwidth}}"


def _head(name: str, cells: pd.Series, width: int | None, kind: str) -> str:
    """A column's name in as many lines as its cells make it."""
    longest = max((len(piece) for piece in _pieces(name)), default=1)
    room = max(longest, width or max([6, *cells.map(len)]))
    lines = [escape(line) for line in textwrap.wrap(name, room, break_long_words=False)]
    side = "r" if kind == "r" else "l"
    stacked = r"\\".join(lines)
    if len(lines) == 1:
        return stacked
    return rf"\begin{{tabular}}[b]{{@{{}}{side}@{{}}}}{stacked}\end{{tabular}}"


def _cell(value: str) -> str:
    bold = BOLD.fullmatch(value)
    text = escape(bold.group(1) if bold else value).replace("/", r"/\allowbreak{}")
    return rf"\textbf{{{text}}}" if bold else text


def _put_headings(cells: pd.DataFrame, headings: pd.DataFrame) -> None:
    """Put a line of its own before the first row of each heading, in place."""
    before = None
    for place, values in enumerate(headings.itertuples(index=False, name=None)):
        if values and values != before:
            text = escape(", ".join(value for value in values if value))
            space = "" if before is None else "\\addlinespace\n"
            cells.iloc[place, 0] = (
                rf"{space}\multicolumn{{{cells.shape[1]}}}{{l}}{{\itshape {text}}} \\"
                f"\n{cells.iloc[place, 0]}"
            )
        before = values
