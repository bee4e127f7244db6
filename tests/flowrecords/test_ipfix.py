"""IPFIX as a collector of other people's reads it (nfcapd), and as RFC 7011 says."""

from __future__ import annotations

import socket
from pathlib import Path
from struct import unpack_from

import msgspec
import pytest

from nsxdp.flowrecords.ipfix import Encoder
from nsxdp.flowrecords.record import FlowRecord
from nsxdp.lab import Netns
from tests.collector import Nfcapd

NOW = 1_800_000_000.25
COUNTED = FlowRecord(
    node="node-1",
    start=NOW - 5,
    end=NOW,
    verdict="allow",
    reason="end",
    protocol="TCP",
    source="10.244.0.3",
    source_port=5000,
    source_pod="default/web",
    source_node="node-1",
    destination="10.244.1.3",
    destination_port=8080,
    destination_pod="shop/far",
    service="shop/far:http/TCP IPv4",
    service_address="10.96.0.10",
    service_port=80,
    packets=6,
    bytes=600,
    reply_packets=4,
    reply_bytes=4000,
)
DENIED = FlowRecord(
    node="node-1",
    start=NOW,
    end=NOW,
    verdict="deny",
    reason="denied",
    protocol="UDP",
    source="fd00::3",
    source_port=5000,
    source_pod="default/web",
    destination="fd00::4",
    destination_port=53,
    direction="ingress",
    policy="NetworkPolicy shop/only",
    rule="ingress[1]",
)


class Reader:
    """Reads messages by the templates that came before, and by nothing else."""

    def __init__(self) -> None:
        self.templates: dict[int, list[tuple[int, int, int]]] = {}
        self.records: list[dict[tuple[int, int], bytes]] = []

    def read(self, message: bytes) -> tuple[int, int]:
        """A message; its sequence number and domain."""
        version, length, _, sequence, domain = unpack_from("!HHIII", message)
        assert (version, length) == (10, len(message))
        at = 16
        while at < length:
            number, size = unpack_from("!HH", message, at)
            content = message[at + 4 : at + size]
            if number == 2:
                self._templates(content)
            else:
                self._records(self.templates[number], content)
            at += size
        assert at == length
        return sequence, domain

    def _templates(self, data: bytes) -> None:
        at = 0
        while at < len(data):
            number, count = unpack_from("!HH", data, at)
            at += 4
            fields = self.templates[number] = []
            for _ in range(count):
                element, length = unpack_from("!HH", data, at)
                at += 4
                enterprise = 0
                if element & 0x8000:
                    (enterprise,) = unpack_from("!I", data, at)
                    at += 4
                fields.append((enterprise, element & 0x7FFF, length))

    def _records(self, fields: list[tuple[int, int, int]], data: bytes) -> None:
        at = 0
        while at < len(data):
            record = {}
            for enterprise, element, length in fields:
                if length == 0xFFFF:
                    length = data[at]
                    at += 1
                record[enterprise, element] = data[at : at + length]
                at += length
            self.records.append(record)
        assert at == len(data)


def read(*records: FlowRecord) -> list[dict[tuple[int, int], bytes]]:
    encoder, reader = Encoder(7), Reader()
    for message in (encoder.templates(NOW), *encoder.messages(records, NOW)):
        reader.read(message)
    return reader.records


def test_names_are_those_of_antrea_s_registry() -> None:
    (record,) = read(COUNTED)
    names = {100: "default", 101: "web", 102: "shop", 103: "far", 104: "node-1", 105: ""}
    names |= {109: "shop/far:http/TCP IPv4", 110: "", 111: "", 112: "", 113: ""}
    assert {number: record[56506, number].decode() for number in names} == names
    assert record[56506, 106] == socket.inet_aton("10.96.0.10")
    assert record[56506, 108] == (80).to_bytes(2, "big")
    assert record[29305, 85] == (4000).to_bytes(8, "big")
    assert record[0, 152] == round((NOW - 5) * 1000).to_bytes(8, "big")


def test_what_is_denied_has_a_policy_and_no_counts() -> None:
    (record,) = read(DENIED)
    assert (record[56506, 110], record[56506, 111]) == (b"only", b"shop")
    assert (record[56506, 112], record[0, 233]) == (b"", b"\3")
    assert (record[56506, 139], record[56506, 141]) == (b"\2", b"ingress[1]")
    assert (record[56506, 140], record[56506, 142]) == (b"\0", b"")
    assert (0, 86) not in record
    assert record[0, 27] == socket.inet_pton(socket.AF_INET6, "fd00::3")


def test_what_is_allowed_has_the_rules_of_both_ends() -> None:
    out, into = "ClusterNetworkPolicy all egress[2]", "NetworkPolicy shop/far ingress[0]"
    (record,) = read(msgspec.structs.replace(COUNTED, egress_rule=out, ingress_rule=into))
    assert (record[56506, 112], record[56506, 113]) == (b"all", b"")
    assert (record[56506, 140], record[56506, 142]) == (b"\1", b"egress[2]")
    assert (record[56506, 110], record[56506, 111]) == (b"far", b"shop")
    assert (record[56506, 139], record[56506, 141]) == (b"\1", b"ingress[0]")
    (record,) = read(COUNTED)
    assert (record[56506, 139], record[56506, 140]) == (b"\0", b"\0")


def test_messages_fit_in_a_datagram_and_are_numbered_by_records() -> None:
    encoder, reader = Encoder(1 << 32 | 9), Reader()
    reader.read(encoder.templates(NOW))
    records = [COUNTED, DENIED, msgspec.structs.replace(COUNTED, packets=None)] * 40
    sequence = 0
    for message in encoder.messages(records, NOW):
        assert len(message) <= 1232
        before = len(reader.records)
        assert reader.read(message) == (sequence, 9)
        sequence += len(reader.records) - before
    assert sequence == 120


def test_long_names_are_cut_where_a_letter_ends() -> None:
    long = msgspec.structs.replace(COUNTED, source_pod=f"default/{'ä' * 300}", service="x" * 5000)
    (record,) = read(long)
    assert record[56506, 101].decode() == "ä" * 48
    assert record[56506, 109] == b"x" * 96


@pytest.mark.parametrize("address", ["10.244.0.3", "fd00::3"])
def test_the_longest_record_fits_in_a_datagram(address: str) -> None:
    long = "x" * 300
    ends = dict.fromkeys(("source", "destination", "service_address"), address)
    pods = dict.fromkeys(("source_pod", "destination_pod"), f"{long}/{long}")
    names = dict.fromkeys(("source_node", "destination_node", "service"), long)
    rules = {
        f"{direction}_rule": f"NetworkPolicy {long}/{long} {direction}[65535]"
        for direction in ("egress", "ingress")
    }
    record = msgspec.structs.replace(COUNTED, **ends, **pods, **names, **rules)
    (message,) = Encoder(7).messages([record], NOW)
    assert len(message) <= 1232


@pytest.mark.parametrize(("protocol", "number"), [("SCTP", 132), ("47", 47), ("IGMP", 255)])
def test_protocols_have_numbers(protocol: str, number: int) -> None:
    (record,) = read(msgspec.structs.replace(COUNTED, protocol=protocol))
    assert record[0, 4] == bytes([number])


def test_a_real_collector_reads_it(netns: Netns, tmp_path: Path) -> None:
    collector = Nfcapd(netns, tmp_path / "flows")
    encoder = Encoder(7)
    records = [msgspec.structs.replace(COUNTED, source_port=port) for port in range(1, 51)]
    with netns.open_socket(socket.SOCK_DGRAM) as sender:
        for message in (encoder.templates(NOW), *encoder.messages([*records, DENIED], NOW)):
            sender.sendto(message, ("127.0.0.1", 4739))
    flows = collector.flows()
    assert len(flows) == 51
    tcp = [flow for flow in flows if flow["proto"] == 6]
    assert {flow["src_port"] for flow in tcp} == set(range(1, 51))
    assert {
        (
            flow["src4_addr"],
            flow["dst4_addr"],
            flow["dst_port"],
            flow["in_bytes"],
            flow["out_bytes"],
        )
        for flow in tcp
    } == {("10.244.0.3", "10.244.1.3", 8080, 600, 4000)}
    (denied,) = [flow for flow in flows if flow["proto"] == 17]
    assert (denied["src6_addr"], denied["dst_port"]) == ("fd00::3", 53)
