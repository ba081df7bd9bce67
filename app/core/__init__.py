"""What every feature stands on: settings, database, HTTP, log and figures. It imports no feature."""
