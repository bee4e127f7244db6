"""Addresses, prefixes, and what of a Service belongs to which IP family."""

from ipaddress import IPv4Address, IPv6Address
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsxdp.k8s import objects as k8s
from nsxdp.services.addresses import (
    Family,
    format_address,
    format_endpoint,
    parse_address,
    parse_prefix,
)
from nsxdp.services.serviceports import (
    addresses_of_family,
    cluster_ip_of_family,
    is_served,
    prefixes_of_family,
)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("172.30.0.041", "172.30.0.41"),
        ("203.0.113.000", "203.0.113.0"),
        ("08.09.010.0000000255", "8.9.10.255"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.002.01", "192.0.2.1"),
        ("::FFFF:c000:201", "192.0.2.1"),
        ("64:ff9b::192.0.2.010", "64:ff9b::c000:20a"),
        ("2001:DB8:0::0001", "2001:db8::1"),
        ("::", "::"),
    ],
)
def test_kp11_sloppy_addresses_are_read_as_decimal(text: str, canonical: str) -> None:
    packed = parse_address(text)
    assert packed is not None
    assert format_address(packed) == canonical


@pytest.mark.parametrize(
    "text",
    [
        "",
        "None",
        "1.2.3",
        "1.2.3.4.5",
        "1.2.3.256",
        "1.2.3.4 ",
        "1.2.3.-4",
        "1.2.3.0x4",
        "1.2.3.٤",
        "1.2.3.",
        "1.2.3.4\0",
        "\ud800",
        "::1%eth0",
        "2001:db8::1::2",
        "2001:db8",
        "::1.2.3.999",
        "1.2.3." + "0" * 10_000,
    ],
)
def test_what_is_no_address(text: str) -> None:
    assert parse_address(text) is None


@given(st.ip_addresses())
def test_addresses_round_trip(address: IPv4Address | IPv6Address) -> None:
    packed = parse_address(str(address))
    assert packed is not None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    assert packed == (mapped or address).packed
    assert format_address(packed) == str(mapped or address)
    assert Family.of(packed).width == len(packed)


@given(st.lists(st.integers(0, 255), min_size=4, max_size=4), st.integers(0, 5))
def test_kp11_leading_zeros_change_nothing(octets: list[int], zeros: int) -> None:
    assert parse_address(".".join("0" * zeros + str(octet) for octet in octets)) == bytes(octets)


@given(st.text(alphabet="0123456789abcdef:./ %", max_size=45))
def test_parsers_never_raise(text: str) -> None:
    packed = parse_address(text)
    assert packed is None or len(packed) in (4, 16)
    prefix = parse_prefix(text)
    assert prefix is None or 0 <= prefix[1] <= 8 * len(prefix[0])


@pytest.mark.parametrize(
    ("text", "network", "length"),
    [
        ("203.0.113.000/025", "203.0.113.0", 25),
        (" 10.1.2.3/28 ", "10.1.2.0", 28),
        ("0.0.0.0/0", "0.0.0.0", 0),
        ("192.0.2.1/32", "192.0.2.1", 32),
        ("2001:db8:ffff::/33", "2001:db8:8000::", 33),
        ("::/0", "::", 0),
        ("::ffff:10.1.2.3/120", "10.1.2.0", 24),
    ],
)
def test_kp11_prefixes(text: str, network: str, length: int) -> None:
    assert parse_prefix(text) == (parse_address(network), length)


@pytest.mark.parametrize(
    "text", ["", "10.0.0.0", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1", "::/129", "x/8", "/8"]
)
def test_what_is_no_prefix(text: str) -> None:
    assert parse_prefix(text) is None


def test_endpoints_are_printed_as_users_write_them() -> None:
    assert format_endpoint(bytes((10, 0, 0, 1)), 80) == "10.0.0.1:80"
    assert format_endpoint(bytes(15) + b"\1", 80) == "[::1]:80"


@pytest.mark.table("util.json", "calls", function=("ShouldSkipService",))
def test_kp2_services_that_are_not_served(case: dict[str, Any]) -> None:
    service = msgspec.convert(case["input"]["service"], k8s.Service)
    assert is_served(service) is not case["output"]


@pytest.mark.table("util.json", "calls", function=("GetClusterIPByFamily",))
def test_kp12_cluster_ip_of_a_family(case: dict[str, Any]) -> None:
    family = Family.IPV6 if case["input"]["ipFamily"] == "IPv6" else Family.IPV4
    service = msgspec.convert(case["input"]["service"], k8s.Service)
    assert cluster_ip_of_family(service, family) == parse_address(case["output"])


@pytest.mark.table("util.json", "calls", function=("MapIPsByIPFamily",))
def test_kp12_addresses_of_a_family(case: dict[str, Any]) -> None:
    for family in Family:
        addresses = addresses_of_family(case["input"]["ips"], family)
        assert list(map(format_address, addresses)) == case["output"].get(family.label, [])


@pytest.mark.table("util.json", "calls", function=("MapCIDRsByIPFamily",))
def test_kp12_prefixes_of_a_family(case: dict[str, Any]) -> None:
    for family in Family:
        prefixes = prefixes_of_family(case["input"]["cidrs"], family)
        texts = [f"{format_address(network)}/{length}" for network, length in prefixes]
        assert texts == case["output"].get(family.label, [])
