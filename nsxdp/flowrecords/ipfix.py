"""Flow records as IPFIX (RFC 7011), for a collector that is reached by UDP.

Counts are those since the connection began; those of the answers are RFC 5103's reverse elements.
For pods, Services and policies IANA has no elements; Antrea's registry has, and its collectors show
them, so these are used (enterprise 56506). Where the datapath doesn't count, records are of a
template without counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache, partial
from ipaddress import ip_address
from struct import pack
from typing import Final, NamedTuple

from nsxdp.flowrecords.record import PROTOCOLS, FlowRecord

__all__ = ["Encoder"]

_VERSION: Final = 10
_HEADER: Final = 16
_SET_HEADER: Final = 4
_EMPTY: Final = _HEADER + _SET_HEADER
_TEMPLATES: Final = 2
"""The id of a set of templates."""
_FIRST_TEMPLATE: Final = 256
_VARIABLE: Final = 0xFFFF

_REVERSE: Final = 29305
_ANTREA: Final = 56506

_MOST: Final = 1232
"""Bytes of a message: with UDP's and IPv6's headers what every network carries."""
_LONGEST_NAME: Final = 96
"""Bytes that are sent of one, so that a record always fits in a message."""

_REASONS: Final = {"idle": 1, "active": 2, "end": 3, "denied": 3}
"""flowEndReason."""
_EVENTS: Final = {"idle": 2, "active": 5, "end": 2, "denied": 3}
"""firewallEvent: deleted, updated, denied."""
_NO_ACTION: Final = 0
_ALLOW: Final = 1
_DROP: Final = 2
"""NetworkPolicyRuleAction."""


class _Field(NamedTuple):
    """An information element.

    Attributes
    ----------
    enterprise
        0: it is IANA's.
    """

    number: int
    length: int
    encode: Callable[[FlowRecord], bytes]
    enterprise: int = 0


def _u16(number: int) -> bytes:
    return pack("!H", number)


def _u64(number: int | None) -> bytes:
    return pack("!Q", number or 0)


def _milliseconds(seconds: float) -> bytes:
    return pack("!Q", round(seconds * 1000))


def _text(text: str) -> bytes:
    data = text.encode()
    if len(data) > _LONGEST_NAME:
        data = data[:_LONGEST_NAME].decode(errors="ignore").encode()
    return bytes([len(data)]) + data


def _text_of(of: Callable[[FlowRecord], str], record: FlowRecord) -> bytes:
    return _text(of(record))


def _address(text: str) -> bytes:
    return ip_address(text).packed


def _namespace(name: str) -> str:
    return name.rpartition("/")[0]


def _short(name: str) -> str:
    return name.rpartition("/")[2]


def _protocol(record: FlowRecord) -> bytes:
    number = PROTOCOLS.get(record.protocol)
    if number is None:
        number = int(record.protocol) if record.protocol.isdigit() else 0xFF
    return bytes([number & 0xFF])


class _Decision(NamedTuple):
    """What policies decided in a direction.

    Attributes
    ----------
    policy
        ``default/web``.
    rule
        ``ingress[0]``.
    action
        Antrea's number.
    """

    policy: str = ""
    rule: str = ""
    action: int = _NO_ACTION


def _decision(record: FlowRecord, direction: str) -> _Decision:
    """By whom, and what, policies decided in a direction."""
    if record.verdict == "deny":
        if record.direction != direction:
            return _Decision()
        return _Decision(record.policy.rpartition(" ")[2], record.rule, _DROP)
    by = record.egress_rule if direction == "egress" else record.ingress_rule
    if not by:
        return _Decision()
    policy, _, rule = by.rpartition(" ")
    return _Decision(policy.rpartition(" ")[2], rule, _ALLOW)


def _names() -> Iterator[_Field]:
    """Antrea's elements."""
    texts: tuple[tuple[int, Callable[[FlowRecord], str]], ...] = (
        (100, lambda r: _namespace(r.source_pod)),
        (101, lambda r: _short(r.source_pod)),
        (102, lambda r: _namespace(r.destination_pod)),
        (103, lambda r: _short(r.destination_pod)),
        (104, lambda r: r.source_node),
        (105, lambda r: r.destination_node),
        (109, lambda r: r.service),
        (110, lambda r: _short(_decision(r, "ingress").policy)),
        (111, lambda r: _namespace(_decision(r, "ingress").policy)),
        (112, lambda r: _short(_decision(r, "egress").policy)),
        (113, lambda r: _namespace(_decision(r, "egress").policy)),
        (141, lambda r: _decision(r, "ingress").rule),
        (142, lambda r: _decision(r, "egress").rule),
    )
    for number, of in texts:
        yield _Field(number, _VARIABLE, partial(_text_of, of), _ANTREA)
    yield _Field(139, 1, lambda r: bytes([_decision(r, "ingress").action]), _ANTREA)
    yield _Field(140, 1, lambda r: bytes([_decision(r, "egress").action]), _ANTREA)


class _Kind(NamedTuple):
    """What records have in common that are of one template."""

    version: int
    counted: bool

    @property
    def number(self) -> int:
        """The template's."""
        return _FIRST_TEMPLATE + _KINDS.index(self)


_KINDS: Final = tuple(_Kind(version, counted) for version in (4, 6) for counted in (True, False))

_COUNTS: Final = (
    _Field(86, 8, lambda r: _u64(r.packets)),
    _Field(85, 8, lambda r: _u64(r.bytes)),
    _Field(86, 8, lambda r: _u64(r.reply_packets), _REVERSE),
    _Field(85, 8, lambda r: _u64(r.reply_bytes), _REVERSE),
)


@lru_cache
def _fields(kind: _Kind) -> tuple[_Field, ...]:
    """The elements of a record."""
    four = kind.version == 4
    width = 4 if four else 16
    return (
        _Field(8 if four else 27, width, lambda r: _address(r.source)),
        _Field(12 if four else 28, width, lambda r: _address(r.destination)),
        _Field(7, 2, lambda r: _u16(r.source_port)),
        _Field(11, 2, lambda r: _u16(r.destination_port)),
        _Field(4, 1, _protocol),
        _Field(152, 8, lambda r: _milliseconds(r.start)),
        _Field(153, 8, lambda r: _milliseconds(r.end)),
        *(_COUNTS if kind.counted else ()),
        _Field(136, 1, lambda r: bytes([_REASONS[r.reason]])),
        _Field(233, 1, lambda r: bytes([_EVENTS[r.reason]])),
        _Field(
            106 if four else 107,
            width,
            lambda r: _address(r.service_address) if r.service_address else bytes(width),
            _ANTREA,
        ),
        _Field(108, 2, lambda r: _u16(r.service_port), _ANTREA),
        *_names(),
    )


def _template(kind: _Kind) -> bytes:
    data = pack("!HH", kind.number, len(_fields(kind)))
    for field in _fields(kind):
        if field.enterprise:
            data += pack("!HHI", field.number | 0x8000, field.length, field.enterprise)
        else:
            data += pack("!HH", field.number, field.length)
    return data


def _set(number: int, content: bytes) -> bytes:
    return pack("!HH", number, _SET_HEADER + len(content)) + content


class Encoder:
    r"""Encodes records for one collector.

    Parameters
    ----------
    domain
        The observation domain's id: another one for each node.

    Examples
    --------
    >>> from nsxdp.flowrecords.ipfix import Encoder
    >>> from nsxdp.flowrecords.record import FlowRecord
    >>> record = FlowRecord(
    ...     node="node-1", start=1.0, end=2.0, verdict="allow", reason="end", protocol="UDP",
    ...     source="10.244.0.3", source_port=5000, destination="10.244.1.3", destination_port=53,
    ... )
    >>> encoder = Encoder(1)
    >>> [message[:2] for message in encoder.messages([record], 2.0)]
    [b'\x00\n']
    """

    def __init__(self, domain: int) -> None:
        self._domain = domain & 0xFFFF_FFFF
        self._sequence = 0

    def templates(self, now: float) -> bytes:
        """The message with the templates: a collector needs it first, and again and again."""
        return self._message(_set(_TEMPLATES, b"".join(map(_template, _KINDS))), now, 0)

    def messages(self, records: Iterable[FlowRecord], now: float) -> Iterator[bytes]:
        """The messages with these records, each of them a datagram."""
        waiting: dict[_Kind, list[bytes]] = {kind: [] for kind in _KINDS}
        sizes = dict.fromkeys(_KINDS, _EMPTY)
        for record in records:
            kind = _Kind(6 if ":" in record.source else 4, record.packets is not None)
            data = b"".join(field.encode(record) for field in _fields(kind))
            if sizes[kind] + len(data) > _MOST:
                yield self._records(kind, waiting[kind], now)
                waiting[kind], sizes[kind] = [], _EMPTY
            waiting[kind].append(data)
            sizes[kind] += len(data)
        for kind, left in waiting.items():
            if left:
                yield self._records(kind, left, now)

    def _records(self, kind: _Kind, records: list[bytes], now: float) -> bytes:
        return self._message(_set(kind.number, b"".join(records)), now, len(records))

    def _message(self, sets: bytes, now: float, records: int) -> bytes:
        header = (_VERSION, _HEADER + len(sets), int(now), self._sequence, self._domain)
        self._sequence = (self._sequence + records) & 0xFFFF_FFFF
        return pack("!HHIII", *header) + sets
