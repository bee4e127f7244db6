"""The tables of the node bridge: the one place where a table's name has a number.

Numbers leave gaps, so that a stage can be put between two others without renumbering.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from nsxdp.openflow import Tables

__all__ = ["NODE_STAGES", "POLICY_STAGES", "STAGES", "TABLES", "Stage"]


@dataclass(frozen=True, slots=True)
class Stage:
    """One table: what reaches it, and where what it doesn't match goes.

    Attributes
    ----------
    number, name
        By number the switch knows it, by name everybody else.
    purpose
        What it does.
    miss
        The actions of the table's flow of priority 0; empty where no packet may pass by.
    """

    number: int
    name: str
    purpose: str
    miss: str


STAGES: Final = (
    Stage(
        0,
        "Classifier",
        "Tells IP, which goes on, from everything else (ARP, neighbor discovery), which the "
        "bridge switches as any bridge does. Notes what comes from outside the cluster.",
        "NORMAL",
    ),
    Stage(
        10,
        "Conntrack",
        "Sends every IP packet through connection tracking once; packets of known Service "
        "connections leave it translated. Undoes the source rewrites first: ServiceSNAT's, and "
        "the two of L3Forwarding.",
        "",
    ),
    Stage(
        12,
        "ConntrackState",
        "Only the first packet of a connection sees the Service stages. Of the others, those of "
        "masqueraded connections get their source rewritten, and answers to who came by the "
        "uplink go back there.",
        "goto_table:L3Forwarding",
    ),
    Stage(
        16,
        "NodeAddress",
        "Notes which packets are for an address of the node at which it serves node ports.",
        "goto_table:ServiceLB",
    ),
    Stage(
        20,
        "ServiceLB",
        "A virtual address, protocol and port, or a node port: the group of that Service port.",
        "goto_table:L3Forwarding",
    ),
    Stage(
        22,
        "ServiceAffinity",
        "Flows that the switch learned: which endpoint a client of a Service with session "
        "affinity had last.",
        "",
    ),
    Stage(
        24,
        "EndpointDNAT",
        "Services with session affinity: the endpoint that was chosen, or the group to choose one.",
        "",
    ),
    Stage(
        26,
        "ServiceSNAT",
        "After the translation to an endpoint: who has to be masqueraded is, and the MAC is kept "
        "of who came by the uplink.",
        "goto_table:L3Forwarding",
    ),
    Stage(
        40,
        "L3Forwarding",
        "Packets that are addressed to the gateway's MAC get the MAC of the pod that they are for.",
        "goto_table:L2Forwarding",
    ),
    Stage(
        42,
        "L2Forwarding",
        "A MAC on this bridge: its port.",
        "NORMAL",
    ),
)
"""The Service proxy's tables, in the order in which packets meet them."""

NODE_STAGES: Final = (
    Stage(
        4,
        "SpoofGuard",
        "Whether who sends may: a pod with its own addresses, another node with its pods'. What "
        "may goes on to the Classifier's other flows.",
        "",
    ),
    Stage(
        6,
        "Neighbors",
        "Answers who asks for a MAC address by ARP; and by neighbor discovery, asks who has it.",
        "",
    ),
    Stage(
        41,
        "Hop",
        "A router's work on what L3Forwarding routed: one hop less to live.",
        "",
    ),
    Stage(
        62,
        "Output",
        "Out of the port that L2Forwarding found.",
        "",
    ),
)
"""The node agent's tables. It has flows in others, too (`nsxdp.pipeline.joints`)."""

POLICY_STAGES: Final = (
    Stage(
        28,
        "EgressPolicy",
        "First packets, translated: which pod of this bridge sent it, and whether a policy has a "
        "say in that. A pod that isn't known yet sends nothing.",
        "set_field:0->reg5,goto_table:Refused",
    ),
    Stage(
        30,
        "EgressPeer",
        "To which pod the packet goes, where policies are about that pod.",
        "set_field:0->reg6,goto_table:EgressAdmin",
    ),
    Stage(
        32,
        "EgressAdmin",
        "The rules of ClusterNetworkPolicies of the tier Admin.",
        "goto_table:EgressRules",
    ),
    Stage(
        34,
        "EgressRules",
        "The rules of NetworkPolicies. Who is selected by one, and allowed by none, sends nothing.",
        "goto_table:EgressBaseline",
    ),
    Stage(
        36,
        "EgressBaseline",
        "The rules of ClusterNetworkPolicies of the tier Baseline.",
        "set_field:0x20000/0x20000->reg0,resubmit(,L3Forwarding)",
    ),
    Stage(
        44,
        "IngressPolicy",
        "First packets, switched: which pod of this bridge it is for, and whether a policy has a "
        "say in that. A pod that isn't known yet gets none.",
        "set_field:0->reg5,goto_table:Refused",
    ),
    Stage(
        46,
        "IngressPeer",
        "From which pod the packet comes, where policies are about that pod.",
        "set_field:0->reg6,goto_table:IngressAdmin",
    ),
    Stage(
        48,
        "IngressAdmin",
        "The rules of ClusterNetworkPolicies of the tier Admin.",
        "goto_table:IngressRules",
    ),
    Stage(
        50,
        "IngressRules",
        "The rules of NetworkPolicies. Who is selected by one, and allowed by none, gets nothing.",
        "goto_table:IngressBaseline",
    ),
    Stage(
        52,
        "IngressBaseline",
        "The rules of ClusterNetworkPolicies of the tier Baseline.",
        "goto_table:ConntrackCommit",
    ),
    Stage(
        56,
        "Refused",
        "What policies refuse goes no further. A connection through a Service was committed before "
        "they were asked: it is marked, so that nobody takes what comes back for an answer.",
        "goto_table:Report",
    ),
    Stage(
        58,
        "Report",
        "Tells the node agent what was refused, if it wants to know, and not too often.",
        "drop",
    ),
    Stage(
        60,
        "ConntrackCommit",
        "What policies let in: a new connection is committed, and the packet goes out.",
        "set_field:0x40000/0x40000->reg0,goto_table:Output",
    ),
)
"""The tables of policies, of the node agent's too (`nsxdp.pipeline.policy`)."""

TABLES: Final = Tables(
    {stage.name: stage.number for stage in (*STAGES, *NODE_STAGES, *POLICY_STAGES)}
)
"""All their names, for what parses and prints flows."""
