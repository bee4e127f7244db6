"""What is told of a connection, or of one that policies denied."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

__all__ = ["PROTOCOLS", "FlowRecord", "Reason", "Verdict", "as_line"]

Verdict = Literal["allow", "deny"]
Reason = Literal["end", "idle", "active", "denied"]
"""Why a record is written: the connection was closed; it is tracked no more; it goes on, and is
told of once in a while; it never came about."""

PROTOCOLS: Final = {"ICMP": 1, "TCP": 6, "UDP": 17, "ICMPv6": 58, "SCTP": 132}
"""IANA's numbers."""


class FlowRecord(Struct, frozen=True, kw_only=True):
    """A connection.

    Attributes
    ----------
    node
        That tells of it.
    start, end
        Seconds since 1970; `start` is when it was first seen.
    verdict
        Whether policies let it come about.
    policy, rule, direction
        Who denied it; empty of one that was allowed.
    egress_rule, ingress_rule
        Which rule let it out of the source, and which into the destination, of those that there
        are when it is told: ``NetworkPolicy default/web ingress[0]``. Empty: none has to, the pod
        is on another node, or it was denied.
    protocol
        ``TCP``, ``UDP`` ..., or IANA's number.
    source, destination
        Addresses; of a Service, the destination is the endpoint.
    source_port, destination_port
        0: the protocol has none.
    source_pod, destination_pod
        ``namespace/name``; empty: no pod of the cluster.
    source_node, destination_node
        The nodes of these pods; empty: it isn't known, or no pod.
    service
        The Service port by which it came; empty: by none, or it isn't known.
    service_address, service_port
        Where it was sent, if that was translated to `destination`; empty and 0: it wasn't.
    packets, bytes, reply_packets, reply_bytes
        Since it began, there and back; None: the datapath doesn't count.
    """

    node: str
    start: float
    end: float
    verdict: Verdict
    reason: Reason
    protocol: str
    source: str
    source_port: int
    source_pod: str = ""
    source_node: str = ""
    destination: str
    destination_port: int
    destination_pod: str = ""
    destination_node: str = ""
    service: str = ""
    service_address: str = ""
    service_port: int = 0
    packets: int | None = None
    bytes: int | None = None
    reply_packets: int | None = None
    reply_bytes: int | None = None
    direction: str = ""
    policy: str = ""
    rule: str = ""
    egress_rule: str = ""
    ingress_rule: str = ""


def as_line(record: FlowRecord) -> bytes:
    """A record as JSON, on a line; times as RFC 3339 has them."""
    told: dict[str, Any] = msgspec.to_builtins(record)
    told["start"], told["end"] = _time(record.start), _time(record.end)
    return msgspec.json.encode(told) + b"\n"


def _time(seconds: float) -> str:
    text = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
