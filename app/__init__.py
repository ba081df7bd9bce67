"""Country Data & Currency Exchange API.

Each folder is a feature, except ``core``, which knows none of them. Imports go
one way, as the contracts in pyproject.toml say: main -> cli, lifespan ->
refresh, service -> rates -> countries -> users, tracking -> audit -> sources
-> core. Inside a feature: router -> crud -> sources, pure functions, models.
"""

import gc

__version__ = "0.1.0"

# The imports create 300,000 objects that stay. By default, Python visits new ones after every 700 of them, and all of
# them three times: an eighth of the time of a start.
gc.set_threshold(10_000)
