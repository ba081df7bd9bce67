"""The estimate of GDP."""

import pytest

from app.refresh.gdp import estimate_gdp


@pytest.mark.parametrize(
    ("population", "currency", "rate", "multiplier", "expected"),
    [
        (1000, "EXD", 4.0, 1500.5, 375125.0),
        (1000, None, None, 1500, 0),
        (1000, "EXD", None, 1500, None),
        (10_000_000_000, "EXD", 1e-12, 2000, pytest.approx(2e25)),
    ],
)
def test_estimate_is_population_times_multiplier_over_rate(population, currency, rate, multiplier, expected):
    assert estimate_gdp(population, currency, rate, multiplier=multiplier) == expected


@pytest.mark.parametrize("rate", [0.0, -1.0])
def test_rate_that_is_not_positive_is_an_error(rate):
    with pytest.raises(ValueError, match="must be positive"):
        estimate_gdp(1000, "EXD", rate, multiplier=1500)
