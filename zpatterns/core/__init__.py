"""Machines: every reliability rule, once, without I/O, clock, threads or randomness of its own."""
