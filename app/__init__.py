"""Country Data & Currency Exchange API.

Base modules know no feature; each folder is one feature. Imports go one way:

    base  <-  rates  <-  countries

Only ``main``, ``models``, ``status`` and ``__main__`` import the features.
Inside a feature: router -> crud -> sources, pure functions, models.
"""

__version__ = "0.1.0"
