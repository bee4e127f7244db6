"""What is written about the pipeline is what is made: the page, and the modules' own examples."""

from __future__ import annotations

import re
from inspect import cleandoc
from types import ModuleType

import pytest

from nsxdp.openflow import Flow, Group
from nsxdp.openflow.fake import FakeSwitch
from nsxdp.pipeline import (
    forwarding,
    joints,
    masquerade,
    neighbors,
    policy,
    routing,
    service,
    spoofguard,
    trunk,
)
from nsxdp.pipeline.tables import TABLES
from pages import forwarding as node_page
from pages import pipeline as service_page
from pages import policies as policy_page
from pages.pipeline import GATEWAY, POD

PAGES = (service_page, node_page, policy_page)

EXAMPLES = {
    service_page.__name__: lambda: [service_page.example()],
    node_page.__name__: lambda: [node_page.example(), node_page.trunk_example()],
    policy_page.__name__: lambda: [policy_page.example()],
}
"""What each page shows the flows and groups of."""


@pytest.fixture(scope="module")
def switch() -> FakeSwitch:
    return service_page.example()


def blocks(page: ModuleType) -> list[str]:
    """The flows and groups of a page."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", page.page(), re.MULTILINE | re.DOTALL)
    return [text for language, text in found if not language]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.__name__)
def test_a_page_is_narrow(page: ModuleType) -> None:
    assert len(blocks(page)) > 5
    assert all(len(line) <= 100 for text in blocks(page) for line in text.splitlines())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.__name__)
def test_what_a_page_shows_can_be_read_again(page: ModuleType) -> None:
    found = [text for block in blocks(page) for text in statements(block)]
    for text in found:
        if text.startswith("group_id="):
            Group.parse(text, TABLES)
        else:
            Flow.parse(text, TABLES)
    switches = EXAMPLES[page.__name__]()
    assert len(found) == sum(len(switch.flows) + len(switch.groups) for switch in switches)


def statements(text: str) -> list[str]:
    """Flows and groups, each joined from its lines: further ones are indented."""
    found: list[str] = []
    for line in text.splitlines():
        if line.startswith(" "):
            blank = " " if line.strip().startswith("actions=") else ""
            found[-1] += blank + line.strip()
        elif line:
            found.append(line)
    return found


def examples(module: ModuleType) -> list[str]:
    """The flows and groups that a module's docstring shows."""
    blocks = re.findall(r"::\n\n((?:    .*\n|\n)+)", cleandoc(module.__doc__ or "") + "\n")
    return [text for block in blocks for text in statements(re.sub("^    ", "", block, flags=re.M))]


def anonymous(text: str, switch: FakeSwitch) -> str:
    """What the switch has, with the names that the docstrings use, without whitespace."""
    groups = set(switch.groups)
    buckets = {bucket for group in switch.groups.values() for bucket in group.buckets}

    def name(match: re.Match[str]) -> str:
        number = int(match[0], 0)
        return "G" if number in groups else "B" if number in buckets else match[0]

    text = re.sub(r"\b(0x[0-9a-f]+|[1-9][0-9]*)\b", name, text)
    for pattern, word in POLICY_NUMBERS:
        text = re.sub(pattern, word, text)
    return canonical(text.replace(GATEWAY.mac, "GATEWAY").replace(POD.mac, "POD"))


POLICY_NUMBERS = (
    (r"(?<=reg5=)0x\w+(?![/\w])|0x\w+(?=->reg5)", "TARGET"),
    (r"(?<=reg6=)0x\w+(?![/\w])|0x\w+(?=->reg6)", "PEER"),
    (r"(?<=reg9=)0x\w+|0x\w+(?=->reg9)", "NAMESPACE"),
    (r"(?<=conj_id=)\d+|(?<=conjunction\()\d+", "RULE"),
)
"""What policies' numbers are called in docstrings, and where they stand."""


def canonical(text: str) -> str:
    """Without whitespace; buckets, whose order is that of hashes, in the order of their texts."""
    head, *buckets = "".join(text.split()).split(",bucket=")
    return ",bucket=".join([head, *sorted(buckets)])


@pytest.mark.parametrize(
    ("page", "module"),
    [
        *((service_page, module) for module in (service, forwarding, masquerade)),
        *((node_page, module) for module in (joints, spoofguard, neighbors, routing, trunk)),
        (policy_page, policy),
    ],
    ids=lambda module: module.__name__,
)
def test_examples_of_docstrings_are_what_is_made(page: ModuleType, module: ModuleType) -> None:
    made = {
        anonymous(text, switch)
        for switch in EXAMPLES[page.__name__]()
        for text in (*switch.dump_flows(), *switch.dump_groups())
    }
    shown = [canonical(text) for text in examples(module)]
    assert len(shown) >= 3
    # The switch makes these by itself; tests/packets has them from one.
    learned = [text for text in shown if text.startswith("table=ServiceAffinity,")]
    assert [text for text in shown if text not in made] == learned


def test_every_table_has_its_flows_or_learns_them(switch: FakeSwitch) -> None:
    others = (node_page, policy_page)
    flows = [*switch.dump_flows(), *(f for page in others for f in page.example().dump_flows())]
    used = {flow.split(",")[0] for flow in flows}
    tables = {f"table={name.decode()}" for name in TABLES.by_number if name}
    assert tables - used == {"table=ServiceAffinity"}
    assert any("learn(table=ServiceAffinity," in flow for flow in flows)
