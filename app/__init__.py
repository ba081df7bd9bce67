"""Country Data & Currency Exchange API.

Each folder is a feature, except ``core``, which knows none of them. Imports go
one way, as the contracts in pyproject.toml say: main -> cli, lifespan ->
refresh, service -> rates -> countries -> users, tracking -> audit -> sources
-> core. Inside a feature: router -> crud -> sources, pure functions, models.
"""

__version__ = "0.1.0"
