"""Text in pictures: letters that the font has, on lines that fit."""

from __future__ import annotations

import unicodedata
from functools import cache

from PIL import ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
#: Fonts of Linux, Windows and macOS with Greek and accents. Pillow's own font has no µ.
_FONTS = ("DejaVuSans.ttf", "arial.ttf", "Arial.ttf", "LiberationSans-Regular.ttf")
_INSTEAD = {"µ": "u", "μ": "u", "−": "-", "–": "-", "×": "x"}


@cache
def rich_font(size: int) -> Font:
    """Return a font with many letters, or Pillow's own where none is found; size in pixels."""
    for name in _FONTS:
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return plain_font(size)


@cache
def plain_font(size: int) -> Font:
    """Return Pillow's own font, the same on every machine; size in pixels."""
    return ImageFont.load_default(size=size)


def drawable(text: str, font: Font) -> str:
    """Replace letters that the font does not have by their nearest relatives, or by "?"."""
    return "".join(a if _has(font, a) else _relative(a) for a in text)


@cache
def _has(font: Font, letter: str) -> bool:
    if letter.isascii():
        return True
    # all letters that are missing look alike
    shapes = [(bytes(m), m.size) for m in (font.getmask(a) for a in (letter, "\ue000"))]
    return shapes[0] != shapes[1]


def _relative(letter: str) -> str:
    plain = unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode()
    return _INSTEAD.get(letter) or plain or "?"


def wrapped(text: str, font: Font, width: int) -> list[str]:
    """Break a text into lines of at most `width` pixels, where it has spaces."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) > width and lines[-1]:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def shortened(text: str, font: Font, width: int) -> str:
    """Cut off what is wider than `width` pixels."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + " …") > width:
        text = text[:-1]
    return text + " …"
