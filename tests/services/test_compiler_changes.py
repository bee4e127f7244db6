"""What a change sends to the switch: exactly these messages, and as many in any cluster."""

from __future__ import annotations

import random
import re
from collections import Counter
from typing import Any

import pytest
from planned import Planned, endpoint_slice, service, statements

from nsxdp.openflow.fake import FakeSwitch
from nsxdp.services.addresses import Family
from tests.calls import Calls

TWO = "10.244.0.5, 10.244.0.6"
THREE = "10.244.0.5, 10.244.0.6, 10.244.0.7"
STICKY = "sessionAffinity: ClientIP"


def pods(first: int, last: int) -> str:
    """The addresses of pods with these numbers, the last one included."""
    return ", ".join(f"10.244.{n >> 8}.{n & 255}" for n in range(first, last + 1))


def slices(n: int) -> str:
    """The EndpointSlices of pods 1 to n: no slice has more than 1000."""
    return "".join(
        endpoint_slice(pods(first, min(first + 999, n)), name=f"web-{first}")
        for first in range(1, n + 1, 1000)
    )


def check(planned: Planned, delta: Any, expected: str) -> None:
    assert [line.replace(" ", "") for line in planned.messages(delta)] == statements(expected)


# One Service.


def test_endpoint_added_is_one_message() -> None:
    """The group with all of its buckets: Open vSwitch before 3.6 can't insert one (dp_hash)."""
    planned = Planned(service() + endpoint_slice("10.244.0.5"))
    check(
        planned,
        planned.apply(endpoint_slice(TWO)),
        """
        ADD_OR_MOD group_id=G(web:80/tcp),type=select,selection_method=dp_hash,
            bucket=bucket_id:B(10.244.0.5:8080),weight:100,actions=ct(commit,table=ServiceSNAT,
              zone=65312,nat(dst=10.244.0.5:8080),exec(set_field:0x10/0x10->ct_mark)),
            bucket=bucket_id:B(10.244.0.6:8080),weight:100,actions=ct(commit,table=ServiceSNAT,
              zone=65312,nat(dst=10.244.0.6:8080),exec(set_field:0x10/0x10->ct_mark))
        """,
    )


def test_endpoint_removed_is_one_message() -> None:
    planned = Planned(service() + endpoint_slice(TWO))
    check(
        planned,
        planned.apply(endpoint_slice("10.244.0.6")),
        """
        ADD_OR_MOD group_id=G(web:80/tcp),type=select,selection_method=dp_hash,
            bucket=bucket_id:B(10.244.0.6:8080),weight:100,actions=ct(commit,table=ServiceSNAT,
              zone=65312,nat(dst=10.244.0.6:8080),exec(set_field:0x10/0x10->ct_mark))
        """,
    )


def test_endpoint_replaced_is_one_message() -> None:
    planned = Planned(service() + endpoint_slice(TWO))
    delta = planned.apply(endpoint_slice("10.244.0.5, 10.244.0.9"))
    assert (delta.messages, delta.groups_changed) == (1, 1)


def test_service_added_is_a_group_and_then_its_flow() -> None:
    planned = Planned()
    check(
        planned,
        planned.apply(service() + endpoint_slice("10.244.0.5")),
        """
        ADD_OR_MOD group_id=G(web:80/tcp),type=select,selection_method=dp_hash,
            bucket=bucket_id:B(10.244.0.5:8080),weight:100,actions=ct(commit,table=ServiceSNAT,
              zone=65312,nat(dst=10.244.0.5:8080),exec(set_field:0x10/0x10->ct_mark))
        ADD table:ServiceLB priority=200,tcp,nw_dst=10.96.0.10,tp_dst=80
            actions=group:G(web:80/tcp)
        ADD table:ServiceLB priority=150,ip,nw_dst=10.96.0.10
            actions=meter:28161,CONTROLLER:256
        """,
    )


def test_service_removed_is_its_flow_and_then_its_group() -> None:
    planned = Planned(service() + endpoint_slice(TWO))
    check(
        planned,
        planned.delete(service()),
        """
        DEL_STRICT table:ServiceLB priority=200,tcp,nw_dst=10.96.0.10,tp_dst=80 actions=drop
        DEL_STRICT table:ServiceLB priority=150,ip,nw_dst=10.96.0.10 actions=drop
        DEL group_id=G(web:80/tcp),type=all
        """,
    )
    assert planned.text() == ""


def test_first_endpoint_turns_rejection_into_service() -> None:
    planned = Planned(service())
    assert "tp_dst=80actions=meter" in "".join(planned.text().split())
    delta = planned.apply(endpoint_slice("10.244.0.5"))
    assert [line.split()[0] for line in planned.messages(delta)] == ["ADD_OR_MOD", "ADD"]
    assert "tp_dst=80actions=meter" not in "".join(planned.text().split())


def test_kp25_last_endpoint_turns_service_into_rejection() -> None:
    planned = Planned(service() + endpoint_slice("10.244.0.5"))
    check(
        planned,
        planned.apply(endpoint_slice("")),
        """
        ADD table:ServiceLB priority=200,tcp,nw_dst=10.96.0.10,tp_dst=80
            actions=meter:28161,CONTROLLER:256
        DEL group_id=G(web:80/tcp),type=all
        """,
    )


def test_kp44_another_port_number_is_there_before_the_old_one_goes() -> None:
    planned = Planned(service(ports="{name: http, port: 80}") + endpoint_slice(
        "10.244.0.5", port="{name: http, port: 8080}"
    ))  # fmt: skip
    check(
        planned,
        planned.apply(service(ports="{name: http, port: 81}")),
        """
        ADD table:ServiceLB priority=200,tcp,nw_dst=10.96.0.10,tp_dst=81
            actions=group:G(web:81/tcp)
        DEL_STRICT table:ServiceLB priority=200,tcp,nw_dst=10.96.0.10,tp_dst=80 actions=drop
        """,
    )


def test_kp44_renamed_port_goes_on_being_served() -> None:
    ports = "{name: http, port: 8080}, {name: web, port: 8080}"
    planned = Planned(
        service(ports="{name: http, port: 80}") + endpoint_slice("10.244.0.5", port=ports)
    )
    delta = planned.apply(service(ports="{name: web, port: 80}"))
    verbs = [line.split()[0] for line in planned.messages(delta)]
    # The flow is replaced, never deleted: no packet finds it missing.
    assert verbs == ["ADD_OR_MOD", "ADD", "DEL"]
    assert len(planned.switch.flows) == 2


def test_changes_that_mean_nothing_send_nothing() -> None:
    planned = Planned(service() + endpoint_slice(TWO))
    again = service(spec="sessionAffinity: None, selector: {app: web}")
    reordered = endpoint_slice("10.244.0.6, 10.244.0.5")
    split = endpoint_slice("10.244.0.6", name="web-2") + endpoint_slice("10.244.0.5")
    for text in (again, reordered, split):
        assert planned.apply(text).messages == 0


def test_a_service_sends_its_own_flows_only() -> None:
    planned = Planned(
        "".join(
            service(f"web{n}", cluster_ips=f"10.96.0.{n}")
            + endpoint_slice(TWO, name=f"web{n}-1", service=f"web{n}")
            for n in range(1, 100)
        )
    )
    delta = planned.apply(endpoint_slice(THREE, name="web42-1", service="web42"))
    assert planned.messages(delta)[0].count("G(web42:80/tcp)") == delta.messages == 1
    delta = planned.delete(service("web7", cluster_ips="10.96.0.7"))
    assert all(re.search(r"web7:|10\.96\.0\.7\b", line) for line in planned.messages(delta))
    assert delta.messages == 3


# Session affinity.


def test_endpoint_added_with_affinity_is_one_bucket_and_its_flow() -> None:
    planned = Planned(service(spec=STICKY) + endpoint_slice("10.244.0.5"))
    check(
        planned,
        planned.apply(endpoint_slice(TWO)),
        """
        INSERT_BUCKET command_bucket_id:last,group_id=G(web:80/tcp),
            bucket=bucket_id:B(10.244.0.6:8080),weight:100,
              actions=set_field:B(10.244.0.6:8080)->reg4,resubmit(,EndpointDNAT)
        ADD table:EndpointDNAT priority=200,tcp,reg4=B(10.244.0.6:8080),reg8=G(web:80/tcp)
            actions=learn(table=ServiceAffinity,idle_timeout=10800,priority=100,
              cookie=0x6eff000000000001,eth_type=0x800,nw_proto=6,NXM_NX_REG7[],NXM_OF_IP_SRC[],
              load:B(10.244.0.6:8080)->NXM_NX_REG4[]),ct(commit,table=ServiceSNAT,zone=65312,
              nat(dst=10.244.0.6:8080),exec(set_field:0x10/0x10->ct_mark))
        """,
    )


def test_kp34_removed_endpoint_with_affinity_has_no_flow_any_more() -> None:
    planned = Planned(service(spec=STICKY) + endpoint_slice(THREE))
    check(
        planned,
        planned.apply(endpoint_slice(TWO)),
        """
        REMOVE_BUCKET command_bucket_id:B(10.244.0.7:8080),group_id=G(web:80/tcp)
        DEL_STRICT table:EndpointDNAT
            priority=200,tcp,reg4=B(10.244.0.7:8080),reg8=G(web:80/tcp) actions=drop
        """,
    )


def test_kp35_affinity_goes_on_and_off() -> None:
    plain = Planned(service() + endpoint_slice(TWO))
    sticky = Planned(service(spec=STICKY) + endpoint_slice(TWO))
    planned = Planned(service() + endpoint_slice(TWO))
    planned.apply(service(spec=STICKY))
    assert planned.text() == sticky.text()
    assert planned.planner.next_rotation is not None
    planned.apply(service())
    assert planned.text() == plain.text()


def test_kp33_timeout_changes_in_place() -> None:
    planned = Planned(service(spec=STICKY) + endpoint_slice(TWO))
    other = "sessionAffinityConfig: {clientIP: {timeoutSeconds: 60}}"
    delta = planned.apply(service(spec=f"{STICKY}, {other}"))
    lines = planned.messages(delta)
    # The endpoints' flows, which say how long to remember; and the group's hash basis.
    assert sum("idle_timeout=60," in line for line in lines) == 2
    assert Counter(line.split()[0] for line in lines) == {"ADD_OR_MOD": 1, "ADD": 2}


def test_kp33_hash_basis_changes_when_affinity_may_expire() -> None:
    timeout = "sessionAffinityConfig: {clientIP: {timeoutSeconds: 60}}"
    planned = Planned(service(spec=f"{STICKY}, {timeout}") + endpoint_slice(TWO), now=120.0)
    planned.now = 179.9
    assert planned.planner.next_rotation == 180.0
    assert planned.round().messages == 0
    planned.now = 180.0
    (line,) = planned.messages(planned.round())
    assert line.startswith("ADD_OR_MOD group_id=G(web:80/tcp),type=select,selection_method=hash,")
    assert "selection_method_param=3," in line
    assert planned.planner.next_rotation == 240.0
    planned.delete(service())
    planned.now = 300.0
    assert planned.round().messages == 0
    assert planned.planner.next_rotation is None


# Many endpoints.


def structure(switch: FakeSwitch, whole: int) -> dict[int, list[str]]:
    """The parts of a large group: id -> endpoints. All of the switch's groups, but the one."""
    groups = {int(re.findall(r"group_id=(\d+)", text)[0]): text for text in switch.dump_groups()}
    parts = [int(part) for part in re.findall(r"actions=group:(\d+)", groups.pop(whole))]
    assert sorted(parts) == sorted(groups)
    return {part: re.findall(r"nat\(dst=([^)]+)\)", groups[part]) for part in parts}


def endpoints(parts: dict[int, list[str]]) -> list[str]:
    return sorted(address for part in parts.values() for address in part)


@pytest.mark.parametrize(
    ("n", "n_parts"), [(257, 4), (300, 4), (512, 4), (513, 8), (1000, 8), (5000, 64)]
)
def test_more_than_256_endpoints_are_in_two_levels(n: int, n_parts: int) -> None:
    planned = Planned(service() + slices(n))
    parts = structure(planned.switch, planned.group_id())
    assert len(parts) == n_parts
    assert len(set(endpoints(parts))) == n
    sizes = [len(part) for part in parts.values()]
    mean = n / n_parts
    # What a hash leaves uneven: five standard deviations of a binomial distribution.
    assert mean - 5 * mean**0.5 < min(sizes) <= max(sizes) < min(257, mean + 5 * mean**0.5)


def test_256_endpoints_are_in_one() -> None:
    planned = Planned(service() + endpoint_slice(pods(1, 256)))
    assert len(planned.switch.groups) == 1


def test_large_group_chooses_its_part_by_source_port() -> None:
    planned = Planned(service() + endpoint_slice(pods(1, 257)))
    (whole,) = [text for text in planned.switch.dump_groups() if "actions=group:" in text]
    head, *buckets = whole.split(",bucket=")
    assert head.endswith(f",type=select,selection_method=hash,fields=tcp_src={0x7FE}")
    assert [bucket.split(",")[0] for bucket in buckets] == [f"bucket_id:{n}" for n in range(1, 5)]


def test_endpoint_of_a_large_group_is_one_message_to_one_part() -> None:
    planned = Planned(service() + endpoint_slice(pods(1, 300)))
    before = structure(planned.switch, planned.group_id())
    delta = planned.apply(endpoint_slice(pods(1, 301)))
    assert (delta.messages, delta.groups_changed) == (1, 1)
    after = structure(planned.switch, planned.group_id())
    assert Counter(endpoints(after)) - Counter(endpoints(before)) == {"10.244.1.45:8080": 1}
    assert sum(after[part] != before[part] for part in before) == 1
    delta = planned.apply(endpoint_slice(pods(1, 300)))
    assert (delta.messages, delta.groups_changed) == (1, 1)
    assert structure(planned.switch, planned.group_id()) == before


def test_group_becomes_large_and_small_again() -> None:
    small = service() + endpoint_slice(pods(1, 256))
    planned = Planned(small)
    text = planned.text()
    flows = dict(planned.switch.flows)
    planned.apply(endpoint_slice(pods(1, 600)))
    assert len(structure(planned.switch, planned.group_id())) == 8
    planned.apply(endpoint_slice(pods(1, 400)))
    assert len(structure(planned.switch, planned.group_id())) == 4
    assert planned.switch.flows == flows
    planned.apply(endpoint_slice(pods(1, 256)))
    assert planned.text() == text


@pytest.mark.parametrize(
    "other",
    [service(spec=STICKY) + endpoint_slice(pods(1, 300)), service() + endpoint_slice("")],
    ids=["affinity", "no endpoints"],
)
def test_large_group_that_needs_no_parts_leaves_none(other: str) -> None:
    planned = Planned(service() + endpoint_slice(pods(1, 300)))
    planned.apply(other)
    assert planned.text() == Planned(other).text()
    planned.apply(service() + endpoint_slice(pods(1, 300)))
    planned.delete(service())
    assert planned.text() == ""


def test_large_group_with_affinity_has_parts_too() -> None:
    planned = Planned(service(spec=STICKY) + slices(3000))
    whole = planned.group_id()
    texts = planned.switch.dump_groups()
    assert len(texts) == 33
    assert all(",selection_method=hash,fields=ip_src," in text for text in texts)
    parts = {text.partition(",")[0] for text in texts if "actions=group:" not in text}
    (chooser,) = [text for text in texts if "actions=group:" in text]
    assert chooser.startswith(f"group_id={whole},")
    assert {f"group_id={part}" for part in re.findall(r"actions=group:(\d+)", chooser)} == parts
    assert sum(text.count("->reg4") for text in texts) == 3000
    # Each endpoint's translation, the way to the group, and the virtual address.
    assert len(planned.switch.flows) == 3003
    delta = planned.apply(endpoint_slice(pods(3001, 3001), name="web-3001"))
    assert (delta.messages, delta.buckets_inserted, delta.flows_added) == (2, 1, 1)


# After a restart.


def cluster() -> list[str]:
    """Objects of all sorts, each in a text of its own."""
    texts = []
    for n in range(1, 60):
        spec = STICKY if n % 7 == 0 else "internalTrafficPolicy: Local" if n % 11 == 0 else ""
        ips = f"10.96.0.{n}, fd00:96::{n:x}" if n % 3 == 0 else f"10.96.0.{n}"
        ports = "{name: a, port: 80}, {name: b, protocol: UDP, port: 80}"
        both = "{name: a, port: 8080}, {name: b, protocol: UDP, port: 8081}"
        name = f"web{n}"
        texts.append(service(name, cluster_ips=ips, ports=ports, spec=spec))
        addresses = pods(1, 300) if n == 5 else pods(n, n + n % 5)
        texts.append(endpoint_slice(addresses, name=f"{name}-4", service=name, port=both))
        if n % 6 == 0:
            addresses = f"fd00:244::{n:x}, fd00:244::{n:x}:1"
            texts.append(endpoint_slice(addresses, name=f"{name}-6", service=name, port=both))
    return texts


@pytest.mark.parametrize("seed", range(3))
def test_restarted_agent_finds_nothing_to_change(seed: int) -> None:
    texts = cluster()
    before = Planned("".join(texts))
    random.Random(seed).shuffle(texts)
    after = Planned()
    # One by one and in another order; with some that come and go meanwhile.
    for text in texts[::2]:
        after.apply(text)
    after.apply("".join(texts[1::2]))
    diff = after.differs_from(before.switch)
    assert diff.is_empty, diff
    assert after.text() == before.text()


def test_what_the_cluster_had_in_between_leaves_no_trace() -> None:
    texts = cluster()
    planned = Planned("".join(texts))
    expected = planned.text()
    planned.apply(service("more", cluster_ips="10.96.1.1") + endpoint_slice(TWO, service="more"))
    planned.apply(endpoint_slice(pods(1, 700), name="web5-4", service="web5", port="{port: 1}"))
    planned.delete(service("web9") + endpoint_slice("", name="web9-4", service="web9"))
    planned.delete(service("more") + endpoint_slice(TWO, service="more"))
    planned.apply("".join(texts))
    assert planned.text() == expected


# Operations.


def calls_of_one_change(n_services: int) -> tuple[int, int]:
    """How many calls it takes to plan one new endpoint of one Service among many; messages."""
    planned = Planned(
        "".join(
            service(f"web{n}", cluster_ips=f"10.96.{n >> 8}.{n & 255}")
            + endpoint_slice(TWO, name=f"web{n}-1", service=f"web{n}")
            for n in range(1, n_services + 1)
        )
    )
    changed = endpoint_slice(THREE, name="web7-1", service="web7")
    planned.take(changed)
    with Calls() as counted:
        planned.planner.round(planned.now)
    return counted.number, planned.round().messages


def test_one_change_costs_the_same_with_10_and_1000_services() -> None:
    few, many = calls_of_one_change(10), calls_of_one_change(1000)
    assert few == many
    assert few[0] > 10


def test_group_ids_are_in_our_range() -> None:
    planned = Planned("".join(cluster()))
    assert all(0x4000_0000 <= number < 0x8000_0000 for number in planned.switch.groups)
    assert planned.group_id("web3", "a") != planned.group_id("web3", "a", Family.IPV6)
