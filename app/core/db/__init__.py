"""The database: engines, units of work, leases, migrations."""
