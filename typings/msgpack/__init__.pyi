# What zpatterns uses of msgpack, which ships no types.
from collections.abc import Callable
from typing import Any, Self

class ExtType:
    code: int
    data: bytes
    def __new__(cls, code: int, data: bytes) -> Self: ...

class Packer:
    def __init__(
        self,
        default: Callable[[Any], object] | None = ...,
        *,
        use_bin_type: bool = ...,
        autoreset: bool = ...,
        strict_types: bool = ...,
        datetime: bool = ...,
    ) -> None: ...
    def pack(self, obj: object, /) -> bytes: ...

class Unpacker:
    def __init__(self, *, max_buffer_size: int = ...) -> None: ...
    def feed(self, data: bytes, /) -> None: ...
    def read_array_header(self) -> int: ...
    def skip(self) -> None: ...
    def tell(self) -> int: ...

def packb(
    o: object,
    *,
    default: Callable[[Any], object] | None = ...,
    use_bin_type: bool = ...,
    strict_types: bool = ...,
    datetime: bool = ...,
) -> bytes: ...
def unpackb(
    packed: bytes | bytearray | memoryview,
    *,
    raw: bool = ...,
    use_list: bool = ...,
    timestamp: int = ...,
    strict_map_key: bool = ...,
    object_hook: Callable[[dict[Any, Any]], object] | None = ...,
    object_pairs_hook: Callable[[list[tuple[Any, Any]]], object] | None = ...,
    ext_hook: Callable[[int, bytes], object] = ...,
    max_str_len: int = ...,
    max_bin_len: int = ...,
    max_array_len: int = ...,
    max_map_len: int = ...,
    max_ext_len: int = ...,
) -> Any: ...
