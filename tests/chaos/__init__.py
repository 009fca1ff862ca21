"""Real processes killed, stopped, cancelled and fed garbage, on real sockets: does every call end, and once?

``python -m tests.chaos`` runs the long form and reports; ``tests/test_reliability.py`` runs a short form of each in CI.
"""
