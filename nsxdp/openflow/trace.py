"""What becomes of a packet: ``ofproto/trace`` of ovs-vswitchd, read.

The text is Open vSwitch's (its ofproto/ofproto-dpif-trace.c); `Trace.text` has all of it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

__all__ = ["Pass", "Trace", "TraceStep", "read_trace"]

_TABLE = re.compile(r"^( *)(\w[\w-]*)\. (.*)$")
_COOKIE = re.compile(r", cookie (0x[0-9a-f]+)$")
_PRIORITY = re.compile(r"(?:, |^)priority (\d+)$")
_LABELS = ("Final flow: ", "Megaflow: ", "Datapath actions: ")
_INDENT = 4
"""Of what a flow of the first table does."""


@dataclass(frozen=True, slots=True)
class TraceStep:
    """One table that the packet came through.

    Attributes
    ----------
    depth
        How deep it is in resubmits, groups and clones.
    table
        The table's name, or its number where it has none.
    match
        Of the flow that the packet met; empty: it matches all; None: there was no such flow.
    priority
        Of that flow; None where Open vSwitch shows none.
    cookie
        Of that flow; 0 where it has none.
    actions
        Of that flow, each with what Open vSwitch remarks on it (``drop``, ``resubmit(,3)``,
        ``>>>> ... <<<<``).
    bridge
        The bridge's name: a packet in a tunnel, or by a patch port, goes on in another one.
    """

    depth: int
    table: str
    match: str | None
    priority: int | None
    cookie: int
    actions: tuple[str, ...]
    bridge: str = ""


@dataclass(frozen=True, slots=True)
class Pass:
    """One way through the pipeline; a recirculation (connection tracking, say) begins another.

    Attributes
    ----------
    flow
        The packet as it came in.
    bridge
        The name of the bridge where it begins.
    steps
        The tables that it met, in their order.
    final_flow
        ``unchanged``, or the packet as it went out.
    megaflow
        The packets that the datapath would treat alike.
    datapath_actions
        What the datapath does with them.
    """

    flow: str
    bridge: str
    steps: tuple[TraceStep, ...]
    final_flow: str
    megaflow: str
    datapath_actions: str


@dataclass(frozen=True, slots=True)
class Trace:
    """All that became of a packet: what `Switch.trace` gives.

    Attributes
    ----------
    passes
        The packet's ways through the pipeline, in their order.
    text
        All that Open vSwitch said.

    Examples
    --------
    >>> from nsxdp.openflow.trace import read_trace
    >>> trace = read_trace('''Flow: ip,in_port=1,nw_dst=10.0.0.1
    ...
    ... bridge("br0")
    ... -------------
    ...  0. ip, priority 5
    ...     resubmit(,1)
    ...  1. ip,nw_dst=10.0.0.1, priority 7, cookie 0x2a
    ...     output:2
    ...
    ... Final flow: unchanged
    ... Megaflow: recirc_id=0,eth,ip,in_port=1,nw_dst=10.0.0.1,nw_frag=no
    ... Datapath actions: 2
    ... ''')
    >>> [(step.table, step.priority, step.actions) for step in trace.steps]
    [('0', 5, ('resubmit(,1)',)), ('1', 7, ('output:2',))]
    >>> trace.datapath_actions, trace.dropped
    ('2', False)
    """

    passes: tuple[Pass, ...]
    text: str

    @property
    def steps(self) -> tuple[TraceStep, ...]:
        """The tables of all passes."""
        return tuple(step for one in self.passes for step in one.steps)

    @property
    def datapath_actions(self) -> str:
        """What is done with the packet at last."""
        return self.passes[-1].datapath_actions if self.passes else ""

    @property
    def dropped(self) -> bool:
        """Whether nothing leaves the switch."""
        return self.datapath_actions in ("drop", "")

    def __str__(self) -> str:
        return self.text


def read_trace(text: str) -> Trace:
    """Read what ``ofproto/trace`` has answered; of a text that is something else: no passes."""
    parts = re.split(r"(?m)^={20,}$\n(?:recirc.*\n)?(?:={20,}\n)?", text)
    passes = [_read_pass(part.splitlines()) for part in parts if "Flow: " in part]
    return Trace(tuple(passes), text)


def _read_pass(lines: list[str]) -> Pass:
    flow = bridge = ""
    bridges: list[tuple[int, str]] = []  # indentation and name, from the outermost
    found = dict.fromkeys(_LABELS, "")
    steps: list[TraceStep] = []
    actions: list[list[str]] = []
    open_steps: list[tuple[int, int]] = []  # indentation and index, from the outermost
    for line in lines:
        indent = len(line) - len(line.lstrip())
        label = next((label for label in _LABELS if line.startswith(label)), None)
        table = _TABLE.match(line)
        if line.startswith("Flow: "):
            flow = line.removeprefix("Flow: ")
        elif line.lstrip().startswith('bridge("'):
            bridges.append((indent, line.strip().removeprefix('bridge("').removesuffix('")')))
            bridge = bridges[0][1]
        elif label:
            found[label] = line.removeprefix(label)
        elif bridge and (table or indent >= _INDENT):
            # A table is less indented than what its flow does.
            while open_steps and open_steps[-1][0] >= indent:
                open_steps.pop()
            if table:
                while bridges[-1][0] > indent:
                    bridges.pop()
                step = _step(len(open_steps), table[2], table[3])
                steps.append(replace(step, bridge=bridges[-1][1]))
                actions.append([])
                open_steps.append((indent, len(steps) - 1))
            elif open_steps:
                actions[open_steps[-1][1]].append(line.strip())
    whole = (replace(step, actions=tuple(done)) for step, done in zip(steps, actions, strict=True))
    return Pass(flow, bridge, tuple(whole), *found.values())


def _step(depth: int, table: str, rule: str) -> TraceStep:
    if rule.startswith("No match"):
        return TraceStep(depth, table, None, None, 0, ())
    cookie = _COOKIE.search(rule)
    rule = rule[: cookie.start()] if cookie else rule
    priority = _PRIORITY.search(rule)
    match = rule[: priority.start()] if priority else rule
    return TraceStep(
        depth,
        table,
        match,
        int(priority[1]) if priority else None,
        int(cookie[1], 16) if cookie else 0,
        (),
    )
