"""Which of its addresses serve node ports: kube-proxy's table."""

from __future__ import annotations

from typing import Any

import pytest

from nsxdp.services.addresses import Family, format_address, parse_address
from nsxdp.services.nodeports import contains_loopback, node_port_addresses


@pytest.mark.table("nodeport_addresses.json", "getNodeIPs")
def test_kp36_the_addresses_that_cidrs_select(case: dict[str, Any]) -> None:
    family = Family.IPV6 if case["ipFamily"] == "IPv6" else Family.IPV4
    texts = [text.split("/")[0] for i in case["interfaces"] for text in i["addresses"]]
    own = [address for text in texts if (address := parse_address(text))]
    found = node_port_addresses(case["cidrs"], own, family)
    assert sorted(map(format_address, found)) == sorted(case["ips"])


@pytest.mark.table("nodeport_addresses.json", "containsIPv4Loopback")
def test_kp37_cidrs_with_loopback(case: dict[str, Any]) -> None:
    assert contains_loopback(case["cidrs"]) == case["containsIPv4Loopback"]
