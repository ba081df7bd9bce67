"""The servers with which the service is compared."""
