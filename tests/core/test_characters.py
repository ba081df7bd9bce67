"""Names of people and countries: which characters can't be seen."""

import pytest

from app.core.characters import shown_line, visible_line


@pytest.mark.parametrize(
    "name",
    [
        "Ada",
        "Ángel\N{NO-BREAK SPACE}Núñez",
        "مهرداد رستمی",
        "علی\N{ZERO WIDTH NON-JOINER}رضا",  # Alireza, as it is written
        "ක්\N{ZERO WIDTH JOINER}රිෂ්",
        "\N{FAMILY} \N{MAN}\N{ZERO WIDTH JOINER}\N{WOMAN}\N{ZERO WIDTH JOINER}\N{GIRL}",
        "ნინო \U0001fae9",  # younger than this Python's list of characters
    ],
)
def test_name_that_can_be_seen_is_kept(name):
    assert shown_line(name) == visible_line(name) == name


@pytest.mark.parametrize(
    "hidden",
    [
        *("\N{ZERO WIDTH SPACE}", "\N{WORD JOINER}", "\N{ZERO WIDTH NO-BREAK SPACE}", "\N{SOFT HYPHEN}"),
        *("\N{RIGHT-TO-LEFT OVERRIDE}", "\N{LEFT-TO-RIGHT EMBEDDING}", "\N{RIGHT-TO-LEFT ISOLATE}"),
        *("\N{RIGHT-TO-LEFT MARK}", "\N{ARABIC LETTER MARK}", "\N{LINE SEPARATOR}", "\N{PARAGRAPH SEPARATOR}"),
        *("\N{HANGUL FILLER}", "\N{BRAILLE PATTERN BLANK}", "\N{COMBINING GRAPHEME JOINER}"),
        "\N{TAG LATIN SMALL LETTER A}",
        *("\N{ZERO WIDTH JOINER}", "\N{ZERO WIDTH NON-JOINER}"),  # between Latin letters
    ],
)
def test_character_that_can_not_be_seen_is_named_or_removed(hidden):
    around = () if hidden.isspace() else (f"Ada{hidden}", f"{hidden}Ada", hidden)  # blanks around a name are left out
    message = f"^must not contain characters that can't be seen, such as U\\+{ord(hidden):04X}$"
    for name in (f"A{hidden}da", *around):
        with pytest.raises(ValueError, match=message):
            shown_line(name)
        assert visible_line(name).replace(" ", "") == name.replace(hidden, "")


def test_line_break_between_words_becomes_a_space():
    assert visible_line("\tNew\nZealand\x85\0") == "New Zealand"
