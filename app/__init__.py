"""Country Data & Currency Exchange API.

Each folder is a feature, except ``core``, which knows none of them. Imports go
one way, as the contracts in pyproject.toml say: main -> cli, lifespan ->
refresh, service -> currencies -> rates -> countries -> users, tracking ->
audit -> sources -> core. Inside a feature: router -> crud -> sources, pure
functions, models.
"""

import gc

TITLE = "Country Data & Currency Exchange API"
"""Name of the service, in its document and on its pages."""
__version__ = "0.1.0"

# The imports create 140,000 objects that stay. By default, Python looks for garbage after every 700 new ones, and three
# times among all of them: an eighth of the processor time of a start.
gc.set_threshold(10_000)
