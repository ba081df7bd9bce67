"""Asks the sources of countries and rates at the same time."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from app.sources.countries import CountryList
from app.sources.rate_shapes import Quotes


@dataclass(frozen=True)
class RefreshOrder:
    """What is asked of a refresh; callers with equal orders share one."""

    country_sources: tuple[str, ...]
    rate_sources: tuple[str, ...]
    force: bool = False
    """Believe rates that moved more than tenfold."""

    @property
    def digest(self) -> str:
        """A fingerprint that can be stored: the sources may be URLs with secrets in them."""
        return hashlib.sha256(repr((self.country_sources, self.rate_sources, self.force)).encode()).hexdigest()


@dataclass(frozen=True)
class Answers:
    """What the two sources said, and the chance that was drawn for it."""

    country_source: str
    countries: CountryList
    rate_source: str
    quotes: Quotes
    multipliers: Sequence[float]
    now: datetime
