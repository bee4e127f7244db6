"""Token bucket filters: what is asked for is what tc(8) shows, and hostile bytes are refused."""

from __future__ import annotations

import json

import pytest

from nsxdp.lab import Netns
from nsxdp.rtnetlink import Connection, MalformedError, Tbf


@pytest.mark.parametrize("rate", [125, 1_000_000, 20_000_000_000])
def test_the_kernel_has_what_it_is_told(netns: Netns, rate: int) -> None:
    netns.iproute("link add gw0 type veth peer name peer")
    with netns.enter(), Connection() as kernel:
        link = kernel.link("gw0")
        assert link is not None
        assert kernel.tbfs() == []
        wanted = Tbf(link.index, rate, 100_000, 65_536)
        assert kernel.apply([wanted.replace()]) == []
        assert kernel.tbfs() == [Tbf(link.index, rate, 100_000)]
    (shown,) = json.loads(netns.run(["tc", "-j", "qdisc", "show", "dev", "gw0"]).stdout)
    assert (shown["kind"], shown["options"]["rate"]) == ("tbf", rate)


def test_an_interface_that_is_not_there_is_none(netns: Netns) -> None:
    with netns.enter(), Connection() as kernel:
        assert kernel.link("gw0") is None
        link = kernel.link("lo")
        assert link is not None
        assert link.index == 1


@pytest.mark.parametrize("rate", [1_000_000, 20_000_000_000])
def test_what_is_cut_off_is_refused(rate: int) -> None:
    tbf = Tbf(7, rate, 100_000, 65_536)
    body = tbf.replace().body
    assert Tbf.decode(body) == Tbf(7, rate, 100_000)
    for length in range(len(body)):
        try:
            found = Tbf.decode(body[:length])
        except MalformedError:
            continue
        assert found is None  # it ends where an attribute does
