"""Tools for testing what is built with zpatterns: the handlers of a server, called as a client calls them."""

from .server import TestServer

__all__ = ["TestServer"]
