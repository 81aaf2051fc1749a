"""Colours of methods on screen: the figures', moved in lightness until they can be seen."""

PAPERS = {"light": "#ffffff", "dark": "#16181b"}  # the page's background, as in page.css
CONTRAST = 3.0  # what WCAG 2.2 asks of graphical objects (1.4.11)


def channels(colour: str) -> tuple[float, ...]:
    """Red, green, blue of #rrggbb, 0 to 1."""
    return tuple(int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5))


def luminance(colour: str) -> float:
    """Relative luminance of WCAG 2.2."""
    linear = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels(colour))
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, other: str) -> float:
    """Contrast ratio of WCAG 2.2, 1 to 21."""
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def visible(colour: str, paper: str, least: float = CONTRAST) -> str:
    """``colour`` itself, or the nearest mix with black or white that stands out from ``paper``."""
    end = 0.0 if luminance(paper) > 0.18 else 1.0
    for step in range(101):
        mixed = (c + (end - c) * step / 100 for c in channels(colour))
        found = "#" + "".join(f"{round(255 * c):02x}" for c in mixed)
        if contrast(found, paper) >= least:
            return found
    raise ValueError(f"{least}: no colour has that contrast to {paper}")
