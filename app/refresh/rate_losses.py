"""Refuses answers of rate sources after which stored countries would lose their rate."""

from collections.abc import Mapping, Sequence
from datetime import timedelta

from app.core.config.sources import BUNDLED
from app.countries.stored import CountryRow
from app.refresh.losses import are_many
from app.refresh.rates_in_use import newest_rates
from app.sources.rate_checks import KnownRate, known_rates
from app.sources.rate_shapes import Quotes


def find_rate_losses(
    source: str,
    quotes: Quotes,
    *,
    countries: Sequence[CountryRow],
    previous: Mapping[str, Mapping[str, KnownRate]],
    max_age: timedelta,
) -> str | None:
    """Check an answer of a rate source against the rates that the stored countries have.

    Countries and rates are fetched at the same time, so their stored currencies count. Bundled rates may be lost: they
    only stand in until a live source answers, which may quote as few currencies as its operator wants.

    Args:
        source: Name of the source.
        quotes: Its rates, without those that are not believed.
        countries: What is stored now.
        previous: The last stored rates by source: first the source whose rates the countries have.
        max_age: How much older than the others a rate may be.

    Returns:
        A reason to refuse the answer: more than a tenth of the countries, and at least ten, would lose their rate.
    """
    if next(iter(previous), BUNDLED) == BUNDLED:
        return None
    rates = newest_rates(source, known_rates(quotes), previous, max_age=max_age).rates
    lost = sum(country.exchange_rate is not None and country.currency_code not in rates for country in countries)
    if not are_many(lost, stored=len(countries)):
        return None
    return f"would leave {lost} of {len(countries)} stored countries without a rate; force=true accepts it"
