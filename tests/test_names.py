"""How names are compared."""

import pytest

from app.names import name_key


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


@pytest.mark.parametrize(("one", "other"), [("Niger", "Nigeria"), ("Guinea", "Guinea-Bissau"), ("Oman", "Roman")])
def test_different_names_have_different_keys(one, other):
    assert name_key(one) != name_key(other)


@pytest.mark.parametrize("blank", ["", " ", "\t\n", "\N{COMBINING ACUTE ACCENT}"])
def test_blank_name_has_an_empty_key(blank):
    assert name_key(blank) == ""
