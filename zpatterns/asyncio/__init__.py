"""The asyncio world of zpatterns: the same names as ``zpatterns``, awaited."""

from .reply import ReplyServer
from .request import RequestClient, Stream

__all__ = ["ReplyServer", "RequestClient", "Stream"]
