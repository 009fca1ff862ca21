"""Peers of other makes, from the package registries: ``make interop``. Each is skipped, aloud, where it is not installed."""
