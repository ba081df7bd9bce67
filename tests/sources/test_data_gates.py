"""The script that makes the bundled data refuses what fails its gates."""

import io
import json
import subprocess
import sys
import tarfile
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from scripts.bundled_data.check_data import main as check_data
from scripts.bundled_data.countries import check_countries
from scripts.bundled_data.currencies import check_currencies
from scripts.bundled_data.ecb import compare_rates
from scripts.bundled_data.names import without_repeats
from scripts.bundled_data.rates import build_rates, check_pegs
from scripts.bundled_data.second_sources import Field, Finding, refuse_unlisted

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "app/sources/data"
COUNTRIES: list[dict[str, Any]] = json.loads((DATA / "countries.json").read_text("utf-8"))["countries"]
MONEY = json.loads((DATA / "currencies.json").read_text("utf-8"))


def _tarball(folder: Path, version: str, rates: dict[str, float]) -> Path:
    """A version of currency-api that quotes these rates."""
    day = "-".join(part.zfill(2) for part in version.split("."))
    files = {
        "package.json": {"version": version},
        "v1/currencies/usd.json": {
            "date": day,
            "usd": {"usd": 1, **{code.lower(): rate for code, rate in rates.items()}},
        },
    }
    path = folder / f"fawazahmed0-currency-api-{version}.tgz"
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            text = json.dumps(content).encode()
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text))
    return path


def _build(folder: Path, before: dict[str, float], now: dict[str, float]) -> dict[str, Any]:
    latest, earlier = _tarball(folder, "2026.9.29", now), _tarball(folder, "2026.7.4", before)
    return build_rates(latest, earlier, MONEY)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"IN": {"population": 1_300_000_000}}, "the most populous countries are CN and IN, not India and China"),
        ({"GH": {"alpha3": "GH"}}, "GH: unusable alpha3 'GH'"),
        ({"GH": {"population": -1}}, "GH: unusable population -1"),
        ({"GH": {"name": "GAMBIA"}}, "2 countries share the name gambia"),
        ({"GH": {"numeric": "270"}}, "2 countries share the numeric 270"),
    ],
)
def test_countries_with_an_impossible_value_are_refused(changes: dict[str, Any], message: str) -> None:
    rows = [row | changes.get(row["alpha2"], {}) for row in COUNTRIES]

    with pytest.raises(ValueError, match=f"^{message}$"):
        check_countries(rows)
    with pytest.raises(ValueError, match="249 countries instead of 250"):
        check_countries(COUNTRIES[1:])


def test_a_spelling_that_would_mean_two_countries_is_refused() -> None:
    assert without_repeats({"CI": ["Côte d’Ivoire", "Cote d'Ivoire"]}) == {"CI": ["Côte d’Ivoire"]}
    with pytest.raises(ValueError, match="'congo' would mean both CD and CG"):
        without_repeats({"CD": ["Congo"], "CG": ["congo"]})
    with pytest.raises(ValueError, match="would mean both CD and CG"):
        without_repeats({"CD": ["Congo (Republic of the)"], "CG": ["Republic of Congo"]})


def test_a_difference_from_the_second_source_needs_a_reason_and_a_reason_a_difference() -> None:
    finding = Finding("MD", "2,961,254", "2,402,306 (World Bank 2024)", None)
    listed = finding._replace(reason="the UN includes Transnistria")
    field = Field("population", "World Bank", 249, (), (finding,), ())
    reasons = {"population": {"MD": "the UN includes Transnistria"}}

    with pytest.raises(ValueError, match=r"^MD: population is 2,961,254, but 2,402,306 .*; correct it or list it"):
        refuse_unlisted([field], {})
    refuse_unlisted([field._replace(off=(), listed=(listed,))], reasons)
    with pytest.raises(ValueError, match="population no longer differs in MD"):
        refuse_unlisted([field._replace(off=(), right=250)], reasons)
    with pytest.raises(ValueError, match=r"^MD: population is none, but none in World Bank; correct it or list it"):
        refuse_unlisted([field._replace(off=(), missing=(Finding("MD", "none", "none", None),))], {})
    refuse_unlisted([field._replace(off=(), missing=(listed,))], reasons)


def test_currencies_whose_successors_lead_nowhere_are_refused() -> None:
    check_currencies(MONEY["currencies"])
    with pytest.raises(ValueError, match="the successors of AAA lead nowhere: AAA BBB AAA"):
        check_currencies({"AAA": {"name": "A", "successor": "BBB"}, "BBB": {"name": "B", "successor": "AAA"}})
    with pytest.raises(ValueError, match="currency 'AAA' has the name ''"):
        check_currencies({"AAA": {"name": ""}})


def test_historic_currencies_are_left_out_and_a_quote_in_old_units_is_replaced(tmp_path: Path) -> None:
    before = {"SYP": 110.591, "EUR": 0.88, "BTC": 0.00001, "ONE": 784}
    now = {"SYP": 13003.4, "EUR": 0.9, "DEM": 1.760247, "BYR": 19602, "BTC": 0.000012, "ONE": 7.2, "SPL": 5}

    built = _build(tmp_path, before, now)

    assert built == {
        "date": "2026-09-29",
        "days": {"SYP": "2026-07-04"},
        "source": {"name": "currency-api", "version": "2026.9.29", "licence": "CC0-1.0"},
        "base": "USD",
        "rates": {"BTC": 0.000012, "EUR": 0.9, "SYP": 110.591, "USD": 1},
    }


def test_a_quote_in_new_units_is_believed_if_the_redenomination_is_known(tmp_path: Path) -> None:
    latest, earlier = _tarball(tmp_path, "2026.1.2", {"SYP": 110}), _tarball(tmp_path, "2025.12.31", {"SYP": 11000})

    built = build_rates(latest, earlier, MONEY)

    assert (built["rates"], built["days"]) == ({"SYP": 110, "USD": 1}, {})


@pytest.mark.parametrize(
    ("now", "message"),
    [
        ({"EUR": -1}, "the rate of EUR is -1"),
        ({"USD": 1.1}, "the US dollar is not 1"),
        ({"EUR": 0.9, "DEM": 1.9}, "DEM is 2.11111 per EUR, and fixed at 1.95583"),
        ({"GHS": 1100}, "GHS changed 100 times since 2026-07-04, and no known redenomination explains it"),
        ({"SYP": 1526}, "SYP changed 14 times since 2026-07-04, and no known redenomination explains it"),
        ({"GHS": 17}, "GHS went from 11 to 17; if that is right, list it with its reason"),
        ({"AED": 3.8}, "AED is 3.8 per USD, and pegged at 3.6725"),
        ({"GBP": 0.75, "GGP": 0.8}, "GGP is 1.06667 per GBP, and pegged at 1"),
        ({"HKD": 7.9}, "HKD is 7.9 per USD, and pegged at 7.8"),
    ],
)
def test_rates_that_cannot_be_right_are_refused(tmp_path: Path, now: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _build(tmp_path, {"GHS": 11, "SYP": 109, "AED": 3.6725}, now)


def test_rates_that_differ_from_the_central_banks_are_found() -> None:
    rates = json.loads((DATA / "rates.json").read_text("utf-8"))["rates"]

    field = compare_rates(rates | {"CHF": 1.5}, date(2026, 9, 29))

    assert [(found.alpha2, found.ours) for found in field.off] == [("CHF", "1.5")]
    with pytest.raises(ValueError, match="no rates for the week before 2030-01-01"):
        compare_rates(rates, date(2030, 1, 1))


def test_the_bundled_rates_pass_the_gates() -> None:
    rates = json.loads((DATA / "rates.json").read_text("utf-8"))["rates"]

    check_pegs(rates, MONEY["pegs"])


def test_script_that_refuses_leaves_the_files_as_they_were(tmp_path: Path) -> None:
    for version in ("2026.7.4", "2026.9.29"):
        _tarball(tmp_path, version, {"AED": 3.9})
    target = tmp_path / "data"
    target.mkdir()
    (target / "rates.json").write_text("untouched", "utf-8")
    command = [sys.executable, "scripts/update-bundled-data", "--only", "rates"]

    done = subprocess.run(
        [*command, "--from", str(tmp_path), "--to", str(target)], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (1, "update-bundled-data: AED is 3.9 per USD, and pegged at 3.6725\n")
    assert (target / "rates.json").read_text("utf-8") == "untouched"


def test_check_data_finds_no_value_that_differs_without_a_reason(
    capsys: pytest.CaptureFixture[str], monkeypatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["check-data"])

    assert check_data() == 0

    lines = capsys.readouterr().out.splitlines()
    rows = (line.split() for line in lines[1:12])
    table = {name: [int(number) for number in numbers[:4]] for name, *numbers in rows}
    assert table == {
        "alpha2": [250, 0, 0, 0],
        "alpha3": [250, 0, 0, 0],
        "numeric": [250, 0, 0, 0],
        "name": [250, 0, 0, 0],
        "spellings": [249, 1, 0, 0],
        "region": [242, 8, 0, 0],
        "capitals": [249, 1, 0, 0],
        "currencies": [250, 0, 0, 0],
        "population": [225, 25, 0, 0],
        "reference_gdp": [201, 21, 0, 28],
        "rates": [29, 0, 0, 0],
    }
    missing = lines[12:]
    assert len(missing) == 28
    assert missing[0] == "reference_gdp AQ: none; second source none: no permanent inhabitants"
    assert not [line for line in missing if not line.startswith("reference_gdp ") or "NO REASON" in line]
