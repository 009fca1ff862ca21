from __future__ import annotations

import socket
from collections.abc import Iterable
from dataclasses import FrozenInstanceError
from pathlib import PurePosixPath
from typing import Any

import pytest

from zpatterns.endpoint import MAX_INPROC_NAME, MAX_IPC_PATH, Endpoint, Insecure, guard, parse
from zpatterns.errors import ConfigurationError, InsecureEndpointError

# Reading --------------------------------------------------------------------------------------------------------------

GOOD = [
    ("inproc://a", Endpoint("inproc", "a")),
    ("inproc://" + "a" * 255, Endpoint("inproc", "a" * 255)),
    ("ipc:///run/a.sock", Endpoint("ipc", "/run/a.sock")),
    ("ipc://a b", Endpoint("ipc", "a b")),
    ("ipc://" + "a" * 107, Endpoint("ipc", "a" * 107)),
    ("ipc://@name", Endpoint("ipc", "@name")),
    ("ipc://@name/", Endpoint("ipc", "@name/")),
    ("ipc://*", Endpoint("ipc", "*")),
    ("tcp://127.0.0.1:5555", Endpoint("tcp", "127.0.0.1:5555", "127.0.0.1", 5555)),
    ("tcp://127.0.0.1:65535", Endpoint("tcp", "127.0.0.1:65535", "127.0.0.1", 65535)),
    ("tcp://127.0.0.1:*", Endpoint("tcp", "127.0.0.1:*", "127.0.0.1", None)),
    ("tcp://*:0", Endpoint("tcp", "*:0", "*", 0)),
    ("tcp://my-host.example.:1", Endpoint("tcp", "my-host.example.:1", "my-host.example.", 1)),
    ("tcp://[::1]:1", Endpoint("tcp", "[::1]:1", "::1", 1)),
    ("tcp://[fe80::1%eth0.5]:1", Endpoint("tcp", "[fe80::1%eth0.5]:1", "fe80::1%eth0.5", 1)),
    ("tcp://10.0.0.1:0;h:5", Endpoint("tcp", "10.0.0.1:0;h:5", "h", 5, "10.0.0.1:0")),
    ("tcp://eth0:*;h:5", Endpoint("tcp", "eth0:*;h:5", "h", 5, "eth0:*")),
    ("tcp://[::1]:0;[::2]:5", Endpoint("tcp", "[::1]:0;[::2]:5", "::2", 5, "[::1]:0")),
    ("pgm://10.0.0.1;239.1.1.1:5", Endpoint("pgm", "10.0.0.1;239.1.1.1:5", "239.1.1.1", 5, "10.0.0.1")),
    ("epgm://[::1];[ff02::1]:5", Endpoint("epgm", "[::1];[ff02::1]:5", "ff02::1", 5, "[::1]")),
]


@pytest.mark.parametrize(("text", "endpoint"), GOOD)
def test_parse(text: str, endpoint: Endpoint) -> None:
    assert parse(text) == endpoint
    assert str(parse(text)) == text


# (text, what the message says is wrong, what it says to do)
BAD = [
    ("localhost:5555", "no transport", "tcp://127.0.0.1:5555"),
    ("", "no transport", "transport://address"),
    ("TCP://127.0.0.1:1", "unknown transport 'TCP'", "did you mean tcp://?"),
    (" tcp://127.0.0.1:1", "unknown transport", "did you mean tcp://?"),
    ("tpc://127.0.0.1:1", "unknown transport", "did you mean tcp://?"),
    ("ip:///a", "unknown transport", "did you mean ipc://?"),
    ("ws://127.0.0.1:1", "unknown transport", "inproc, ipc, tcp, pgm, epgm"),
    ("://127.0.0.1:1", "unknown transport ''", "the transports are"),
    ("inproc://", "nothing after ://", "write a name"),
    ("ipc://", "nothing after ://", "write a name"),
    ("tcp://", "nothing after ://", "tcp://127.0.0.1:5555"),
    ("pgm://", "nothing after ://", "an address"),
    ("inproc://a\0b", "NUL", "remove it"),
    ("ipc:///a\0b", "NUL", "remove it"),
    ("tcp://127.0.0.1:1\0", "NUL", "remove it"),
    ("inproc://" + "a" * 256, "256 bytes", "shorter name"),
    ("inproc://" + "ä" * 128, "256 bytes", "shorter name"),
    ("inproc://\udcff", "UTF-8", "surrogates"),
    ("ipc:///" + "a" * 107, "108 bytes", "shorter path"),
    ("ipc:///" + "ä" * 54, "109 bytes", "at most 107"),
    ("ipc://@" + "a" * 107, "108 bytes", "shorter path"),
    ("ipc:///\udcff", "UTF-8", "surrogates"),
    ("ipc://@", "abstract name without characters", "ipc://@name"),
    ("ipc:///tmp/", "a folder", "the socket file itself"),
    ("ipc://..", "a folder", "the socket file itself"),
    ("ipc:///tmp/.", "a folder", "the socket file itself"),
    ("tcp://127.0.0.1", "no port in '127.0.0.1'", "host:port"),
    ("tcp://[::1]", "no port", "host:port"),
    ("tcp://5555", "no port", "tcp://127.0.0.1:5555"),
    ("tcp://127.0.0.1:", "'' for a port", "from 0 to 65535"),
    ("tcp://127.0.0.1:65536", "'65536' for a port", "from 0 to 65535"),
    ("tcp://127.0.0.1:123456", "for a port", "from 0 to 65535"),
    ("tcp://127.0.0.1:-1", "'-1' for a port", "a number"),
    ("tcp://127.0.0.1:80x", "'80x' for a port", "a number"),
    ("tcp://127.0.0.1: 80", "' 80' for a port", "a number"),
    ("tcp://127.0.0.1:080", "'080' for a port", "a number"),
    ("tcp://127.0.0.1:00", "'00' for a port", "a number"),
    ("tcp://127.0.0.1:٨٠", "for a port", "a number"),
    ("tcp://127.0.0.1:8٠", "for a port", "a number"),
    ("tcp://127.0.0.1:80/path", "'80/path' for a port", "a number"),
    ("tcp://::1:5555", "IPv6 address without brackets", "tcp://[::1]:5555"),
    ("tcp://fe80::1:5555", "without brackets", "tcp://[::1]:5555"),
    ("tcp://[::1:5555", "without brackets", "tcp://[::1]:5555"),
    ("tcp://[127.0.0.1]:5555", "'127.0.0.1' in brackets", "only an IPv6 address"),
    ("tcp://[*]:5555", "in brackets", "only an IPv6 address"),
    ("tcp://[lo]:5555", "in brackets", "only an IPv6 address"),
    ("tcp://[]:5555", "in brackets", "only an IPv6 address"),
    ("tcp://[::1% ]:5555", "in brackets", "only an IPv6 address"),
    ("tcp://:5555", "'' for a host", "host:port"),
    ("tcp://a b:5555", "'a b' for a host", "host:port"),
    ("tcp://user@host:5555", "for a host", "host:port"),
    ("tcp://_x:5555", "for a host", "host:port"),
    ("tcp://lokäl:5555", "for a host", "host:port"),
    ("tcp://１２７.0.0.1:5555", "for a host", "host:port"),
    ("tcp://127.0.0.1%lo:5555", "for a host", "host:port"),
    ("tcp://127.0.0.1;h:5555", "no port in '127.0.0.1'", "source:port;host:port"),
    ("tcp://127.0.0.1:0;", "no port in ''", "host:port"),
    ("tcp://;h:5555", "no port in ''", "source:port;host:port"),
    ("tcp://a:0;b:0;c:1", "'a:0;b' for a host", "source:port;host:port"),
    ("tcp://*:0;h:1", "* as its source", "an address or interface"),
    ("tcp://127.0.0.1:x;h:1", "'x' for a port", "a number"),
    ("epgm://239.192.1.1:5555", "no interface", "epgm://10.0.0.1;239.192.1.1:5555"),
    ("pgm://;239.192.1.1:5555", "no interface", "pgm://10.0.0.1;239.192.1.1:5555"),
    ("pgm://10.0.0.1;239.192.1.1", "no port", "interface;group:port"),
    ("epgm://[::1];[ff02::1]", "no port", "interface;group:port"),
    ("epgm://lo;239.192.1.1:5555", "'lo' for an interface", "IP address on this host"),
    ("epgm://127.1;239.192.1.1:5555", "'127.1' for an interface", "IP address"),
    ("epgm://0.0.0.0;239.192.1.1:5555", "for an interface", "IP address"),
    ("epgm://239.192.1.1;239.192.1.1:5555", "for an interface", "IP address"),
    ("epgm://::1;ff02::1:5555", "for an interface", "IP address"),
    ("epgm://[10.0.0.1];239.192.1.1:5555", "for an interface", "IP address"),
    ("epgm://10.0.0.1;10.0.0.2:5555", "'10.0.0.2' for a group", "IPv4 multicast address"),
    ("epgm://10.0.0.1;group:5555", "'group' for a group", "multicast address"),
    ("epgm://10.0.0.1;[ff02::1]:5555", "for a group", "IPv4 multicast address"),
    ("epgm://10.0.0.1;239.1.1.1,239.1.1.2:5", "for a group", "multicast address"),
    ("epgm://10.0.0.1;239.1.1.1;239.1.1.2:5", "for a group", "multicast address"),
    ("epgm://10.0.0.1;239.192.1.1:0", "'0' for a port", "from 1 to 65535"),
    ("epgm://10.0.0.1;239.192.1.1:*", "'*' for a port", "from 1 to 65535"),
    ("epgm://10.0.0.1;239.192.1.1:70000", "for a port", "from 1 to 65535"),
]


@pytest.mark.parametrize(("text", "wrong", "advice"), BAD)
def test_parse_refuses(text: str, wrong: str, advice: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(text)
    message = str(caught.value)
    assert wrong in message
    assert advice in message
    assert repr(text) in message
    assert not isinstance(caught.value, InsecureEndpointError)


def test_a_long_text_is_quoted_in_part() -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse("inproc://" + "a" * 10_000)
    assert len(str(caught.value)) < 600
    assert "aaa'..." in str(caught.value)


BIND_ONLY = [
    ("tcp://*:5555", "names no host to connect to"),
    ("tcp://127.0.0.1:*", "names no port to connect to"),
    ("tcp://127.0.0.1:0", "names no port to connect to"),
    ("ipc://*", "names no path to connect to"),
]


@pytest.mark.parametrize(("text", "wrong"), BIND_ONLY)
def test_bind_only(text: str, wrong: str) -> None:
    assert parse(text, bind=True) == parse(text)
    with pytest.raises(ConfigurationError, match=wrong):
        parse(text, bind=False)


def test_a_source_address_is_for_connect_only() -> None:
    text = "tcp://10.0.0.1:0;10.0.0.2:5555"
    assert parse(text, bind=False) == parse(text)
    with pytest.raises(ConfigurationError, match=r"bind to tcp://10\.0\.0\.2:5555"):
        parse(text, bind=True)


@pytest.mark.parametrize("text", ["inproc://a", "ipc:///a", "ipc://@a", "tcp://h:1", "pgm://10.0.0.1;239.1.1.1:5"])
def test_both_sides_may_write(text: str) -> None:
    assert parse(text, bind=True) == parse(text, bind=False) == parse(text)


def test_ipv6() -> None:
    assert parse("tcp://[::]:5").ipv6
    assert parse("tcp://[::1]:0;localhost:5").ipv6
    assert not parse("tcp://localhost:5").ipv6
    assert not parse("pgm://[::1];[ff02::1]:5").ipv6  # the option is tcp's
    assert not parse("ipc://[::1]:5").ipv6


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("ipc:///run/a", PurePosixPath("/run/a")),
        ("ipc://a/b", PurePosixPath("a/b")),
        ("ipc://@a", None),
        ("ipc://*", None),
        ("inproc:///run/a", None),
        ("tcp://127.0.0.1:1", None),
    ],
)
def test_path(text: str, path: PurePosixPath | None) -> None:
    assert parse(text).path == path


def test_limits_are_those_of_libzmq() -> None:
    assert (MAX_IPC_PATH, MAX_INPROC_NAME) == (107, 255)


@pytest.mark.parametrize("value", [Insecure(), parse("inproc://a")])
def test_values_are_frozen(value: Any) -> None:
    assert not hasattr(value, "__dict__")
    assert hash(value) == hash(type(value)(*(getattr(value, name) for name in value.__slots__)))
    with pytest.raises((FrozenInstanceError, TypeError)):
        value.address = "b"


# The guard ------------------------------------------------------------------------------------------------------------

HOSTS = {
    "localhost": ["127.0.0.1", "::1"],
    "loopback6": ["::1"],
    "here.example": ["127.0.0.1", "127.0.1.1"],
    "there.example": ["192.0.2.7"],
    "mixed.example": ["127.0.0.1", "192.0.2.7"],
    "mixed-first.example": ["192.0.2.7", "127.0.0.1"],
    "mixed6.example": ["::1", "2001:db8::1"],
    "mapped.example": ["::ffff:127.0.0.1"],
    "zoned.example": ["::1%lo"],
    "silent.example": [],
    "garbage.example": ["not an address"],
}


def resolve(host: str) -> list[str]:
    """As getaddrinfo: names from a table, IPv4 in all spellings of inet_aton, else gaierror."""
    if host in HOSTS:
        return HOSTS[host]
    if host == "label" + "l" * 64:
        raise UnicodeError("label too long")
    try:
        return [socket.inet_ntoa(socket.inet_aton(host))]
    except OSError:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known") from None


LOOPBACK = [
    "127.0.0.1",
    "127.0.0.2",
    "127.255.255.254",
    "127.1",
    "127.0.1",
    "2130706433",
    "0x7f.1",
    "0x7f000001",
    "0X7F.0.0.1",
    "0177.0.0.1",
    "017700000001",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[0000::0001]",
    "[::0.0.0.1]",
    "localhost",
    "loopback6",
    "here.example",
]
BEYOND = [
    ("*", "every network"),
    ("0.0.0.0", "not loopback"),
    ("0", "resolves to 0.0.0.0"),
    ("0x0", "resolves to 0.0.0.0"),
    ("[::]", "not loopback"),
    ("10.0.0.5", "not loopback"),
    ("172.16.0.1", "not loopback"),
    ("192.168.1.1", "not loopback"),
    ("169.254.1.1", "not loopback"),
    ("8.8.8.8", "not loopback"),
    ("255.255.255.255", "not loopback"),
    ("128.0.0.1", "not loopback"),
    ("126.255.255.255", "not loopback"),
    ("0127.0.0.1", "resolves to 87.0.0.1"),
    ("10.1", "resolves to 10.0.0.1"),
    ("134744072", "resolves to 8.8.8.8"),
    ("0x8.0x8.2056", "resolves to 8.8.8.8"),
    ("127", "resolves to 0.0.0.127"),
    ("127.0.0.256", "did not resolve"),
    ("4294967296", "did not resolve"),
    ("[::ffff:127.0.0.1]", "not loopback"),
    ("[::ffff:7f00:1]", "not loopback"),
    ("[::ffff:10.0.0.1]", "not loopback"),
    ("[::127.0.0.1]", "not loopback"),
    ("[::1%lo]", "not loopback"),
    ("[fe80::1%eth0]", "not loopback"),
    ("[fd00::1]", "not loopback"),
    ("[2001:db8::1]", "not loopback"),
    ("eth0", "did not resolve"),
    ("lo", "did not resolve"),
    ("there.example", "resolves to 192.0.2.7"),
    ("mixed.example", "resolves to 192.0.2.7"),
    ("mixed-first.example", "resolves to 192.0.2.7"),
    ("mixed6.example", "resolves to 2001:db8::1"),
    ("mapped.example", "resolves to ::ffff:127.0.0.1"),
    ("zoned.example", "resolves to ::1%lo"),
    ("silent.example", "did not resolve"),
    ("garbage.example", "resolves to not an address"),
    ("nowhere.example", "did not resolve (["),
    ("localhost.evil.example", "did not resolve"),
    ("127.0.0.1.evil.example", "did not resolve"),
    ("label" + "l" * 64, "did not resolve (label too long)"),
]


def check(text: str, *, bind: bool, secured: bool = False, insecure: bool = False) -> None:
    guard(parse(text), secured=secured, insecure=insecure, bind=bind, resolve=resolve)


def test_the_matrix_is_as_large_as_promised() -> None:
    assert len({*LOOPBACK, *(host for host, _ in BEYOND)}) >= 40


@pytest.mark.parametrize("bind", [True, False])
@pytest.mark.parametrize("host", LOOPBACK)
def test_loopback_passes(host: str, bind: bool) -> None:
    check(f"tcp://{host}:5555", bind=bind)


@pytest.mark.parametrize("bind", [True, False])
@pytest.mark.parametrize(("host", "why"), BEYOND)
def test_plaintext_beyond_loopback_is_refused(host: str, why: str, bind: bool) -> None:
    text = f"tcp://{host}:5555"
    with pytest.raises(InsecureEndpointError) as caught:
        check(text, bind=bind)
    message = str(caught.value)
    assert repr(text) in message
    assert why in message
    assert f"{'bind' if bind else 'connect'} to tcp://127.0.0.1:5555 or to an ipc:// path" in message
    assert "security=Insecure()" in message
    assert "curve" not in message.lower()  # the ways out named are those that exist


@pytest.mark.parametrize("bind", [True, False])
@pytest.mark.parametrize("host", [*LOOPBACK, *(host for host, _ in BEYOND)])
def test_secured_or_insecure_passes_without_resolving(host: str, bind: bool) -> None:
    def never(host: str) -> Iterable[str]:
        raise AssertionError(host)

    for given in ({"secured": True, "insecure": False}, {"secured": False, "insecure": True}):
        guard(parse(f"tcp://{host}:5555"), bind=bind, resolve=never, **given)


@pytest.mark.parametrize("text", ["inproc://0.0.0.0:1", "ipc:///run/a", "ipc://@a", "ipc://*"])
def test_what_stays_on_the_host_passes(text: str) -> None:
    check(text, bind=True)


def test_only_the_destination_counts() -> None:
    check("tcp://10.0.0.1:0;127.0.0.1:5555", bind=False)
    check("tcp://eth0:0;localhost:5555", bind=False)
    with pytest.raises(InsecureEndpointError):
        check("tcp://127.0.0.1:0;10.0.0.1:5555", bind=False)


@pytest.mark.parametrize(("port", "shown"), [("*", "*"), ("0", "0")])
def test_a_port_to_be_chosen_is_kept_in_the_advice(port: str, shown: str) -> None:
    with pytest.raises(InsecureEndpointError) as caught:
        check(f"tcp://*:{port}", bind=True)
    assert f"bind to tcp://127.0.0.1:{shown} " in str(caught.value)


@pytest.mark.parametrize("transport", ["pgm", "epgm"])
@pytest.mark.parametrize("bind", [True, False])
@pytest.mark.parametrize("interface", ["10.0.0.1", "127.0.0.1"])
def test_multicast_is_network_plaintext(transport: str, bind: bool, interface: str) -> None:
    text = f"{transport}://{interface};239.192.1.1:5555"
    for secured in (False, True):  # CURVE has no handshake there
        with pytest.raises(InsecureEndpointError, match="multicast") as caught:
            check(text, bind=bind, secured=secured)
        assert "tcp://127.0.0.1:5555" in str(caught.value)
    check(text, bind=bind, insecure=True)


@pytest.mark.parametrize("error", [OSError("no route"), ValueError("bad name"), UnicodeError("idna")])
@pytest.mark.parametrize("bind", [True, False])
def test_a_failing_resolver_is_not_loopback(error: Exception, bind: bool) -> None:
    def fails(host: str) -> Iterable[str]:
        yield "127.0.0.1"
        raise error

    with pytest.raises(InsecureEndpointError, match="did not resolve"):
        guard(parse("tcp://localhost:1"), secured=False, insecure=False, bind=bind, resolve=fails)
