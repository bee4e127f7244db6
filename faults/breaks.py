"""What is broken, and how it is whole again: each returns when it is.

Some take connections with them, whoever watches: those say what. All others must cost none.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable
from typing import Final, NamedTuple

from faults.agent import until
from faults.intent import SERVICES, scratch
from faults.stage import SCRATCH, Stage
from nsxdp_agents.kube_proxy.nat import TABLE

__all__ = ["FAULTS", "Fault", "restart"]


class Fault(NamedTuple):
    """Something that goes wrong.

    Attributes
    ----------
    key, name
        For the command line, and for people.
    happen
        Lets it happen, and waits until all is whole again.
    costs
        Which connections fail with it; empty: none may.
    forgets
        Connection tracking knows nothing any more.
    """

    key: str
    name: str
    happen: Callable[[Stage, random.Random], None]
    costs: str = ""
    forgets: bool = False


# The agent.


def restart(stage: Stage, *, kill: bool) -> float:
    """End the agent and start it again; how many messages that took."""
    stage.end_agent(kill=kill)
    stage.start_agent()
    return stage.agent.messages


def _agent_killed(stage: Stage, chance: random.Random) -> None:
    stage.end_agent(kill=True)
    time.sleep(chance.uniform(0, 2))
    stage.start_agent()


def _agent_killed_as_it_starts(stage: Stage, chance: random.Random) -> None:
    stage.end_agent(kill=True)
    for _ in range(3):
        stage.start_agent(wait=False)
        time.sleep(chance.uniform(0.2, 2))
        stage.agent.kill()
    stage.start_agent()


def _agent_stopped(stage: Stage, chance: random.Random) -> None:
    stage.end_agent(kill=False)
    time.sleep(chance.uniform(0, 2))
    stage.start_agent()


def _other_pipeline(stage: Stage, chance: random.Random) -> None:
    for next_pipeline in (True, False):
        stage.end_agent(kill=chance.random() < 0.5)
        stage.start_agent(next_pipeline=next_pipeline)
        assert stage.agent.lines("took over from another version")


def _clock_jumps(stage: Stage, chance: random.Random) -> None:
    hour = 3600
    stage.set_clock(chance.choice([-24 * hour, -hour, hour, 24 * hour]))
    stage.agent.await_comparison()
    stage.set_clock(0)
    stage.agent.await_comparison()


# What Services come from.


def api_server_away(seconds: tuple[float, float]) -> Callable[[Stage, random.Random], None]:
    """The API server is away for so many seconds, and comes back with another history.

    Something changes meanwhile, of which no watch tells; and the agent is started without it.
    """

    def happen(stage: Stage, chance: random.Random) -> None:
        with stage.changing:
            number = chance.randrange(1, SCRATCH + 1)
            made = scratch(number, chance)
            stage.apiserver.apply(made)
            stage.apiserver.kill()
            time.sleep(chance.uniform(*seconds) / 2)
            if chance.random() < 0.5:
                stage.end_agent(kill=True)
                stage.start_agent(wait=False)
            stage.apiserver.etcd.delete(made[:1])
            time.sleep(chance.uniform(*seconds) / 2)
            stage.apiserver.compact()
            stage.apiserver.start()
            stage.await_agent()
            ip = f"nw_dst=10.97.0.{number},"
            until("the Service that went is gone", lambda: ip not in _flows(stage))

    return happen


# Open vSwitch.


def _ovsdb_server_killed(stage: Stage, chance: random.Random) -> None:
    stage.node.ovs.kill_ovsdb_server()
    time.sleep(chance.uniform(0, 1))
    stage.node.ovs.start_ovsdb_server()
    # ovs-vsctl waits for ovs-vswitchd.
    stage.node.ovs.vsctl("set", "bridge", stage.node.bridge, f"external_ids:seen={time.time()}")
    stage.agent.await_comparison()


def _vswitchd_killed(stage: Stage, chance: random.Random) -> None:
    del chance
    stage.node.ovs.restart_vswitchd()
    stage.await_intent()


def _refused(stage: Stage, chance: random.Random) -> None:
    """The switch has no room for another flow, and then has."""
    ovs, bridge = stage.node.ovs, stage.node.bridge
    with stage.changing:
        number = SCRATCH + 1
        logged = len(stage.agent.lines("the switch refused"))
        there = _flows(stage, "table=20").count("table=20")
        ovs.vsctl(
            *("--id=@ft", "create", "Flow_Table", f"flow_limit={there}", "overflow_policy=refuse"),
            *("--", "set", "Bridge", bridge, "flow_tables:20=@ft"),
        )
        made = scratch(number, chance)
        stage.apiserver.apply(made)
        stage.agent.await_log("the switch refused", logged + 1)
        stage.agent.await_comparison()
        ovs.vsctl("clear", "Bridge", bridge, "flow_tables")
        until("it is taken", lambda: f"nw_dst=10.97.0.{number}," in _flows(stage))
        stage.apiserver.delete(made)
        until("it is gone", lambda: f"nw_dst=10.97.0.{number}," not in _flows(stage))


# Somebody else's hands.


def _flow_deleted(stage: Stage, chance: random.Random) -> None:
    _by_hand(stage, lambda: _change_flow(stage, chance, "del-flows", ""))


def _flow_altered(stage: Stage, chance: random.Random) -> None:
    _by_hand(stage, lambda: _change_flow(stage, chance, "mod-flows", ",actions=drop"))


def _change_flow(stage: Stage, chance: random.Random, command: str, actions: str) -> None:
    found = re.findall(r"(table=\d+, (?:priority=\d+,)?\S*) actions=", _flows(stage))
    match = chance.choice(found).replace(" ", "")
    stage.node.ovs.ofctl("--strict", command, stage.node.mgmt, f"{match}{actions}")


def _group_deleted(stage: Stage, chance: random.Random) -> None:
    dump = stage.node.ovs.ofctl("dump-groups", stage.node.mgmt)
    group = chance.choice(re.findall(r"group_id=\d+", dump))
    _by_hand(stage, lambda: stage.node.ovs.ofctl("del-groups", stage.node.mgmt, group))


def _by_hand(stage: Stage, change: Callable[[], object]) -> None:
    with stage.changing:
        drift = stage.agent.drift
        change()
        until("it is repaired", lambda: stage.agent.drift > drift)


def _nftables_flushed(stage: Stage, chance: random.Random) -> None:
    del chance
    netns = stage.node.netns
    list_table = ["nft", "list", "table", *TABLE.split()]
    before = netns.run(list_table).stdout.count("dnat")
    netns.run(["nft", "flush", "ruleset"])
    until(
        "the node's translations are back",
        lambda: netns.run(list_table, check=False).stdout.count("dnat") == before,
    )


def _endpoint_dies(stage: Stage, chance: random.Random) -> None:
    with stage.changing:
        served = chance.choice(SERVICES)
        gone = chance.choice(served.pods)
        stage.servers.pop(gone).close()
        stage.say(served, tuple(name for name in served.pods if name != gone))
        stage.await_intent()
        stage.serve(gone)
        stage.say(served, served.pods)


def _flows(stage: Stage, *what: str) -> str:
    """The agent's flows."""
    ovs = stage.node.ovs
    return "\n".join(
        line
        for line in ovs.ofctl("--no-stats", "dump-flows", stage.node.mgmt, *what).splitlines()
        if "cookie=0x6e0" in line
    )


FAULTS: Final = (
    Fault("kill", "nsx-kube-proxy killed", _agent_killed),
    Fault("kill-early", "nsx-kube-proxy killed as it starts", _agent_killed_as_it_starts),
    Fault("stop", "nsx-kube-proxy stopped", _agent_stopped),
    Fault("pipeline", "another version's pipeline, and back", _other_pipeline),
    Fault("clock", "the clock jumps, and back", _clock_jumps),
    Fault("apiserver", "kube-apiserver away, its history compacted", api_server_away((5, 15))),
    Fault("ovsdb", "ovsdb-server killed", _ovsdb_server_killed),
    Fault("refusal", "the switch refuses a flow", _refused),
    Fault("endpoint", "an endpoint dies", _endpoint_dies, "those to it"),
    Fault("flow-deleted", "a flow deleted by hand", _flow_deleted, "until it is repaired"),
    Fault("flow-altered", "a flow altered by hand", _flow_altered, "until it is repaired"),
    Fault("group", "a group deleted by hand", _group_deleted, "until it is repaired"),
    Fault("nftables", "nftables flushed", _nftables_flushed, "from outside, until it is repaired"),
    Fault(
        "vswitchd", "ovs-vswitchd killed", _vswitchd_killed, "all: its conntrack goes with it", True
    ),
)
"""All that is broken."""
