"""The bits that the pipeline's stages tell each other, and the constants that packets carry.

Every use of a register or of a connection's mark is declared here with its range; overlapping
ranges are refused when the module is imported.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = [
    "AFFINITY_VERSION",
    "BITS",
    "COOKIE_FAMILY",
    "COOKIE_FAMILY_MASK",
    "COOKIE_PREFIX",
    "GROUP_FIRST",
    "GROUP_LAST",
    "HAIRPIN_IPV4",
    "HAIRPIN_IPV6",
    "LAST_VERSION",
    "LEARNED_COOKIE",
    "LEARNED_COOKIE_MASK",
    "LOG_METER",
    "LONG_COOKIE",
    "LONG_COOKIE_MASK",
    "LONG_TIMEOUT_SHIFT",
    "MASQUERADE_IPV4",
    "MASQUERADE_IPV6",
    "NODE_CONTROLLER",
    "NODE_COOKIE_FAMILY",
    "NODE_COOKIE_PREFIX",
    "NODE_GROUP_FIRST",
    "NODE_GROUP_LAST",
    "NODE_IPV4",
    "NODE_IPV6",
    "NODE_PORT_IPV4",
    "NODE_PORT_IPV6",
    "NODE_VERSION",
    "OTHER_LEARNED",
    "OTHER_NODE_PREFIXES",
    "OTHER_PREFIXES",
    "PIPELINE_VERSION",
    "REJECT_METER",
    "SNAT_ZONE",
    "VIRTUAL_MAC",
    "ZONE",
    "Bits",
]


@dataclass(frozen=True, slots=True)
class Bits:
    """A range of bits of a register or of ct_mark, both ends included.

    Attributes
    ----------
    field
        As flows have it: ``reg4``, ``ct_mark``, ``ct_label``.
    first, last
        From 0, the least significant bit.
    meaning
        What they say, and who sets them.
    """

    field: str
    first: int
    last: int
    meaning: str

    @property
    def mask(self) -> int:
        """The field's bits that these are."""
        return ((1 << self.last - self.first + 1) - 1) << self.first

    def overlaps(self, other: Bits) -> bool:
        """Whether a bit is in both."""
        return self.field == other.field and self.first <= other.last and other.first <= self.last


BITS: Final = {
    "Outside": Bits(
        "reg0", 0, 0, "The packet comes from outside the cluster. Set by Classifier."
    ),
    "Uplink": Bits(
        "reg0", 1, 1, "It came by the uplink on the bridge. Set by Classifier."
    ),
    "Masquerade": Bits(
        "reg0", 2, 2, "If it goes to a Service, the endpoint shall take the node for the client. "
        "Set by Classifier for traffic to cluster IPs, by ServiceLB for other addresses."
    ),
    "NodeAddress": Bits(
        "reg0", 3, 3, "It is for an address that serves node ports. Set by NodeAddress."
    ),
    "Node": Bits(
        "reg0", 4, 4, "It comes from a process of the node, with another address than the "
        "gateway's. Set by Classifier."
    ),
    "Fragment": Bits(
        "reg0", 5, 5, "It is a fragment of what may begin a connection to a Service by UDP: a "
        "later one, or the first one, at a Service's port. Set by ConntrackState and by ServiceLB."
    ),
    "Admitted": Bits(
        "reg0", 16, 16, "Who sent the packet may. Set by SpoofGuard."
    ),
    "LetOut": Bits(
        "reg0", 17, 17, "Policies let its sender send it. Set where EgressPolicy and what follows "
        "it end."
    ),
    "LetIn": Bits(
        "reg0", 18, 18, "Policies let its receiver have it. Set by ConntrackCommit."
    ),
    "Unmasked": Bits(
        "reg0", 19, 19, "It was for who masquerades, and is for the client again. Set by Conntrack."
    ),
    "OutPort": Bits(
        "reg1", 0, 31, "The port that Output sends to; 0: none yet. Set by L3Forwarding for "
        "tunnels, by L2Forwarding for other ports."
    ),
    "EndpointSlot": Bits(
        "reg4", 0, 31, "Bucket id of the endpoint that was chosen; 0 until one is. "
        "Set by ServiceAffinity's flows and by the buckets of groups with session affinity."
    ),
    "PolicyTarget": Bits(
        "reg5", 0, 31, "What policies see of the pod on this bridge that they judge for: its kind. "
        "Set by EgressPolicy, of the sender, and by IngressPolicy, of the receiver."
    ),
    "PolicyPeer": Bits(
        "reg6", 0, 31, "What they see of the other end; 0: no pod that a policy is about. Set by "
        "EgressPeer and IngressPeer."
    ),
    "ServicePort": Bits(
        "reg7", 0, 31, "Number of the Service port with session affinity. Set by ServiceLB."
    ),
    "EndpointGroup": Bits(
        "reg8", 0, 31, "Id of the group of those of its endpoints that may serve. Likewise."
    ),
    "PolicyNamespace": Bits(
        "reg9", 0, 31, "The namespace of PolicyTarget. Set with it."
    ),
    "PolicyRule": Bits(
        "reg10", 0, 31, "The rule that refuses the packet, as its conj_id; 0: no rule allows it. "
        "Set by that rule."
    ),
    "ServiceConnection": Bits(
        "ct_mark", 4, 4, "The connection goes through a Service. Set when its NAT is committed."
    ),
    "Masqueraded": Bits(
        "ct_mark", 5, 5, "Its source is rewritten, in SNAT_ZONE. Set by ServiceSNAT."
    ),
    "ByUplink": Bits(
        "ct_mark", 6, 6, "It came by the uplink: answers go there, to ClientMAC. By ServiceSNAT."
    ),
    "ByGateway": Bits(
        "ct_mark", 7, 7, "It came by the gateway: answers go there. Set by ConntrackCommit."
    ),
    "Refused": Bits(
        "ct_mark", 8, 8, "Policies refuse the connection, which a Service committed. Set by the "
        "table Refused, taken back by ConntrackCommit."
    ),
    "ClientMAC": Bits(
        "ct_label", 0, 47, "Who sent the first packet of a connection that came by the uplink. Set "
        "by ServiceSNAT."
    ),
}  # fmt: skip
"""All bits that are in use, by name."""

for _name, _bits in BITS.items():
    for _other_name, _other in BITS.items():
        if _name != _other_name and _bits.overlaps(_other):
            raise AssertionError(f"{_name} and {_other_name} overlap in {_bits.field}")

ZONE: Final = 65312
"""The conntrack zone of all the node's traffic, in which Services are translated."""

SNAT_ZONE: Final = 65313
"""The zone in which sources are masqueraded: an action translates one end of a connection, and some
need both. A mark committed in one zone is unreadable in another, and Open vSwitch 3.1.0's userspace
conntrack can abort where several zones translate the same connection in just any way. So only what
is marked in `ZONE` comes here, and always gets an address that nobody has."""

PIPELINE_VERSION: Final = 1
"""Of the flows and groups as they are compiled, from 1 to `LAST_VERSION`. An agent takes a bridge
over from any other version."""

AFFINITY_VERSION: Final = 1
"""Of what the switch learns for session affinity: which table, which fields, which numbers. It goes
on as long as that means the same, so this changes more seldom."""

LAST_VERSION: Final = 0x7F
"""The last number of a version: the bit above tells what was learned."""

_VERSIONS: Final = range(1, LAST_VERSION + 1)

COOKIE_PREFIX: Final = 0x6E00 | PIPELINE_VERSION
"""The 16 most significant bits of our flows' cookies: nsxdp and the pipeline's version."""

COOKIE_FAMILY: Final = 0x6E00 << 48
COOKIE_FAMILY_MASK: Final = 0xFF00 << 48
"""The flows of all versions, and those that they made the switch learn."""

OTHER_PREFIXES: Final = tuple(0x6E00 | n for n in _VERSIONS if n != PIPELINE_VERSION)
"""Likewise, of the flows of other versions."""

LEARNED_COOKIE: Final = (0x6EFF << 48) | AFFINITY_VERSION
LEARNED_COOKIE_MASK: Final = 0xFFFF_0000_0000_FFFF
"""Flows that the switch learned by our flows. They come and go by themselves."""

OTHER_LEARNED: Final = tuple((0x6EFF << 48) | n for n in _VERSIONS if n != AFFINITY_VERSION)
"""Likewise, by flows of other versions: they mean nothing to this one's."""

LONG_COOKIE: Final = LEARNED_COOKIE | 1 << 47
LONG_COOKIE_MASK: Final = LEARNED_COOKIE_MASK | 1 << 47
"""What is learned for longer than a flow can be idle (`nsxdp.services.affinity`)."""

LONG_TIMEOUT_SHIFT: Final = 16
"""Where such a cookie has the seconds: 31 bits from there on."""

NODE_VERSION: Final = 1
"""Of the node agent's flows, as `PIPELINE_VERSION` is of the Service proxy's."""

NODE_COOKIE_PREFIX: Final = 0x6F00 | NODE_VERSION
"""The 16 most significant bits of the node agent's flows' cookies. Each of the two processes knows
its own flows by them, and leaves the other's alone."""

NODE_COOKIE_FAMILY: Final = 0x6F00 << 48
"""The flows of all versions, with `COOKIE_FAMILY_MASK`."""

OTHER_NODE_PREFIXES: Final = tuple(0x6F00 | n for n in _VERSIONS if n != NODE_VERSION)
"""Likewise, of other versions' flows."""

NODE_GROUP_FIRST: Final = 0x3000_0000
NODE_GROUP_LAST: Final = 0x3FFF_FFFF
"""The node agent's groups' ids."""

GROUP_FIRST: Final = 0x4000_0000
GROUP_LAST: Final = 0x7FFF_FFFF
"""The Service proxy's groups' ids; groups outside of this range are somebody else's."""

REJECT_METER: Final = 0x6E01
"""Limits how many packets a second reach the agent to be answered with a rejection."""

LOG_METER: Final = 0x6E02
"""Limits how many packets a second that policies drop reach the agent to be logged."""

NODE_CONTROLLER: Final = 0x6F01
"""The number of the node agent's connection: only to it go the packets that policies drop."""

VIRTUAL_MAC: Final = "02:6e:73:78:64:70"
"""The next hop to which the host sends what goes to a Service's address, or to other nodes' pods;
and to which nodes send what is in tunnels."""

HAIRPIN_IPV4: Final = "169.254.0.252"
HAIRPIN_IPV6: Final = "fd6e:7378:6470::252"
"""Whom an endpoint sees as the client when it reaches itself through a Service."""

MASQUERADE_IPV4: Final = "169.254.0.251"
MASQUERADE_IPV6: Final = "fd6e:7378:6470::251"
"""Whom an endpoint sees as the client where the client is masqueraded. An address of its own, so
that answers are known by it."""

NODE_PORT_IPV4: Final = "169.254.0.250"
NODE_PORT_IPV6: Final = "fd6e:7378:6470::250"
"""To whom the node's kernel sends what came to a node port at one of its own addresses."""

NODE_IPV4: Final = "169.254.0.253"
NODE_IPV6: Final = "fd6e:7378:6470::253"
"""Whom the node's own processes see as the client when they are the endpoint that the node
reaches through a Service; also the address of the host's next hop to Services."""
