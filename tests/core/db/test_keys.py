"""How names are compared."""

import pytest

from app.core.db.keys import name_key
from app.core.http.bodies import shown_line


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Ghana", "gHANA"),
        (" Côte  d’Ivoire ", "cote d'ivoire"),
        ("Cote d`Ivoire", "COTE D\N{ACUTE ACCENT}IVOIRE"),
        ("Åland Islands", "aland islands"),
        ("Curaçao", "Curac\N{COMBINING CEDILLA}ao"),
        ("Türkiye", "TURKIYE"),
        ("İstanbul", "istanbul"),
        ("Straße", "STRASSE"),
        ("São Tomé\N{NO-BREAK SPACE}& Príncipe", "sao tome & principe"),
    ],
)
def test_spellings_of_one_name_share_a_key(one, other):
    assert name_key(one) == name_key(other)


def test_different_names_have_different_keys_and_blank_ones_have_empty_keys():
    names = ["Niger", "Nigeria", "Guinea", "Guinea-Bissau", "Oman", "Roman"]
    assert len({name_key(name) for name in names}) == len(names)
    assert {name_key(blank) for blank in ("", " ", "\t\n", "\N{COMBINING ACUTE ACCENT}")} == {""}


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
    assert shown_line(name) == name


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
def test_character_that_can_not_be_seen_is_named(hidden):
    around = () if hidden.isspace() else (f"Ada{hidden}", f"{hidden}Ada", hidden)  # blanks around a name are left out
    message = f"^must not contain characters that can't be seen, such as U\\+{ord(hidden):04X}$"
    for name in (f"A{hidden}da", *around):
        with pytest.raises(ValueError, match=message):
            shown_line(name)
