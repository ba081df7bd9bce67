"""The summary picture."""

import json
from datetime import UTC, date, datetime
from io import BytesIO
from pathlib import Path
from string import ascii_letters

import pytest
from fontTools.ttLib import TTFont
from PIL import Image, ImageChops

from app.countries import picture
from app.countries.picture import BOLD, FONTS, MARGIN, NAME_SIZES, REGULAR, SIZE, WIDTH, fit, render_summary
from app.countries.summary import RankedCountry, Summary
from scripts.unhinted_fonts import unhinted

DATA = FONTS.parents[1] / "sources" / "data"
FIVE = (
    ("United States", 641e9),
    ("China", 383e9),
    ("United Kingdom of Great Britain and Northern Ireland", 154e9),
    ("Türkiye", 3.05e9),
    ("Côte d\u2019Ivoire", 87.3e6),
)
HOSTILE_NAMES = (
    "W" * 100,
    "日本国 🇯🇵 العربية",
    "\x00\x07\x1b[31m\u202e\u200b\ud800\uffff",
    "Z" + "\u0335\u0301\u0489" * 60 + "algo",
    "",
)


def summary_of(*top: tuple[str, float], total: int = 250, source: str = "Unicode CLDR and GeoNames") -> Summary:
    return Summary(
        total_countries=total,
        top=tuple(RankedCountry(name, gdp) for name, gdp in top),
        refreshed_at=datetime(2026, 11, 21, 9, 17, tzinfo=UTC),
        country_source=source,
        rate_source=source,
        rates_date=date(2026, 11, 20),
    )


def picture_of(summary: Summary) -> Image.Image:
    return Image.open(BytesIO(render_summary(summary))).convert("RGB")


def ink_box(image: Image.Image) -> tuple[int, int, int, int]:
    """Return the smallest box around everything that is not background."""
    background = Image.new("RGB", image.size, image.getpixel((0, 0)))
    box = ImageChops.difference(image, background).getbbox()
    assert box is not None, "nothing is drawn"
    return box


@pytest.mark.parametrize("count", [0, 1, 4, 5])
def test_picture_is_a_small_png_of_the_size_that_networks_preview(count):
    png = render_summary(summary_of(*FIVE[:count]))

    with Image.open(BytesIO(png)) as image:
        image.load()
        assert (image.format, image.size) == ("PNG", (1200, 630))
    assert len(png) < 64 * 1024


def test_pictures_are_equal_if_and_only_if_the_summaries_are():
    summaries = [summary_of(*FIVE), summary_of(*FIVE, total=249), summary_of(*FIVE, source="REST Countries")]
    summaries += [summary_of(*FIVE[:4]), summary_of()]

    assert len({render_summary(summary) for summary in summaries}) == 5
    assert render_summary(summary_of(*FIVE)) == render_summary(summary_of(*FIVE))


AMOUNTS = [
    "1.23e12 $1.23 T, 24.7e12 $24.7 T, 456e9 $456 B, 7.8e6 $7.8 M, 50e3 $50 K, 999 $999, 12.345 $12.3, 0.5 $0.5",
    "0.01 $0.01, 0.001 under $0.01, 5e-324 under $0.01",
    # Rounding that reaches the next unit.
    "999.4 $999, 999.96 $1 K, 999.4e9 $999 B, 999.96e9 $1 T, 0.00999999 $0.01",
    # Above the largest unit.
    "1.234567e15 $1,230 T, 999e15 $999,000 T, 999.96e12 $1,000 T",
    "999.96e15 $1e18, 1.2e18 $1.2e18, 1.7976931348623157e308 $1.8e308",
]


@pytest.mark.parametrize("row", AMOUNTS)
def test_amounts_have_three_significant_digits_and_a_unit(row):
    expected = dict(pair.split(" ", 1) for pair in row.split(", "))

    assert {amount: picture.format_usd(float(amount)) for amount in expected} == expected


def test_bars_are_in_proportion_and_never_too_small_to_see():
    assert picture.bar_widths([200e9, 100e9, 50e9, 1e-3]) == [WIDTH, WIDTH // 2, WIDTH // 4, picture.BAR_HEIGHT]
    assert picture.bar_widths([1.7976931348623157e308, 5e-324]) == [WIDTH, picture.BAR_HEIGHT]
    assert picture.bar_widths([]) == []


def test_bars_are_drawn_as_wide_as_computed():
    image = picture_of(summary_of(("A", 200e9), ("B", 50e9)))

    accent = Image.new("RGB", SIZE, picture.ACCENT)
    is_accent = ImageChops.difference(image, accent).convert("L").point(lambda level: 255 if level < 3 else 0)
    columns = is_accent.crop((MARGIN, 170, SIZE[0] - MARGIN, SIZE[1]))
    assert sum(level == 255 for level in columns.tobytes()) == (WIDTH + WIDTH // 4) * picture.BAR_HEIGHT


@pytest.mark.parametrize("gdp", [1.7976931348623157e308, 1e18, 999e15, 1e12, 1e-3])
@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_hostile_names_and_amounts_stay_within_the_margins(name, gdp):
    countries = [(name, gdp)] * 5

    left, top, right, bottom = ink_box(picture_of(summary_of(*countries, total=10**9, source=name)))

    assert (left, right) == (MARGIN, SIZE[0] - MARGIN)
    assert top >= 48
    assert bottom <= SIZE[1] - 40


@pytest.mark.parametrize("name", ["W" * 100, "Kingdom of " * 9, "i" * 10_000])
def test_too_long_name_ends_in_an_ellipsis_before_the_amount(name):
    text, font = fit(name, REGULAR, NAME_SIZES, 800)

    assert (text[-1], font.size) == ("…", NAME_SIZES[-1])
    assert 740 < font.getlength(text) <= 800


def test_name_shrinks_before_it_is_truncated_to_an_ellipsis_at_most():
    text, font = fit(FIVE[2][0], REGULAR, NAME_SIZES, 600)

    assert (text, font.size) == (FIVE[2][0], 24)
    assert fit("Ghana", REGULAR, NAME_SIZES, 5)[0] == "…"


@pytest.mark.parametrize(
    ("raw", "drawn"),
    [
        ("  São Tomé\u00a0and\tPríncipe\n", "São Tomé and Príncipe"),
        ("A\u030aland", "Åland"),
        ("Gha\x00na\u200b\u202e\ud800", "Ghana"),
        ("Z\u0335\u0489a", "Za"),
        ("日本", "日本"),
        ("\x00", "Unnamed"),
        ("", "Unnamed"),
    ],
)
def test_name_is_reduced_to_what_can_be_drawn_on_one_line(raw, drawn):
    assert picture.printable(raw) == drawn


@pytest.mark.parametrize("file", [REGULAR, BOLD])
def test_fonts_have_every_letter_of_countries_and_capitals_and_digits_of_equal_width(file):
    countries = json.loads((DATA / "countries.json").read_text("utf-8"))["countries"]
    texts = [text for country in countries for text in (country["name"], *country["capitals"])]

    with TTFont(FONTS / file) as font:
        letters = font.getBestCmap()
        widths = {font["hmtx"][letters[ord(digit)]][0] for digit in "0123456789"}

    assert {char for text in texts for char in text if ord(char) not in letters} == set()
    assert len(widths) == 1


@pytest.mark.parametrize(("file", "style"), [(REGULAR, "Regular"), (BOLD, "Bold")])
def test_fonts_keep_their_copyright_under_another_name_and_have_no_hinting(file, style):
    shipped = Path(FONTS, file).read_bytes()

    with TTFont(BytesIO(shipped)) as font:
        names = {number: font["name"].getDebugName(number) for number in (0, 1, 4, 6, 13)}
        tables = set(font.keys())
    assert (names[1], names[4], names[6]) == ("Summary Sans", f"Summary Sans {style}", f"SummarySans-{style}")
    assert all("Lukasz Dziedzic" in names[number] and "SIL Open Font License" in names[number] for number in (0, 13))
    assert tables.isdisjoint({"fpgm", "cvt "})
    assert unhinted(shipped, style) == shipped


def test_letters_are_as_wide_as_the_font_says():
    drawn = picture._font(REGULAR, 22)
    with TTFont(FONTS / REGULAR) as font:
        letters, pixel = font.getBestCmap(), font["head"].unitsPerEm / 22
        widths = {letter: round(font["hmtx"][letters[ord(letter)]][0] / pixel) for letter in ascii_letters}

    assert {letter: drawn.getlength(letter) for letter in widths} == widths


def test_fonts_come_with_their_licence_and_what_was_changed():
    licence, attribution = (Path(FONTS, name).read_text("utf-8") for name in ("OFL.txt", "ATTRIBUTION.md"))

    assert 'Lukasz Dziedzic (http://www.typoland.com/) with Reserved Font Name "Lato"' in licence
    assert "SIL OPEN FONT LICENSE Version 1.1" in licence
    assert "hinting instructions are removed" in attribution
