"""What is left of a block without its exceptions."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_address, ip_network
from random import Random

import pytest

from nsxdp.policy.networks import Network, parse_network, without
from tests.calls import Calls

_Any = IPv4Network | IPv6Network


def parsed(text: str) -> Network:
    network = parse_network(text)
    assert network is not None
    return network


def left(network: str, *others: str) -> list[str]:
    found = without(parsed(network), map(parsed, others))
    return [f"{ip_address(address)}/{length}" for address, length in found]


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        ((), ["10.0.0.0/29"]),
        (("10.0.0.0/29",), []),
        (("0.0.0.0/0",), []),
        (("::/0", "10.0.1.0/29", "9.0.0.0/8"), ["10.0.0.0/29"]),
        (("10.0.0.3/32",), ["10.0.0.0/31", "10.0.0.2/32", "10.0.0.4/30"]),
        # One in another, twice the same, two that are one together.
        (("10.0.0.2/31", "10.0.0.3/32", "10.0.0.2/31"), ["10.0.0.0/31", "10.0.0.4/30"]),
        (("10.0.0.4/31", "10.0.0.6/31"), ["10.0.0.0/30"]),
    ],
)
def test_exceptions(others: tuple[str, ...], expected: list[str]) -> None:
    assert left("10.0.0.0/29", *others) == expected


@pytest.mark.parametrize(("block", "bits"), [("10.0.0.0/26", 32), ("fd00::/122", 128)])
def test_it_is_the_other_addresses_in_as_few_prefixes_as_can_be(block: str, bits: int) -> None:
    random = Random(7)
    whole = ip_network(block)
    for _ in range(300):
        inside = [random.choice([*whole.hosts()]) for _ in range(random.randint(0, 6))]
        lengths = [random.randint(bits - 8, bits) for _ in inside]
        others = [ip_network((ip, n), strict=False) for ip, n in zip(inside, lengths, strict=True)]
        found = left(block, *map(str, others))
        of_networks: list[_Any] = [ip_network(text) for text in found]
        assert {ip for network in of_networks for ip in network} == {
            ip for ip in whole if not any(ip in other for other in others)
        }
        assert found == [str(network) for network in collapse_addresses(of_networks)]  # type: ignore[type-var]


def calls(exceptions: int) -> int:
    """How many calls so many exceptions cost, all over a block."""
    texts = [f"10.{i >> 7}.{(i & 127) << 1}.1/32" for i in range(exceptions)]
    others = [parsed(text) for text in texts]
    with Calls() as counted:
        assert [*without(parsed("10.0.0.0/8"), others)]
    return counted.number


def test_an_exception_costs_the_same_among_many() -> None:
    assert calls(2000) < 2.5 * calls(1000)
