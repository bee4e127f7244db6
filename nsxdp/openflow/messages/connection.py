"""Messages about the connection: greetings, errors, settings, roles, bundles."""

from __future__ import annotations

from typing import ClassVar, Final

from nsxdp.openflow import codec
from nsxdp.openflow.errors import DecodeError
from nsxdp.openflow.messages.message import VERSION, AnyVersion, Message
from nsxdp.openflow.record import (
    Bits,
    Code,
    Part,
    Property,
    others,
    part,
    prop,
    record,
    rest,
    u8,
    u16,
    u32,
    u64,
)

__all__ = [
    "BarrierReply",
    "BarrierRequest",
    "BundleAdd",
    "BundleControl",
    "BundleFlags",
    "BundleKind",
    "Capabilities",
    "ConfigFlags",
    "EchoReply",
    "EchoRequest",
    "Error",
    "FeaturesReply",
    "FeaturesRequest",
    "FlowRemovedReasons",
    "GetAsyncReply",
    "GetAsyncRequest",
    "GetConfigReply",
    "GetConfigRequest",
    "Hello",
    "PacketInReasons",
    "PortReasons",
    "RequestForwardReasons",
    "Role",
    "RoleReasons",
    "RoleReply",
    "RoleRequest",
    "SetAsync",
    "SetConfig",
    "TableReasons",
]


class _Versions(Part[frozenset[int]]):
    """A hello's elements: a bitmap; without one, all versions up to the header's."""

    def read(self, data: bytes, at: int, end: int) -> tuple[frozenset[int], int]:
        versions = frozenset(range(1, data[0] + 1))
        while at + 4 <= end:
            kind = int.from_bytes(data[at : at + 2], "big")
            size = int.from_bytes(data[at + 2 : at + 4], "big")
            if size < 4 or at + size > end:
                raise DecodeError(f"hello's element of {size} bytes", at)
            if kind == 1 and size >= 8:
                bitmap = int.from_bytes(data[at + 4 : at + 8], "big")
                versions = frozenset(bit for bit in range(32) if bitmap & 1 << bit)
                break
            at += -(-size // 8) * 8
        return versions, end

    def write(self, value: frozenset[int]) -> bytes:
        bitmap = sum(1 << version for version in value)
        return bytes((0, 1, 0, 8)) + bitmap.to_bytes(4, "big")


@record
class Hello(AnyVersion):
    """The versions that the sender speaks."""

    type = 0
    versions: frozenset[int] = part(_Versions(), default=frozenset({VERSION}))


@record
class Error(AnyVersion):
    """A message was refused."""

    type = 1
    kind: int = u16()
    code: int = u16()
    data: bytes = rest(default=b"")
    """The start of the refused message: at least 64 bytes, Open vSwitch sends all of it."""

    EXPERIMENTER: ClassVar[int] = 0xFFFF

    @property
    def experimenter(self) -> int:
        """Whose error this is; 0: OpenFlow's own."""
        if self.kind != self.EXPERIMENTER or len(self.data) < 4:
            return 0
        return int.from_bytes(self.data[:4], "big")

    @property
    def name(self) -> str:
        """Open vSwitch's name of the error."""
        name = codec.error_name(self.kind, self.code, self.experimenter)
        return name or f"error type {self.kind:#x} code {self.code:#x}"

    @property
    def request(self) -> bytes:
        """What was refused, as far as the switch has sent it back."""
        return self.data[4:] if self.kind == self.EXPERIMENTER else self.data


@record
class EchoRequest(AnyVersion):
    """Are you there?"""

    type = 2
    data: bytes = rest(default=b"")


@record
class EchoReply(AnyVersion):
    """I am."""

    type = 3
    data: bytes = rest(default=b"")


@record
class BarrierRequest(Message):
    """Answer this when all that came before is done."""

    type = 20


@record
class BarrierReply(Message):
    """All that came before is done."""

    type = 21


# What the switch is, and how it is set.


class Capabilities(Bits):
    """OFPC_*: what a switch can do."""

    FLOW_STATS = 1 << 0
    TABLE_STATS = 1 << 1
    PORT_STATS = 1 << 2
    GROUP_STATS = 1 << 3
    IP_REASM = 1 << 5
    QUEUE_STATS = 1 << 6
    PORT_BLOCKED = 1 << 8
    BUNDLES = 1 << 9
    FLOW_MONITORING = 1 << 10


@record
class FeaturesRequest(Message):
    """Who are you?"""

    type = 5


@record
class FeaturesReply(Message):
    """What the switch is."""

    type = 6
    datapath_id: int = u64()
    n_buffers: int = u32()
    n_tables: int = u8()
    auxiliary_id: int = u8(pad=2)
    capabilities: Capabilities = u32(Capabilities)
    reserved: int = u32(default=0)


class ConfigFlags(Code):
    """OFPC_FRAG_*: what becomes of IP fragments."""

    FRAG_NORMAL = 0
    FRAG_DROP = 1
    FRAG_REASM = 2
    FRAG_NX_MATCH = 3
    """Open vSwitch's: ``nw_frag`` can be matched."""


@record
class GetConfigRequest(Message):
    """How are you set?"""

    type = 7


@record
class GetConfigReply(Message):
    """How the switch is set: see `SetConfig`."""

    type = 8
    flags: ConfigFlags = u16(ConfigFlags)
    miss_send_len: int = u16()


@record
class SetConfig(Message):
    """How the switch treats fragments, and how much of a packet it sends to a controller.

    Open vSwitch sends nothing unasked, and so no packet, to a connection to its management socket
    until this has set ``miss_send_len`` to more than 0 (its ofproto/connmgr.c).
    """

    type = 9
    flags: ConfigFlags = u16(ConfigFlags, default=ConfigFlags.FRAG_NORMAL)
    miss_send_len: int = u16(default=0xFFFF)


# Who controls the switch, and what it tells to whom.


class Role(Code):
    """OFPCR_ROLE_*: what a controller is to a switch."""

    NOCHANGE = 0
    EQUAL = 1
    PRIMARY = 2
    SECONDARY = 3


NO_GENERATION: Final = 0xFFFFFFFFFFFFFFFF


@record
class RoleRequest(Message):
    """Be my switch; with `Role.NOCHANGE`, what am I to you?"""

    type = 24
    role: Role = u32(Role)
    short_id: int = u16(pad=2, default=0)
    generation_id: int = u64(default=0)
    """Of the election of a primary: the switch refuses an older one than it knows."""


@record
class RoleReply(Message):
    """What the controller is to the switch."""

    type = 25
    role: Role = u32(Role)
    short_id: int = u16(pad=2, default=0)
    generation_id: int = u64(default=NO_GENERATION)


class PacketInReasons(Bits):
    """1 << OFPR_*: why a packet is sent to a controller."""

    TABLE_MISS = 1 << 0
    APPLY_ACTION = 1 << 1
    INVALID_TTL = 1 << 2
    ACTION_SET = 1 << 3
    GROUP = 1 << 4
    PACKET_OUT = 1 << 5


class PortReasons(Bits):
    """1 << OFPPR_*."""

    ADD = 1 << 0
    DELETE = 1 << 1
    MODIFY = 1 << 2


class FlowRemovedReasons(Bits):
    """1 << OFPRR_*."""

    IDLE_TIMEOUT = 1 << 0
    HARD_TIMEOUT = 1 << 1
    DELETE = 1 << 2
    GROUP_DELETE = 1 << 3
    METER_DELETE = 1 << 4
    EVICTION = 1 << 5


class RoleReasons(Bits):
    """1 << OFPCRR_*."""

    PRIMARY_REQUEST = 1 << 0
    CONFIG = 1 << 1
    EXPERIMENTER = 1 << 2


class TableReasons(Bits):
    """1 << OFPTR_*."""

    VACANCY_DOWN = 1 << 3
    VACANCY_UP = 1 << 4


class RequestForwardReasons(Bits):
    """1 << OFPRFR_*."""

    GROUP_MOD = 1 << 0
    METER_MOD = 1 << 1


@record
class _Async(Message):
    """What the switch tells unasked, to a secondary and to others; None: that isn't said."""

    packet_in_secondary: PacketInReasons | None = prop(0, u32(PacketInReasons), default=None)
    packet_in_primary: PacketInReasons | None = prop(1, u32(PacketInReasons), default=None)
    port_status_secondary: PortReasons | None = prop(2, u32(PortReasons), default=None)
    port_status_primary: PortReasons | None = prop(3, u32(PortReasons), default=None)
    flow_removed_secondary: FlowRemovedReasons | None = prop(
        4, u32(FlowRemovedReasons), default=None
    )
    flow_removed_primary: FlowRemovedReasons | None = prop(5, u32(FlowRemovedReasons), default=None)
    role_status_secondary: RoleReasons | None = prop(6, u32(RoleReasons), default=None)
    role_status_primary: RoleReasons | None = prop(7, u32(RoleReasons), default=None)
    table_status_secondary: TableReasons | None = prop(8, u32(TableReasons), default=None)
    table_status_primary: TableReasons | None = prop(9, u32(TableReasons), default=None)
    requestforward_secondary: RequestForwardReasons | None = prop(
        10, u32(RequestForwardReasons), default=None
    )
    requestforward_primary: RequestForwardReasons | None = prop(
        11, u32(RequestForwardReasons), default=None
    )
    others: tuple[Property, ...] = others(default=())


@record
class GetAsyncRequest(Message):
    """What do you tell me unasked?"""

    type = 26


@record
class GetAsyncReply(_Async):
    """What the switch tells this controller unasked."""

    type = 27


@record
class SetAsync(_Async):
    """What the switch shall tell this controller unasked; what is None stays as it is."""

    type = 28


# Bundles.


class BundleKind(Code):
    """OFPBCT_*: what a `BundleControl` does."""

    OPEN_REQUEST = 0
    OPEN_REPLY = 1
    CLOSE_REQUEST = 2
    CLOSE_REPLY = 3
    COMMIT_REQUEST = 4
    COMMIT_REPLY = 5
    DISCARD_REQUEST = 6
    DISCARD_REPLY = 7


class BundleFlags(Bits):
    """OFPBF_*: all or nothing; in the order in which they were added."""

    ATOMIC = 1
    ORDERED = 2


_ALL_OR_NONE: Final = BundleFlags.ATOMIC | BundleFlags.ORDERED


@record
class BundleControl(Message):
    """Open, close, commit or discard a bundle."""

    type = 33
    bundle_id: int = u32()
    kind: BundleKind = u16(BundleKind)
    flags: BundleFlags = u16(BundleFlags, default=_ALL_OR_NONE)
    others: tuple[Property, ...] = others(default=())


@record
class BundleAdd(Message):
    """Add a message to a bundle: OFPT_BUNDLE_ADD_MESSAGE.

    `nsxdp.openflow.codec.bundle_wrap` makes many.
    """

    type = 34
    bundle_id: int = u32(pad=2)
    flags: BundleFlags = u16(BundleFlags)
    message: bytes = rest()
    """Whole, with the same xid.  Open vSwitch sends no properties after it."""
