"""Figures of zpatterns beside what one writes by hand and beside NATS, on this machine: ``python -m benchmarks``."""
