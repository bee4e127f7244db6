"""A pipeline that was changed has another version: bridges are taken over from the one before."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from itertools import product
from typing import Literal

import numpy as np

from nsxdp.openflow import Template
from nsxdp.pipeline import (
    forwarding,
    joints,
    masquerade,
    neighbors,
    policy,
    registers,
    routing,
    service,
    spoofguard,
    trunk,
)
from nsxdp.pipeline.ids import Numbers
from nsxdp.pipeline.tables import NODE_STAGES, POLICY_STAGES, STAGES
from nsxdp.services.slots import endpoint_slots
from pages.forwarding import example as node_example
from pages.forwarding import trunk_example
from pages.pipeline import example
from pages.policies import example as policies_example

PIPELINES = {1: "983c7cb3823d760e"}
"""Of each version of the pipeline, a digest of its flows and groups."""

AFFINITIES = {1: "8b7c845adcd11b93"}
"""Of each version of session affinity, a digest of what the switch learns."""

NODES = {1: "acf64537e926cecb"}
"""Of each version of the node agent's flows, a digest of them."""

WAY_OUT = (
    "the pipeline was changed: if this version of it was ever released, raise {name} in "
    "nsxdp/pipeline/registers.py, and in any case write {digest!r} here for it "
    "(docs/architecture.md, Changing the pipeline)"
)


def templates(what: object) -> Iterator[str]:
    """The texts of all templates in it."""
    if isinstance(what, Template):
        yield what.text
    elif isinstance(what, dict):
        yield from templates(list(what.values()))
    elif isinstance(what, tuple | list):
        for part in what:
            yield from templates(part)
    elif is_dataclass(what):
        yield from templates([getattr(what, field.name) for field in fields(what)])


def pipeline() -> list[str]:
    """All of it as text: tables' numbers, templates, and what the document's example makes of them.

    Cookies are left out: they have the version.
    """
    switch = example()
    modules = (forwarding, masquerade, service)
    flags = (False, True)
    acts: tuple[service.Act, ...] = ("balance", "stick")
    sources: tuple[bool | Literal["node"] | None, ...] = (None, *flags, "node")
    frontends = product(acts, sources, flags, flags, ("", "10.0.0.0/8"), flags)
    fragments: tuple[Literal["first", "noted"], ...] = ("first", "noted")
    return [
        *(f"{stage.number} {stage.name}" for stage in STAGES),
        *(text for module in modules for text in templates(list(vars(module).values()))),
        *(service.frontend(4, "TCP", service.Frontend(*what)).text for what in frontends),
        *(
            service.frontend(4, "UDP", service.Frontend("balance", fragment=what)).text
            for what in fragments
        ),
        *(re.sub("cookie=0x[0-9a-f]+,", "", flow) for flow in switch.dump_flows()),
        *switch.dump_groups(),
    ]


def affinity() -> list[str]:
    """What a learned flow has: the table, the fields, and the numbers of groups and endpoints."""
    table = next(stage.number for stage in STAGES if stage.name == "ServiceAffinity")
    learned = [
        re.sub("cookie=0x[0-9a-f]+,", "", text.partition("actions=learn(")[2].partition(")")[0])
        for text in (
            service.TEMPLATES[family, protocol].endpoint.text
            for family, protocol in product(service.FAMILIES, service.PROTOCOLS)
        )
    ]
    ids = Numbers(registers.GROUP_FIRST, registers.GROUP_LAST)
    addresses = np.array([[10, 244, 0, 11], [10, 244, 0, 12]], np.uint8)
    slots = endpoint_slots(addresses, np.array([80, 80], np.uint16), np.array([0, 2], np.uint64))
    return [str(table), *learned, str(ids.take("web", "web")), str(slots.tolist())]


def digest(lines: list[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def test_a_changed_pipeline_has_another_version() -> None:
    found = digest(pipeline())
    told = WAY_OUT.format(name="PIPELINE_VERSION", digest=found)
    assert PIPELINES.get(registers.PIPELINE_VERSION) == found, told
    assert len(set(PIPELINES.values())) == len(PIPELINES)


def test_what_is_learned_otherwise_has_another_version() -> None:
    found = digest(affinity())
    told = WAY_OUT.format(name="AFFINITY_VERSION", digest=found)
    assert AFFINITIES.get(registers.AFFINITY_VERSION) == found, told
    assert len(set(AFFINITIES.values())) == len(AFFINITIES)


def forwarding_by_the_node_agent() -> list[str]:
    """All of the node agent's pipeline as text."""
    modules = (joints, spoofguard, neighbors, routing, trunk, policy)
    families = tuple(product(service.FAMILIES, service.FAMILIES))
    return [
        *(f"{stage.number} {stage.name}" for stage in (*NODE_STAGES, *POLICY_STAGES)),
        *(text for module in modules for text in templates(list(vars(module).values()))),
        *(spoofguard.from_peer(*both, 24, 24).text for both in families),
        *(text for both in families for text in templates(routing.to_peer(*both, 24))),
        *node_example().dump_flows(),
        *trunk_example().dump_flows(),
        *policies_example().dump_flows(),
    ]


def test_changed_flows_of_the_node_agent_have_another_version() -> None:
    found = digest(forwarding_by_the_node_agent())
    told = WAY_OUT.format(name="NODE_VERSION", digest=found)
    assert NODES.get(registers.NODE_VERSION) == found, told
    assert len(set(NODES.values())) == len(NODES)


def places(texts: list[str]) -> set[tuple[str, str]]:
    """Tables and priorities in which there are flows."""
    found = (re.match(r"table=(\w+), ?priority=(\d+)", text) for text in texts)
    return {(match[1], match[2]) for match in found if match}


def test_no_flow_of_one_owner_replaces_one_of_the_other() -> None:
    proxy, agent = places(pipeline()), places(forwarding_by_the_node_agent())
    assert proxy & agent == set()
    assert {table for table, _ in proxy} & {table for table, _ in agent}
    assert all(int(priority) % 5 == 0 for _, priority in proxy)


def test_cookies_tell_versions_apart_and_have_room_for_more() -> None:
    own = {registers.COOKIE_PREFIX, *registers.OTHER_PREFIXES}
    assert own == {0x6E00 | n for n in range(1, 0x80)}
    assert registers.LEARNED_COOKIE not in registers.OTHER_LEARNED
    # A dump of all versions' flows has none of those that were learned: there may be very many.
    nodes = {registers.NODE_COOKIE_PREFIX, *registers.OTHER_NODE_PREFIXES}
    assert nodes == {0x6F00 | n for n in range(1, 0x80)}
    assert all(cookie >> 48 & 0xFF80 == 0x6E80 for cookie in registers.OTHER_LEARNED)
    assert all(prefix & 0xFF80 == 0x6E00 for prefix in own)


def test_all_of_the_pipeline_is_in_the_digest() -> None:
    texts = pipeline()
    for name in ("Classifier", "ConntrackState", "ServiceLB", "EndpointDNAT", "ServiceSNAT"):
        assert any(text.startswith(f"table={name},") for text in texts), name
    assert any("{group}" in text for text in texts)
    assert any("learn(" in text for text in texts)
