"""The estimate of a country's GDP. Pure: no clock, no randomness, no database."""


def estimate_gdp(population: int, currency_code: str | None, rate: float | None, *, multiplier: float) -> float | None:
    """Estimate a country's GDP in US dollars: population x multiplier / rate.

    Args:
        population: People, zero or more.
        currency_code: None for a country without a currency, whose estimate is 0.
        rate: Units of local currency per US dollar; None if not quoted, and then so is the estimate.
        multiplier: Assumed yearly output per person in local currency. No source publishes it: the caller draws it.

    Raises:
        ValueError: The rate is zero or negative, so the source is broken.
    """
    if currency_code is None:
        return 0.0
    if rate is None:
        return None
    if rate <= 0:
        raise ValueError(f"exchange rate must be positive, got {rate}")
    return population * multiplier / rate
