"""The asyncio world of zpatterns: the same names as ``zpatterns``, awaited."""

from .proxy import Proxy
from .reply import ReplyServer
from .request import RequestClient, Stream

__all__ = ["Proxy", "ReplyServer", "RequestClient", "Stream"]
