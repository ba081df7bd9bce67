"""The European Central Bank's files in the forms in which people have them, and lines that are refused."""

import codecs
from datetime import date
from pathlib import Path

import pytest

from app.sources.ecb_file import check_history
from app.sources.ecb_file import read_history as read
from app.sources.ecb_lines import LONGEST_LINE, UnusableFile
from tests.support.archives import zipped

TODAY = date(2026, 11, 21)
NEWEST_FIRST = "Date,USD,JPY,\n2026-10-30,1.1172,175.68,\n2026-10-29,1.1,N/A,\n2026-10-28,1.1,170,\n"
OLDEST_FIRST = "Date,USD,JPY\n2026-10-28,1.1,170\n2026-10-29,1.1,\n2026-10-30,1.1172,175.68\n"
DAILY = "Date, USD, JPY, \n30 October 2026, 1.1172, 175.68, \n"
QUOTED = (
    '"Date";"USD";"JPY"\r\n"2026-10-30";"1.1172";"175.68"\r\n"2026-10-29";"1.1";""\r\n'
    '"2026-10-28";"1.1";"170"\r\n;;\r\n'
)
PORTAL = (
    "KEY,FREQ,CURRENCY,CURRENCY_DENOM,EXR_TYPE,EXR_SUFFIX,TIME_PERIOD,OBS_VALUE,OBS_STATUS,TITLE_COMPL\r\n"
    'EXR.D.JPY.EUR.SP00.A,D,JPY,EUR,SP00,A,2026-10-28,170,A,"ECB reference exchange rate, Japanese yen/Euro"\r\n'
    'EXR.D.JPY.EUR.SP00.A,D,JPY,EUR,SP00,A,2026-10-29,NaN,H,"ECB reference exchange rate, Japanese yen/Euro"\r\n'
    'EXR.D.JPY.EUR.SP00.A,D,JPY,EUR,SP00,A,2026-10-30,175.68,A,"ECB reference exchange rate, Japanese yen/Euro"\r\n'
    'EXR.D.USD.EUR.SP00.A,D,USD,EUR,SP00,A,2026-10-28,1.1,A,"ECB reference exchange rate, US dollar/Euro"\r\n'
    'EXR.D.USD.EUR.SP00.A,D,USD,EUR,SP00,A,2026-10-29,1.1,A,"ECB reference exchange rate, US dollar/Euro"\r\n'
    'EXR.D.USD.EUR.SP00.A,D,USD,EUR,SP00,A,2026-10-30,1.1172,A,"ECB reference exchange rate, US dollar/Euro"\r\n'
)
PORTAL_TABLE = (
    '"DATE","TIME PERIOD","US dollar/Euro (EXR.D.USD.EUR.SP00.A)","Japanese yen/Euro (EXR.D.JPY.EUR.SP00.A)"\n'
    '"2026-10-28","28 Oct 2026","1.1","170"\n"2026-10-29","29 Oct 2026","1.1",""\n'
    '"2026-10-30","30 Oct 2026","1.1172","175.68"\n'
)
RATES = {
    date(2026, 10, 28): {"EUR": 1.0, "USD": 1.1, "JPY": 170.0},
    date(2026, 10, 29): {"EUR": 1.0, "USD": 1.1},
    date(2026, 10, 30): {"EUR": 1.0, "USD": 1.1172, "JPY": 175.68},
}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("hist.csv", NEWEST_FIRST.encode()),
        ("oldest first.csv", OLDEST_FIRST.encode()),
        ("quoted, semicolons, CRLF, empty cells and row.csv", QUOTED.encode()),
        ("tabs.csv", NEWEST_FIRST.replace(",", "\t").encode()),
        ("byte order mark and blank lines.csv", codecs.BOM_UTF8 + b"\n" + NEWEST_FIRST.encode() + b"\n\n"),
        ("archive.ZIP", zipped(NEWEST_FIRST, "eurofxref-hist.csv")),
        ("archive of a Mac.zip", zipped(NEWEST_FIRST, "eurofxref-hist.csv", "__MACOSX/._eurofxref-hist.csv")),
        ("portal.csv", PORTAL.encode()),
        ("portal in another order.csv", "".join(PORTAL.splitlines(True)[i] for i in (0, 4, 3, 6, 1, 2, 5)).encode()),
        ("portal's table.csv", PORTAL_TABLE.encode()),
    ],
)
def test_every_form_of_the_file_has_the_same_rates(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)

    assert {past.day: past.rates for past in read(tmp_path / name, today=TODAY)} == RATES
    assert check_history(tmp_path / name, today=TODAY, force=False) == {day: len(RATES[day]) for day in RATES}


def test_daily_file_has_one_day_in_words(tmp_path: Path) -> None:
    (tmp_path / "eurofxref.csv").write_text(DAILY)

    (past,) = read(tmp_path / "eurofxref.csv", today=TODAY)
    assert (past.day, past.rates) == (date(2026, 10, 30), RATES[date(2026, 10, 30)])


NOT_A_DATE = "is not a date such as 2026-11-20 or 20 November 2026"
NO_HEADER = "line 1: must be Date and currency codes, as in Date,USD,JPY, or the columns of the data portal"
REFERENCE = "; only daily reference rates against the euro can be imported, which have the key EXR/D..EUR.SP00.A"


@pytest.mark.parametrize(
    ("form", "old", "new", "details"),
    [
        *(
            (NEWEST_FIRST, "2026-10-29", day, f"line 3: '{day}' {NOT_A_DATE}")
            for day in ("2026-02-30", "29.10.2026", "29 Oktober 2026", "31 April 2026", "0 May 2026", "20261029")
        ),
        (NEWEST_FIRST, "2026-10-29", "1998-12-31", "line 3: 1998-12-31 is before 1999-01-04, the first day of the eu"),
        (NEWEST_FIRST, "2026-10-29", "2026-10-30", "line 3: 2026-10-30 appears twice"),
        (DAILY, "30 October", "22 November", "line 2: 2026-11-22 is in the future"),
        (NEWEST_FIRST, "-28", "-31", "line 4: 2026-10-31 follows 2026-10-29; before, the days go from the newest to t"),
        (OLDEST_FIRST, "-30", "-27", "line 4: 2026-10-27 follows 2026-10-29; before, the days go from the oldest to t"),
        *(
            (form, "175.68", cell, f"line {line}: JPY is '{cell}' instead of N/A or a number from 1e-12 to 1e+15")
            for form, line in ((NEWEST_FIRST, 2), (PORTAL, 4))
            for cell in ("one", "0", "-1", "1e999", "nan", "1_0")
        ),
        (QUOTED, "175.68", "175,68", "line 2: JPY is '175,68' instead of N/A or a number from 1e-12 to 1e+15"),
        (NEWEST_FIRST, "175.68", "1,7", "line 2: has 4 columns instead of 3"),
        (NEWEST_FIRST, "175.68,", "", "line 2: has 2 columns instead of 3"),
        (QUOTED, '"175.68"', '"175.68', "line 2: is not CSV: "),
        (NEWEST_FIRST, "170", "17", "line 4: JPY is 17, and 175.68 on the next day in the file, a change of more than"),
        (OLDEST_FIRST, "170", "17", "line 4: JPY is 175.68, and 17 on the previous day in the file, a change of more"),
        (PORTAL, "170", "17", "line 2: JPY is 17, and 175.68 on the next day in the file, a change of more than ten"),
        (NEWEST_FIRST, "JPY", "jpy", "line 1: 'jpy' is not a three-letter currency code"),
        (NEWEST_FIRST, "JPY", "", "line 2: has 3 columns instead of 2"),
        (NEWEST_FIRST, "USD", "", "line 1: '' is not a three-letter currency code"),
        (NEWEST_FIRST, "JPY", "USD", "line 1: USD appears twice"),
        (NEWEST_FIRST, "JPY", "EUR", "line 1: EUR is the base"),
        (NEWEST_FIRST, "Date", "Day", NO_HEADER),
        (NEWEST_FIRST, ",", "|", NO_HEADER),
        (NEWEST_FIRST, NEWEST_FIRST, "", NO_HEADER),
        (NEWEST_FIRST, "1.1,", "\udcff,", "line 3: is not UTF-8"),
        (NEWEST_FIRST, "1.1,", "1" * 8200, f"line 3: is longer than {LONGEST_LINE} bytes"),
        (NEWEST_FIRST, NEWEST_FIRST, "Date,USD,\n2026-10-30,N/A,\n", "contains no rates"),
        (PORTAL, "OBS_VALUE", "VALUE", "line 1: lacks the column OBS_VALUE of the data portal"),
        (PORTAL, ",A,2026-10-29", ",A,2026-10", f"line 3: '2026-10' {NOT_A_DATE}"),
        (PORTAL, ".A,D,", ".A,M,", f"line 2: FREQ is 'M' instead of D{REFERENCE}"),
        (PORTAL, ",JPY,EUR,", ",JPY,USD,", f"line 2: CURRENCY_DENOM is 'USD' instead of EUR{REFERENCE}"),
        (PORTAL, "EUR,SP00,A,", "EUR,EN00,A,", f"line 2: EXR_TYPE is 'EN00' instead of SP00{REFERENCE}"),
        (PORTAL, ",A,2026-10-30", ",A,2026-10-28", "line 4: JPY of 2026-10-28 is on line 2 already"),
        (PORTAL, ",170,A", ",170", "line 2: has 9 columns instead of 10"),
        (PORTAL, ",D,JPY,", ",D,yen,", "line 2: 'yen' is not a three-letter currency code"),
    ],
)
def test_wrong_line_is_named(form: str, old: str, new: str, details: str, tmp_path: Path) -> None:
    assert old in form
    file = tmp_path / "hist.csv"
    count = -1 if old == "," else 1
    file.write_bytes(form.replace(old, new, count).encode(errors="surrogateescape"))

    with pytest.raises(UnusableFile) as refused:
        check_history(file, today=TODAY, force=False)
    assert str(refused.value).startswith(details)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-16-le"])
def test_file_in_utf_16_is_refused_by_name(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "hist.csv").write_bytes(NEWEST_FIRST.encode(encoding))

    with pytest.raises(UnusableFile, match=r"^line 1: is UTF-16 instead of UTF-8$"):
        check_history(tmp_path / "hist.csv", today=TODAY, force=False)
