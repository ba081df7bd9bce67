"""Code that all features share: settings, database, HTTP, log and figures. It imports no feature."""
