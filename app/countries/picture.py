"""The summary picture: a PNG of the size that social networks preview.

The font is Lato 2.0 (latofonts.com, SIL Open Font License 1.1), because its
digits have equal widths and its kerning needs no text shaping engine. Its
hinting, which took most of the time, is removed by ``scripts/unhinted_fonts.py``.
"""

import unicodedata
from bisect import bisect_right
from collections.abc import Sequence
from datetime import date
from functools import cache
from io import BytesIO
from pathlib import Path

from PIL import Image, ImageColor, ImageDraw, ImageFont

from app.countries.summary import RankedCountry, Summary

SIZE = (1200, 630)
MARGIN = 72
RIGHT, WIDTH = SIZE[0] - MARGIN, SIZE[0] - 2 * MARGIN
PAPER, TRACK, RULE = "#fbfaf7", "#ece9e2", "#d8d4cb"
INK, MUTED, ACCENT = "#1c2430", "#5c6470", "#12646b"
SHADES = 16
"""Shades of each ink; more would not reduce the error, because Pillow matches colours in coarse steps."""
FONTS = Path(__file__).parent / "fonts"
REGULAR, BOLD = "SummarySans-Regular.ttf", "SummarySans-Bold.ttf"
NAME_SIZES, NOTE_SIZES = (28, 26, 24, 22, 20), (20, 19, 18)
"""From the default size to the smallest that is legible at half scale."""
FIRST_ROW, ROW_HEIGHT, RANK_WIDTH, BAR_HEIGHT = 204, 64, 36, 12
NOTE_COLUMNS = (MARGIN, MARGIN + 312, MARGIN + 684)
GAP = 36
_UNITS = ((1e12, " T"), (1e9, " B"), (1e6, " M"), (1e3, " K"))
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def render_summary(summary: Summary) -> bytes:
    """Draw a summary as a PNG of 1200 x 630 pixels.

    Names and sources may contain any text: unprintable characters are left
    out, and text that does not fit is shrunk, then truncated with an ellipsis.

    Returns:
        The bytes of the file; equal for equal summaries.
    """
    image = Image.new("RGB", SIZE, PAPER)
    draw = ImageDraw.Draw(image)
    _draw_header(draw, summary.total_countries)
    _draw_ranking(draw, summary.top)
    _draw_notes(draw, summary)
    # A palette cuts the file to a third, with slightly different colours at the edges of letters.
    png = BytesIO()
    # Level 6, the default, saves 4 % of the bytes for 18 % more time.
    image.quantize(palette=_palette(), dither=Image.Dither.NONE).save(png, "PNG", compress_level=4)
    return png.getvalue()


def format_usd(amount: float) -> str:
    """Format a positive amount of US dollars with three significant digits and a unit, in at most 12 characters.

    Such as ``$1.23 T`` (10^12), ``$456 B`` (10^9), ``$7.8 M``, ``$50 K``,
    ``$0.5``, ``under $0.01``, and from 10^18 ``$1.2e18``.
    """
    # Rounded before the unit is chosen, or 999.96 B would become 1,000 B.
    rounded = float(f"{amount:.3g}")
    if rounded < 0.01:
        return "under $0.01"
    if rounded >= 1e18:
        return f"${amount:.3g}".replace("e+", "e")
    scale, unit = next((pair for pair in _UNITS if rounded >= pair[0]), (1, ""))
    value = rounded / scale
    return f"${value:,.0f}{unit}" if value >= 100 else f"${value:.3g}{unit}"


def printable(text: str) -> str:
    """Reduce external text to one line that can be drawn.

    Removes control, invisible and unassigned characters, and accents without
    a composed letter, because stacked ones would cover other rows. A character
    that the font lacks is kept, and drawn as an empty box.
    """
    composed = unicodedata.normalize("NFC", " ".join(text.split()))
    kept = "".join(char for char in composed if char.isprintable() and not unicodedata.category(char).startswith("M"))
    return kept.strip() or "Unnamed"


def fit(text: str, file: str, sizes: Sequence[int], width: float) -> tuple[str, ImageFont.FreeTypeFont]:
    """Find the font of the first of the descending sizes at which a text is at most ``width`` pixels wide.

    If even the smallest size is too wide, the text is truncated with an ellipsis.
    """
    for size in sizes:
        font = _font(file, size)
        if font.getlength(text) <= width:
            return text, font
    fitting = bisect_right(range(len(text)), width, key=lambda end: font.getlength(text[:end] + "…"))
    return text[: max(fitting - 1, 0)].rstrip() + "…", font


def bar_widths(amounts: Sequence[float]) -> list[int]:
    """Widths of the bars in pixels, relative to the largest amount; at least the height, so that all are visible."""
    return [max(BAR_HEIGHT, round(amount / max(amounts) * WIDTH)) for amount in amounts]


@cache
def _palette() -> Image.Image:
    """All colours used, and the shades between paper and ink that smooth the edges of letters."""
    track, rule, paper, *inks = (ImageColor.getrgb(colour) for colour in (TRACK, RULE, PAPER, INK, MUTED, ACCENT))
    levels = [*track, *rule]
    for ink in inks:
        for step in range(SHADES):
            levels += [round(a + (b - a) * step / (SHADES - 1)) for a, b in zip(paper, ink, strict=True)]
    image = Image.new("P", (1, 1))
    image.putpalette(levels)
    return image


@cache
def _font(file: str, size: int) -> ImageFont.FreeTypeFont:
    # The basic layout, because Pillow shapes text only if FriBiDi is installed, and pictures must not differ.
    return ImageFont.truetype(FONTS / file, size, layout_engine=ImageFont.Layout.BASIC)


def _draw_header(draw: ImageDraw.ImageDraw, total: int) -> None:
    draw.text((MARGIN, 98), "Countries by estimated GDP", INK, _font(BOLD, 54), anchor="ls")
    method = "An estimate, not a statistic: population \N{MULTIPLICATION SIGN} a random factor ÷ exchange rate"
    draw.text((MARGIN, 142), method, MUTED, _font(REGULAR, 22), anchor="ls")
    draw.text((RIGHT, 98), f"{total:,}", ACCENT, _font(BOLD, 54), anchor="rs")
    draw.text((RIGHT, 142), "country" if total == 1 else "countries", MUTED, _font(REGULAR, 22), anchor="rs")


def _draw_ranking(draw: ImageDraw.ImageDraw, top: Sequence[RankedCountry]) -> None:
    if not top:
        draw.text((MARGIN, 310), "No estimate exists", INK, _font(BOLD, 36), anchor="ls")
        reason = "No country has both a population and an exchange rate for its currency."
        draw.text((MARGIN, 354), reason, MUTED, _font(REGULAR, 24), anchor="ls")
    widths = bar_widths([country.estimated_gdp for country in top])
    for row, (country, bar) in enumerate(zip(top, widths, strict=True)):
        baseline = FIRST_ROW + row * ROW_HEIGHT
        amount, amount_font = format_usd(country.estimated_gdp), _font(BOLD, NAME_SIZES[0])
        room = WIDTH - RANK_WIDTH - GAP - amount_font.getlength(amount)
        name, name_font = fit(printable(country.name), REGULAR, NAME_SIZES, room)
        draw.text((MARGIN, baseline), str(row + 1), MUTED, _font(REGULAR, NAME_SIZES[0]), anchor="ls")
        draw.text((MARGIN + RANK_WIDTH, baseline), name, INK, name_font, anchor="ls")
        draw.text((RIGHT, baseline), amount, INK, amount_font, anchor="rs")
        bar_top, bar_bottom = baseline + 10, baseline + 9 + BAR_HEIGHT
        draw.rectangle((MARGIN, bar_top, RIGHT - 1, bar_bottom), TRACK)
        draw.rectangle((MARGIN, bar_top, MARGIN + bar - 1, bar_bottom), ACCENT)


def _draw_notes(draw: ImageDraw.ImageDraw, summary: Summary) -> None:
    """Draw time and sources of the figures, in three columns at the bottom."""
    notes = (
        ("Refreshed", f"{_day(summary.refreshed_at)}, {summary.refreshed_at:%H:%M} UTC"),
        ("Countries from", summary.country_source),
        (f"Rates of {_day(summary.rates_date)} from", summary.rate_source),
    )
    draw.line((MARGIN, 516, RIGHT - 1, 516), RULE)
    for left, right, (label, value) in zip(NOTE_COLUMNS, (*NOTE_COLUMNS[1:], RIGHT + GAP), notes, strict=True):
        text, font = fit(printable(value), REGULAR, NOTE_SIZES, right - GAP - left)
        draw.text((left, 550), label, MUTED, _font(REGULAR, 18), anchor="ls")
        draw.text((left, 578), text, INK, font, anchor="ls")


def _day(day: date) -> str:
    # Not strftime, which writes the month in the language of the locale.
    return f"{day.day} {_MONTHS[day.month - 1]} {day.year}"
