"""The name of the API, in its document and on its pages."""

from typing import Final

TITLE: Final = "Country Data & Currency Exchange API"
