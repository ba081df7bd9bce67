"""Estimates the GDP of a country."""


def estimate_gdp(population: int, currency_code: str | None, rate: float | None, *, multiplier: float) -> float | None:
    """Estimate a country's GDP in US dollars: population x multiplier / rate.

    Args:
        population: People, zero or more.
        currency_code: None where the country has no currency at all.
        rate: Units of local currency for one US dollar; None where the day's
            rates do not quote the currency.
        multiplier: Assumed yearly output per person in local currency. No
            source publishes it; the caller draws it from 1000 to 2000.

    Returns:
        None where the currency is not quoted; 0 where there is no currency.

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
