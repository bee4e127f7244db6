"""What ovs-ofctl makes of many texts at once, some of which it rejects."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence

from oracle import Oracle, messages


def flow_mods(oracle: Oracle, texts: Sequence[str]) -> list[bytes | None]:
    """The flow_mod that adds each of the flows 'texts'; None for one that is rejected.

    ovs-ofctl stops at the first text that it rejects, and mostly says which: the others are given
    to it again.
    """
    found: list[bytes | None] = [None] * len(texts)
    pending = [list(range(len(texts)))]
    while pending:
        chosen = pending.pop()
        if not chosen:
            continue
        with tempfile.NamedTemporaryFile("w", suffix=".flows") as file:
            file.write("\n".join(texts[i] for i in chosen) + "\n")
            file.flush()
            done = oracle.run("-mmmmm", "parse-flows", file.name, check=False)
        if done.returncode == 0:
            for i, message in zip(chosen, messages(done.stdout), strict=True):
                found[i] = message
        elif len(chosen) > 1:
            line = re.search(r"ovs-ofctl: [^:]*:(\d+): ", done.stderr)
            if line:
                bad = int(line[1]) - 1
                pending += [chosen[:bad], chosen[bad + 1 :]]
            else:
                half = len(chosen) // 2
                pending += [chosen[:half], chosen[half:]]
    return found


def printed(oracle: Oracle, flow_mods: Sequence[bytes]) -> list[str | None]:
    """The actions of each of 'flow_mods' as ofp-print has them; None where it can't read them."""
    lines = oracle.print_flows(flow_mods)
    # One that can't be read hides the others of its reply.
    if len(lines) == len(flow_mods):
        return [line.partition("actions=")[2] for line in lines]
    if len(flow_mods) == 1:
        return [None]
    half = len(flow_mods) // 2
    return printed(oracle, flow_mods[:half]) + printed(oracle, flow_mods[half:])
