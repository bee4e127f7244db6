"""Removes what the proxy made on a bridge, and leaves a bridge that switches like any other."""

from __future__ import annotations

from typing import Final

from nsxdp.openflow import (
    Flow,
    Group,
    MeterCommand,
    MeterMod,
    Session,
    codec,
    delete_flows,
)
from nsxdp.openflow.messages import MeterFlags
from nsxdp.pipeline.registers import (
    COOKIE_FAMILY,
    COOKIE_FAMILY_MASK,
    GROUP_FIRST,
    GROUP_LAST,
    REJECT_METER,
)

__all__ = ["clean_up"]

_NORMAL: Final = "table=0,priority=0,actions=NORMAL"
"""What Open vSwitch gives a new bridge that has no controller."""


async def clean_up(session: Session) -> None:
    """Delete the flows of every version, learned ones too, the groups and the meter, at once."""
    messages = [
        delete_flows(COOKIE_FAMILY, COOKIE_FAMILY_MASK).encode(),
        Flow.parse(_NORMAL).encode(),
    ]
    async for reply in session.dump_groups():
        messages.extend(
            # By its id alone: a deletion that names a selection method is refused.
            Group(group.group_id, group.type, b"").encode(codec.GROUP_DELETE)
            for group in Group.decode_reply(reply)
            if GROUP_FIRST <= group.group_id <= GROUP_LAST
        )
    await session.commit(b"".join(messages))
    session.send(MeterMod(MeterCommand.DELETE, MeterFlags(0), REJECT_METER))
    await session.barrier()
