"""The servers beside which the service is measured."""
