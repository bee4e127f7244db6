"""What policies say to a packet, table by table, in words."""

from __future__ import annotations

from typing import Final

from nsxdp.openflow import TraceStep
from nsxdp.pipeline.policy import WAYS, Direction
from nsxdp.pipeline.tables import TABLES
from nsxdp.tracing.names import Names, Ruling
from nsxdp.tracing.story import Story

__all__ = ["is_of_policies", "tell_policies"]

_ENDS: Final = {
    "Refused": "goes no further",
    "Report": "and the agent isn't asked to tell of it",
    "ConntrackCommit": "let in: the connection is remembered",
}
_REFUSED: Final = TABLES.by_number.index(b"Refused")
_PLACES: Final[dict[str, Direction]] = {
    table: direction
    for direction, way in WAYS.items()
    for table in (way.entry, way.peer, *way.tiers.values())
}
_FROM_NODE: Final = 240
_ALWAYS: Final = 230
"""Priorities of what no policy has a say in (`nsxdp.pipeline.policy`)."""


def is_of_policies(table: str) -> bool:
    """Whether it is one of the tables of policies."""
    return table in _PLACES or table in _ENDS


async def tell_policies(
    story: Story, names: Names, table: str, step: TraceStep, *, of_pod: bool
) -> str:
    """What happens in one of the tables; it is noted in the story, too.

    Parameters
    ----------
    of_pod
        Whether the port that is judged for is a pod's.
    """
    if table == "Report" and step.priority:
        return "and the agent tells of it"
    if table in _ENDS:
        return _ENDS[table]
    direction = _PLACES[table]
    way = WAYS[direction]
    if table == way.entry:
        return _entry(story, direction, step, of_pod=of_pod)
    if table == way.peer:
        end = "to" if direction == "egress" else "from"
        known = "a pod" if step.priority else "no pod"
        return f"{end} {known} that rules are about"
    return await _tier(story, names, direction, table, step)


def _entry(story: Story, direction: Direction, step: TraceStep, *, of_pod: bool) -> str:
    if step.match is None or not step.priority:
        return _say(story, direction, "denied: nothing is known yet of the pod at this port")
    if any(action.endswith("->reg5") for action in step.actions):
        return f"policies have a say in the pod's {direction}"
    if step.priority == _FROM_NODE:
        return _say(story, direction, "allowed: the node reaches its own pods")
    if not of_pod:
        return "no pod's port: nobody to judge for"
    return _say(story, direction, "allowed: no policy is for the pod")


async def _tier(
    story: Story, names: Names, direction: Direction, table: str, step: TraceStep
) -> str:
    is_last = table == WAYS[direction].tiers["baseline"]
    if step.priority == 0:
        if not is_last:
            return "no rule of this tier decides"
        return _say(story, direction, "allowed: no rule decides otherwise")
    if step.priority == _ALWAYS:
        return _say(story, direction, "allowed: a pod reaches its own node, and itself")
    ruling = await names.ruling(step.cookie) or _unnamed(step)
    if ruling.action == "pass":
        words = str(ruling)
        return _say(story, direction, f"allowed: {words}, and there is none") if is_last else words
    return _say(story, direction, str(ruling))


def _unnamed(step: TraceStep) -> Ruling:
    """What a flow decides whose rule nobody names."""
    denies = f"goto_table:{_REFUSED}" in step.actions
    return Ruling(
        f"a rule that is not known here (cookie {step.cookie:#x})", "deny" if denies else "accept"
    )


def _say(story: Story, direction: Direction, words: str) -> str:
    """Note a decision."""
    if direction == "egress":
        story.egress = words
    else:
        story.ingress = words
    if words.startswith("denied"):
        whose = "sender's" if direction == "egress" else "receiver's"
        story.outcome, story.end = "dropped", f"the {whose} policies deny it"
    return words
