"""What travels: one small record, as in the baseline, 77 bytes of msgpack; and the codec a program by hand would have."""

from __future__ import annotations

import msgpack
import msgspec
from pydantic import BaseModel


class Order(BaseModel):
    id: int
    symbol: str
    price: float
    qty: int
    tags: list[str]
    ts: float


class OrderStruct(msgspec.Struct):
    id: int
    symbol: str
    price: float
    qty: int
    tags: list[str]
    ts: float


VALUES = {
    "id": 1234567890,
    "symbol": "BTC-USDT",
    "price": 67123.4375,
    "qty": 250,
    "tags": ["algo", "day", "vip"],
    "ts": 1732348800.123456,
}
ORDER = Order(**VALUES)
STRUCT = OrderStruct(**VALUES)
BYTES: bytes = msgpack.packb(VALUES)


def encode(order: Order) -> bytes:
    return msgpack.packb(order.model_dump())


def decode(data: bytes) -> Order:
    return Order.model_validate(msgpack.unpackb(data))
