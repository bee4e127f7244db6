"""nsx-kube-proxy as a next version of it may be: other numbers of tables, and other registers.

    python next_version.py PATH-OF-NSX-KUBE-PROXY [ARGUMENT ...]

The parts of the pipeline are changed before anything is made of them, so all of its flows and
groups are otherwise than this version's; the conntrack zones, marks and labels, by which both know
a connection, are the same.
"""

from __future__ import annotations

import dataclasses
import re
import sys

from nsxdp import openflow
from nsxdp.openflow import template
from nsxdp.pipeline import registers, tables

VERSION = 2

SHIFT = 1
"""Every table but the first gets a number that none had."""

REGISTERS = {"4": "7", "7": "4"}
_REGISTER = re.compile(r"(?:(?<=\breg)|(?<=_REG))([47])\b")


def moved(text: str, names: openflow.Tables | None = None) -> openflow.Template:
    """The template of the next version."""
    return template.Template(_REGISTER.sub(lambda found: REGISTERS[found[1]], text), names)


def change() -> None:
    """Make the next version of this one."""
    stages = tuple(
        dataclasses.replace(stage, number=stage.number and stage.number + SHIFT)
        for stage in tables.STAGES
    )
    vars(registers).update(
        PIPELINE_VERSION=VERSION,
        AFFINITY_VERSION=VERSION,
        COOKIE_PREFIX=0x6E00 | VERSION,
        LEARNED_COOKIE=0x6EFF << 48 | VERSION,
        LONG_COOKIE=0x6EFF << 48 | 1 << 47 | VERSION,
        OTHER_PREFIXES=(0x6E01,),
        OTHER_LEARNED=(0x6EFF << 48 | 1,),
    )
    vars(tables).update(
        STAGES=stages, TABLES=openflow.Tables({stage.name: stage.number for stage in stages})
    )
    vars(openflow).update(Template=moved)


if __name__ == "__main__":
    change()
    from nsxdp_agents.kube_proxy.cli import main

    del sys.argv[0]
    main()
