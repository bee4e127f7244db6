"""Asks the intent and the switch about a Service: what is there, and what it has done."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import numpy as np

from nsxdp.openflow import Flow, FlowTable, Group, Switch
from nsxdp.openflow.messages import GroupStats, GroupStatsReply, GroupStatsRequest, decode
from nsxdp.pipeline.registers import BITS
from nsxdp.pipeline.tables import TABLES
from nsxdp.services.addresses import format_endpoint, parse_address
from nsxdp.services.endpoints import choose
from nsxdp.services.model import LOCAL, READY, SERVING, TERMINATING, ServicePort
from nsxdp_agents.kube_proxy.inspect.explained import (
    Client,
    Count,
    Endpoint,
    Explained,
    Frontend,
    PortGroup,
)
from nsxdp_agents.kube_proxy.inspect.intent import OUR_FLOWS, Intent, find_flow

__all__ = ["explain"]

_NODE_PORT: Final = BITS["NodeAddress"].mask
_OUTSIDE: Final = BITS["Outside"].mask
_MASQUERADE: Final = BITS["Masquerade"].mask
_FRAGMENT: Final = BITS["Fragment"].mask

_SERVICE_LB: Final = TABLES.by_number.index(b"ServiceLB")
_ENDPOINT_DNAT: Final = TABLES.by_number.index(b"EndpointDNAT")
_UNKNOWN: Final = 0xFFFF_FFFF_FFFF_FFFF

_FLOW_MOD: Final = 14
_GROUP_MOD: Final = 15
_INSERT_BUCKET: Final = 3


async def explain(
    intent: Intent, ports: list[ServicePort], switch: Switch | None
) -> list[Explained]:
    """Explain Service ports; without a switch, what it should have.

    Raises
    ------
    OpenFlowError
        The switch can't be asked.
    """
    flows = FlowTable.read(())
    if switch is not None:
        found = [await switch.dump(f"table={t},{OUR_FLOWS}") for t in ("ServiceLB", "EndpointDNAT")]
        flows = _joined(found)
    return [await _Explainer(intent, port, flows, switch).explain() for port in ports]


def _joined(tables: list[FlowTable]) -> FlowTable:
    first, second = tables
    rows = second.rows.copy()
    rows["match"] += len(first.data)
    rows["instructions"] += len(first.data)
    return FlowTable(np.concatenate((first.rows, rows)), first.data + second.data, first.tables)


class _Explainer:
    """Explains one Service port.

    Parameters
    ----------
    installed
        The switch's flows, of all Services.
    """

    def __init__(
        self, intent: Intent, port: ServicePort, installed: FlowTable, switch: Switch | None
    ) -> None:
        self._intent = intent
        self._port = port
        self._installed = installed
        self._switch = switch
        wanted = list(_messages(intent.messages(port)))
        self._flows = [Flow.decode(message) for message in wanted if message[1] == _FLOW_MOD]
        self._groups = [Group.decode(message) for message in wanted if message[1] == _GROUP_MOD]
        self._whole = {part: group.group_id for group in self._groups for part in _parts(group)}
        """Part of a large group -> that group."""
        self._leads = {key: flow for flow in self._flows if (key := _leads(flow)) is not None}
        """Group and bucket -> the flow that translates to the bucket's endpoint."""
        endpoints = intent.planner.tracker.endpoints(port.name, port.family)
        flags = endpoints.flags.tolist()
        self._endpoints = dict(zip(endpoints.texts(), flags, strict=True))
        self._all = endpoints

    async def explain(self) -> Explained:
        """Explain it."""
        frontends = [
            _frontend(self._port, flow, self._count(flow))
            for flow in self._flows
            if flow.table == _SERVICE_LB
        ]
        groups = [await self._group(group) for group in self._groups]
        clients: list[Client] = []
        if self._switch is not None and self._port.affinity_timeout is not None:
            clients = await self._clients(self._switch, groups)
        used = {endpoint.address for group in groups for endpoint in group.endpoints}
        unused = list(self._unused(used))
        timeout = self._port.affinity_timeout
        check = self._intent.planner.tracker.health_check(
            self._port.name.service, self._port.family
        )
        return Explained(self._port, frontends, groups, unused, timeout, clients, check)

    def _count(self, flow: Flow) -> Count:
        """What the switch says of a flow."""
        if self._switch is None:
            return Count()
        row = find_flow(self._installed, (flow.table, flow.priority, bytes(flow.match)))
        if row is None:
            return Count("missing")
        stats = self._installed.stats(row)
        made = _counted(stats.packets, stats.bytes)
        if flow.instructions != self._installed.content(row)[4]:
            owner = int(self._intent.owners(self._installed[row : row + 1])[0])
            made.owner = self._intent.whose(owner)
            own = f"{self._port.name} {self._port.family.label}"
            made.state = "different" if made.owner == own else "taken"
        return made

    # Groups.

    async def _group(self, group: Group) -> PortGroup:
        """A group, and what the switch says of it."""
        head, buckets = _read(group)
        way = next((_METHOD[name] for name in _METHOD if name in head), _BY_PORT)
        made = PortGroup(group.group_id, self._role(group.group_id), way, [], _parts(group))
        whole = self._whole.get(group.group_id, group.group_id)
        for bucket, actions in buckets.items() if not made.parts else ():
            flow = self._leads.get((whole, bucket))
            nat = _NAT.search(str(flow.actions) if flow else actions)
            address = nat[1] if nat else ""
            about = _about(self._endpoints.get(address, 0))
            shown = flow.format(TABLES) if flow else ""
            made.endpoints.append(Endpoint(address, bucket, about, shown))
        if self._switch is not None:
            await self._count_group(made, group, self._switch)
        return made

    def _role(self, number: int) -> str:
        compiler, port = self._intent.planner.compiler, self._port
        if number == compiler.group_id(port.name, port.family):
            return "all endpoints"
        if number == compiler.group_id(port.name, port.family, local=True):
            return "this node's endpoints"
        return "a part"

    async def _count_group(self, made: PortGroup, wanted: Group, switch: Switch) -> None:
        """Ask the switch what a group and its buckets have done."""
        installed = stats = None
        async for reply in switch.session.dump_groups(made.number):
            installed = next(iter(Group.decode_reply(reply)), installed)
        async for reply in switch.session.multipart(GroupStatsRequest(made.number)):
            stats = _stats(reply) or stats
        made.count = Count("missing")
        counters: dict[int, Count] = {}
        if installed is not None and stats is not None:
            made.count = _counted(stats.packet_count, stats.byte_count)
            if _read(installed) != _read(wanted):
                made.count.state = "different"
            # Buckets' counters are in the order of the buckets.
            for bucket, counter in zip(_read(installed)[1], stats.bucket_stats, strict=False):
                counters[bucket] = _counted(counter.packet_count, counter.byte_count)
        whole = self._whole.get(made.number, made.number)
        for endpoint in made.endpoints:
            endpoint.count = counters.get(endpoint.bucket, Count("missing"))
            if flow := self._leads.get((whole, endpoint.bucket)):
                # A bucket counts who came anew, the flow those that came back, too.
                endpoint.count = self._count(flow)

    # Endpoints and clients.

    def _unused(self, used: set[str]) -> Iterator[str]:
        """The endpoints that no packet goes to, and why."""
        cluster = choose(self._port, self._all).cluster
        for address, flags in self._endpoints.items():
            if address in used:
                continue
            why = ""
            if flags & READY:
                local = not flags & LOCAL and not cluster
                why = "the traffic policy is Local" if local else "hinted for other zones or nodes"
            yield f"{address} {_about(flags)}{'; ' if why else ''}{why}"

    async def _clients(self, switch: Switch, groups: list[PortGroup]) -> list[Client]:
        """Whose endpoint the switch remembers, the latest first."""
        by_slot = {e.bucket: e.address for group in groups for e in group.endpoints}
        clients = []
        number = self._intent.planner.compiler.group_id(self._port.name, self._port.family)
        learned = await switch.dump(f"table=ServiceAffinity,reg7={number or 0:#x}")
        for i in range(len(learned)):
            match, actions = learned.match_and_actions(i)
            fields = _fields(match)
            slot = re.search(r"(0x\w+)->", actions)
            address = fields.get("nw_src") or fields.get("ipv6_src") or ""
            endpoint = by_slot.get(int(slot[1], 0) if slot else 0, "an endpoint that is gone")
            row = learned.rows[i]
            clients.append(Client(address, endpoint, int(row["idle_age"]), int(row["packets"])))
        return sorted(clients, key=lambda client: (client.idle, client.address))


def _messages(data: bytes) -> Iterator[bytes]:
    """Messages; a long group's with those that continue it."""
    at, held = 0, b""
    while at < len(data):
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        message = data[at : at + length]
        at += length
        if held and message[1] == _GROUP_MOD and message[9] == _INSERT_BUCKET:
            held += message
            continue
        if held:
            yield held
        held = message
    if held:
        yield held


def _counted(packets: int, bytes_: int) -> Count:
    return Count(
        "installed",
        None if packets == _UNKNOWN else packets,
        None if bytes_ == _UNKNOWN else bytes_,
    )


# Flows.


def _fields(match: str) -> dict[str, str]:
    """``tcp,nw_dst=10.96.0.10,tp_dst=80`` by name."""
    return {name: value for part in match.split(",") for name, _, value in (part.partition("="),)}


def _frontend(port: ServicePort, flow: Flow, count: Count) -> Frontend:
    fields = _fields(str(flow.match))
    bits = int(fields.get("reg0", "0").partition("/")[0], 0)
    vip = fields.get("nw_dst") or fields.get("ipv6_dst") or ""
    packed = parse_address(vip) if vip else None
    if bits & _NODE_PORT or packed is None:
        kind, address = "node port", f":{fields.get('tp_dst', '')}"
    else:
        kind = "cluster IP"
        if packed in port.external_ips:
            kind = "external IP"
        elif packed in port.load_balancer_vips:
            kind = "load balancer IP"
        number = fields.get("tp_dst") or fields.get("ct_tp_dst")
        address = format_endpoint(packed, int(number, 0)) if number else vip
        if number is None and not bits & _FRAGMENT:
            kind = f"other ports of {kind}"
    conditions = ["from outside"] if bits & _OUTSIDE else []
    if "nw_frag" in fields:
        conditions.append("first fragment of a datagram")
    if bits & _FRAGMENT:
        conditions.append("fragments")
    if source := fields.get("nw_src") or fields.get("ipv6_src"):
        conditions.append(f"from {source}")
    elif port.source_ranges and kind == "load balancer IP":
        conditions.append("from elsewhere")
    does, group = _does(str(flow.actions))
    text = flow.format(TABLES)
    return Frontend(kind, address, ", ".join(conditions), does, group, text, count)


def _does(actions: str) -> tuple[str, int]:
    """What a flow of ServiceLB does, in words, and its group."""
    if "CONTROLLER" in actions:
        return "rejected by the proxy (TCP reset, ICMP unreachable)", 0
    if actions in ("drop", ""):
        return "dropped", 0
    if f"/{_FRAGMENT:#x}->reg0" in actions:
        return "as all fragments", 0
    masked = re.search(rf"set_field:(\w+)/{_MASQUERADE:#x}->reg0", actions)
    how = ""
    if masked:
        how = ", masqueraded" if int(masked[1], 0) & _MASQUERADE else ", client IP kept"
    elif "->NXM_NX_REG0[2]" in actions:
        how = ", client IP kept"
    if direct := re.search(r"group:(\d+)", actions):
        return f"to group {direct[1]}{how}", int(direct[1])
    sticky = re.search(r"set_field:(\w+)->reg8", actions)
    number = int(sticky[1], 0) if sticky else 0
    return f"to the client's endpoint, else to group {number}{how}", number


def _leads(flow: Flow) -> tuple[int, int] | None:
    """The group and the bucket whose endpoint a flow of EndpointDNAT translates to."""
    fields = _fields(str(flow.match)) if flow.table == _ENDPOINT_DNAT else {}
    return (int(fields["reg8"], 0), int(fields["reg4"], 0)) if "reg4" in fields else None


# Groups.

_BUCKET: Final = re.compile(r"bucket=bucket_id:(\d+),[^[]*?actions=(.*?)(?=,bucket=|$)")
_NAT: Final = re.compile(r"nat\(dst=([^)]+)\)")
_METHOD: Final = {
    "dp_hash": "a hash of addresses and ports",
    "ip_src": "a hash of the client's IP",
    "ipv6_src": "a hash of the client's IP",
}
_BY_PORT: Final = "a hash of the client's port"


def _read(group: Group) -> tuple[str, dict[int, str]]:
    """How a group chooses, and its buckets with their actions."""
    text = str(group)
    buckets = {int(number): actions for number, actions in _BUCKET.findall(text)}
    return text.partition(",bucket=")[0], buckets


def _parts(group: Group) -> list[int]:
    """The groups among which a large group chooses."""
    found = (re.match(r"group:(\d+)", actions) for actions in _read(group)[1].values())
    return [int(part[1]) for part in found if part]


def _stats(reply: bytes) -> GroupStats | None:
    message = decode(reply)
    return next(iter(message.stats), None) if isinstance(message, GroupStatsReply) else None


def _about(flags: int) -> str:
    """What is known of an endpoint."""
    if flags & READY:
        state = "ready"
    elif flags & TERMINATING:
        state = "terminating, still serving" if flags & SERVING else "terminating"
    else:
        state = "not ready"
    return f"{state}, {'on this node' if flags & LOCAL else 'elsewhere'}"
