"""The sources that COUNTRY_SOURCES and RATE_SOURCES can name, and their addresses."""

from typing import Final

BUNDLED: Final = "bundled"
"""The data that ships with the service; needs no network."""
RESTCOUNTRIES: Final = "restcountries"
"""REST Countries v5 at RESTCOUNTRIES_URL; needs RESTCOUNTRIES_API_KEY."""

COUNTRY_URLS: Final = {
    # The list that the vendor left in its repository: one fixed commit, delivered by a CDN.
    "restcountries-static": "https://cdn.jsdelivr.net/gh/restcountries/restcountries"
    "@bfadee4f951682c29970e53677707bc558e80b74/src/main/resources/countriesV3.1.json",
    "countries.dev": "https://countries.dev/countries"
    "?fields=name,alpha2Code,alpha3Code,capital,region,population,flags,currencies&limit=300",
}
RATE_URLS: Final = {
    "currency-api": (
        "https://cdn.jsdelivr.net/npm/@fawazahmed0/currency-api@latest/v1/currencies/usd.min.json",
        "https://latest.currency-api.pages.dev/v1/currencies/usd.min.json",
    ),
    "frankfurter": ("https://api.frankfurter.dev/v2/rates?base=USD",),
    # Never a default: its terms forbid services that offer rates by an API.
    "open.er-api.com": ("https://open.er-api.com/v6/latest/USD",),
}
"""Several addresses of one source are tried in order."""
DEFAULT_RATE_SOURCES: Final = ("currency-api", "frankfurter")
KEY: Final = "{key}"
"""Placeholder for RATE_API_KEY in the URLs of RATE_SOURCES."""

DEFAULT_COUNTRY_SOURCES: Final = (RESTCOUNTRIES, "countries.dev", BUNDLED)
"""Without ``restcountries-static``, which no longer changes: several of its currencies are withdrawn."""
UNDATED_POPULATIONS: Final = frozenset({"countries.dev", "restcountries-static"})
"""Country sources whose populations have no year, so that the curated ones are used."""

COUNTRY_SOURCE_NAMES: Final = (RESTCOUNTRIES, *COUNTRY_URLS, BUNDLED)
RATE_SOURCE_NAMES: Final = (*RATE_URLS, BUNDLED)
