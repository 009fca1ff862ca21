"""Tools for testing what is built with zpatterns: handlers behind a client, in memory, or on a virtual clock with faults."""

from ..drive.virtual_world import Faults
from .server import TestServer
from .virtual import VirtualWorld

__all__ = ["Faults", "TestServer", "VirtualWorld"]
