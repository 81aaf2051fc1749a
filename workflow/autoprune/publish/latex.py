"""Tables as LaTeX for papers: escaped, numbers to the right, as wide as the text of a page."""

import re
import textwrap
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

GREEK = "αβγδεζηθικλμνξπρστυφχψωΓΔΘΛΞΠΣΥΦΨΩ"


def _greek(letter: str) -> str:
    """The name that LaTeX has for a Greek letter: beta, Gamma."""
    *_, kind, _, name = unicodedata.name(letter).replace("LAMDA", "LAMBDA").split()
    return name.capitalize() if kind == "CAPITAL" else name.lower()


MATHS = {
    "\N{MINUS SIGN}": "-",
    "±": r"\pm",
    "×": r"\times",
    "÷": r"\div",
    "·": r"\cdot",
    "≥": r"\ge",
    "≤": r"\le",
    "≠": r"\ne",
    "≈": r"\approx",
    "√": r"\surd",
    "∞": r"\infty",
    "→": r"\to",
    **{letter: f"\\{_greek(letter)}" for letter in GREEK},
    "µ": r"\mu",
    **{raised: f"^{{{digit}}}" for digit, raised in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")},
}
SYMBOLS = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "`": r"\textasciigrave{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\char34{}",  # babel makes the bare sign active in some languages
    "–": r"\textendash{}",
    "—": r"\textemdash{}",
    "“": r"\textquotedblleft{}",
    "”": r"\textquotedblright{}",
    "‘": r"\textquoteleft{}",
    "’": r"\textquoteright{}",
    "…": r"\ldots{}",
    "\N{NO-BREAK SPACE}": "~",
    **{sign: f"${command}$" for sign, command in MATHS.items()},
}
# Characters on a line of a page 7.1 inches wide, by font size of a 10 pt class; a little less than
# fit in Computer Modern, which is wider than most.
LINE = {r"\footnotesize": 114, r"\scriptsize": 127}
GAP = 1.5  # characters between two columns
WRAPPED = 16  # a text column that is wider may be broken into lines
ROWS = 40  # more do not fit on a page
BOLD = re.compile(r"<b>(.*)</b>", re.DOTALL)
# what a number may have beside it: its unit, its number of seeds
BESIDE = re.compile(r"\(n=\d+\)|\bMB\b|\bms\b|\bpoints\b")


class Paper(NamedTuple):
    """What a paper shows of a table, where its page has less room than a screen."""

    headings: Sequence[str] = ()  # columns whose values stand once, over the rows that share them
    below: Sequence[str] = ()  # columns of long texts: a number, and the text below the table
    left_out: Sequence[str] = ()


def escape(text: str) -> str:
    """``text`` so that LaTeX prints it as it stands, in any encoding of the font.

    White space becomes a space. A letter that pdflatex does not know from its usual encodings,
    which is one beyond Latin Extended-A, is named by its code point: [U+4E2D].
    """
    signs = "".join(map(_sign, unicodedata.normalize("NFC", text)))
    signs = re.sub(r"([-',])(?=\1)", r"\1{}", signs)  # two of them would make one other sign
    # at the start of a row these would belong to the end of the row before
    return re.sub(r"^[*[]", r"{\g<0>}", signs)


def _sign(character: str) -> str:
    """One character as LaTeX."""
    if character in SYMBOLS:
        return SYMBOLS[character]
    kind = unicodedata.category(character)
    if character.isspace() or kind == "Cc":
        return " "
    if ord(character) < 0x180 and kind != "Cf":
        return character
    return f"[U+{ord(character):04X}]"


def is_number(value: str) -> bool:
    """Whether a cell is a number, with what may stand beside one, or the dash for none."""
    rest = BESIDE.sub("", value)
    return bool(re.match(r"[0-9+–\N{MINUS SIGN}]", rest)) and not re.search(r"[^\W\d_]", rest)


def latex_table(
    frame: pd.DataFrame, title: str, notes: Sequence[str], paper: Paper | None = None
) -> str:
    """A table for \\input: a booktabs tabular as wide as the page's text, its notes below it.

    ``frame`` holds text; a cell in <b></b> is set bold. With more rows than fit on a page it is a
    longtable, which breaks over pages and wants them in one column.
    """
    paper = paper or Paper()
    frame, explained = _explained(frame, paper.below)
    gone = [name for name in paper.left_out if name in frame]
    shown = frame.drop(columns=[*gone, *paper.headings])
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
    _put_headings(cells, frame[list(paper.headings)])
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
