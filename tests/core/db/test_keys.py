"""How names are compared."""

import pytest

from app.core.db.keys import name_key


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
