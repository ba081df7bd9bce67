"""The estimate itself."""

import pytest

from app.refresh.gdp import estimate_gdp


def test_estimate_is_population_times_multiplier_over_rate():
    assert estimate_gdp(1000, "EXD", 4.0, multiplier=1500.5) == 375125.0


def test_country_without_a_currency_is_estimated_at_zero():
    assert estimate_gdp(1000, None, None, multiplier=1500) == 0


def test_currency_that_is_not_quoted_has_no_estimate():
    assert estimate_gdp(1000, "EXD", None, multiplier=1500) is None


def test_strongest_currency_and_largest_population_stay_finite():
    assert estimate_gdp(10_000_000_000, "EXD", 1e-12, multiplier=2000) == pytest.approx(2e25)


@pytest.mark.parametrize("rate", [0.0, -1.0])
def test_rate_that_can_not_be_is_an_error(rate):
    with pytest.raises(ValueError, match="must be positive"):
        estimate_gdp(1000, "EXD", rate, multiplier=1500)
