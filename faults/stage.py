"""The lab: a node with pods, an API server, a client outside, and nsx-kube-proxy as it is."""

from __future__ import annotations

import random
import re
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Final

from bench.processes import usage
from faults import clock, next_version
from faults.agent import Agent, until
from faults.intent import SERVICES, History, Served, last_words, scratch, service, slices
from faults.load import Load, Want
from faults.starvation import Starvation
from nsxdp.lab import ApiServer, Host, Node, Pod
from nsxdp.lab.host import SUBNETS
from nsxdp.lab.programs import Server

__all__ = ["Stage"]

SCRATCH: Final = 20
"""Services without traffic."""

_NODE_PORT: Final = "node"


class Stage(ExitStack):
    """Everything that there is, until it is closed.

    Attributes
    ----------
    node, apiserver, agent
        They are killed and come back.
    history
        What was said of endpoints.
    loads
        Traffic that runs.
    starvation
        Of the switch.
    stop
        Set by who wants the run to end after the present fault.
    changing
        Held by who changes Services, and by who has taken the API server away.
    fds, memory
        By how much the agent's file descriptors and bytes of memory had grown, at most, when it was
        ended.
    """

    def __init__(self, directory: Path, chance: random.Random) -> None:
        self._directory = directory
        self._chance = chance
        super().__init__()
        self._agents = 0
        self.history = History()
        self.loads: list[Load] = []
        self.stop = threading.Event()
        self.changing = threading.RLock()
        self.fds = self.memory = 0
        self.clock = directory / "clock"
        self.set_clock(0)
        try:
            self.node = self.enter_context(Node())
            self.starvation = Starvation(self.node.ovs.pid)
            self.outside = self.enter_context(Host(self.node))
            self.servers: dict[str, Server] = {}
            for served in SERVICES:
                for name in served.pods:
                    self.node.add_pod(name)
                    self.serve(name)
            self.client = self.node.add_pod("client")
            # Who never uses a Service: to an endpoint straight from the port of a connection that
            # went there by a Service, and is tracked still, the answers would come translated.
            self.control = self.node.add_pod("control")
            self.apiserver = self.enter_context(ApiServer(self.node.netns))
            self.apiserver.apply(map(service, SERVICES))
            for served in SERVICES:
                self.say(served, served.pods)
            for number in range(1, SCRATCH + 1):
                self.apiserver.apply(scratch(number, chance))
            self.start_agent()
        except BaseException:
            self.close()
            raise

    # Pods.

    def serve(self, name: str) -> None:
        """Let a pod serve, from now on or again."""
        served = next(one for one in SERVICES if name in one.pods)
        kind = "udp" if served.protocol == "UDP" else "tcp" if served.name == "lines" else "http"
        self.servers[name] = Server(self.node.pods[name], name, **{kind: [served.target]})

    def say(self, served: Served, pods: tuple[str, ...]) -> None:
        """Tell Kubernetes that a Service has these pods."""
        found: list[Pod] = [self.node.pods[name] for name in pods]
        addresses = {
            4: [pod.ip for pod in found if pod.ip],
            6: [pod.ip6 for pod in found if pod.ip6],
        }
        self.history.say(served.name, frozenset(pods))
        self.apiserver.apply(slices(served, addresses))
        # Until here the API server may have said the one or the other.
        self.history.say(served.name, frozenset(pods))

    # The agent.

    def start_agent(self, *, next_pipeline: bool = False, wait: bool = True) -> None:
        """Start nsx-kube-proxy, with a pipeline of this version or of the next."""
        self._agents += 1
        launcher = [sys.executable, str(clock.__file__), str(self.clock)]
        if next_pipeline:
            launcher.append(str(next_version.__file__))
        self.agent = self.enter_context(
            Agent(
                self.node,
                self._directory / f"agent-{self._agents}.log",
                f"--kubeconfig={self.apiserver.kubeconfig}",
                f"--nodeport-addresses={','.join(SUBNETS)}",
                launcher=launcher,
            )
        )
        if wait:
            self.await_agent()

    def await_agent(self) -> None:
        """Wait until the switch has all, and note what the agent uses."""
        self.agent.await_ready()
        self.agent.await_comparison()
        self._used = self._uses()

    def end_agent(self, *, kill: bool) -> None:
        """End it, as ``kill -9`` or as SIGTERM does."""
        self.note_growth()
        if kill:
            self.agent.kill()
        else:
            assert self.agent.stop() == 0, f"its log:\n{self.agent.log.read_text()}"

    def note_growth(self) -> None:
        """Note by how much the agent has grown since it was ready."""
        if self.agent.process.poll() is None:
            fds, memory = self._uses()
            self.fds = max(self.fds, fds - self._used[0])
            self.memory = max(self.memory, memory - self._used[1])

    def _uses(self) -> tuple[int, int]:
        """File descriptors, the fewest of some looks: some are there for a moment; and memory."""
        pid = self.agent.process.pid
        looks = []
        for _ in range(5):
            looks.append(len(list(Path(f"/proc/{pid}/fd").iterdir())))
            time.sleep(0.05)
        return min(looks), usage(pid).resident

    def set_clock(self, seconds: float) -> None:
        """Let the agent's clock be so many seconds ahead."""
        new = self.clock.with_suffix(".new")
        new.write_text(str(seconds))
        new.replace(self.clock)

    def complaints(self) -> list[str]:
        """Lines of the agents' logs that tell of a fault of its own."""
        found = []
        for log in self._directory.glob("agent-*.log"):
            text = log.read_text(errors="replace")
            found += [f"{log.name}: {line}" for line in text.splitlines() if "Traceback" in line]
        return found

    # Traffic.

    def start_loads(self, plan: tuple[Want, ...], share: float) -> None:
        """Start traffic, with that share of the plan's rates, and wait until all of it flows."""
        sources = {"pod": self.client, "node": self.node.netns, "outside": self.outside}
        self._await_ways()
        for want in plan:
            load = Load(want)
            source = self.control if want.by == "pod" else sources[want.source]
            load.start(source, *self._address(want), share)
            self.loads.append(load)
        until("all traffic flows", lambda: all(load.seen for load in self.loads))

    def _await_ways(self) -> None:
        """Wait until the node's kernel knows the ways, too: it is told after the switch."""
        for version in (4, 6):
            web = SERVICES[0].external_ips[version]
            url = f"http://[{web}]/" if version == 6 else f"http://{web}/"
            until(f"the way to {web}", partial(self.outside.http_get, url, timeout=1))
        node = f"http://{self.outside.gateways[4]}:{SERVICES[0].node_port}/"
        until(f"the way to {node}", lambda: self.outside.http_get(node, timeout=1))

    def _address(self, want: Want) -> tuple[str, int]:
        served = want.served
        if want.by == "pod":
            pod = self.node.pods[served.pods[0]]
            return str(pod.ip if want.version == 4 else pod.ip6), served.target
        if want.by == _NODE_PORT:
            return self.outside.gateways[want.version], served.node_port
        ips = served.cluster_ips if want.by == "cluster" else served.external_ips
        return ips[want.version], 80

    def stop_loads(self) -> None:
        """Send nothing more, and wait for all that is under way."""
        for load in self.loads:
            load.ask_to_stop()
        for load in self.loads:
            load.wait()

    # Changes.

    def change(self) -> None:
        """Let Services and endpoints change, once."""
        chance = self._chance
        if chance.random() < 0.5:
            number = chance.randrange(1, SCRATCH + 1)
            objects = scratch(number, chance)
            if chance.random() < 0.3:
                self.apiserver.delete(objects)
            else:
                self.apiserver.apply(objects)
        else:
            served = chance.choice(SERVICES)
            count = chance.randrange(1, len(served.pods) + 1)
            self.say(served, tuple(chance.sample(served.pods, count)))

    def keep_changing(
        self, stop: threading.Event, pause: float, failed: Callable[[Exception], None]
    ) -> None:
        """Let them change about every 'pause' seconds, until told to stop.

        Where a change fails, 'failed' is told, and the next one is tried.
        """
        while not stop.wait(pause * (0.5 + self._chance.random())):
            with self.changing:
                try:
                    self.change()
                except Exception as error:
                    failed(error)

    def await_news(self) -> None:
        """Wait until the agent knows of all that was said so far.

        After an outage it follows each kind of object again in its own time, and then in order: so
        it is over when it has what was said last of each.
        """
        self.apiserver.apply(last_words())
        wanted = "nw_dst=10.97.1.1,", "nat(dst=10.244.8.1:"

        def there() -> bool:
            dump = self._dump()
            return all(text in dump for text in wanted)

        until("the agent knows of all that was said", there)

    def _dump(self) -> str:
        """The groups and flows that the switch has."""
        ofctl, bridge = self.node.ovs.ofctl, self.node.mgmt
        return ofctl("dump-groups", bridge) + ofctl("dump-flows", bridge)

    def await_intent(self) -> None:
        """Wait until the switch leads to the pods that Kubernetes says, and to no others."""
        own = tuple(
            ip if "." in ip else f"[{ip}]"
            for pod in self.node.pods.values()
            for ip in pod.addresses
        )

        def there() -> bool:
            # Anew each time: Kubernetes goes on changing its mind.
            wanted = {
                f"[{ip}]:{served.target}" if ":" in ip else f"{ip}:{served.target}"
                for served in SERVICES
                for name in self.history.now(served.name)
                for ip in self.node.pods[name].addresses
            }
            found = set(re.findall(r"nat\(dst=([^)]+)\)", self._dump()))
            return {end for end in found if end.rpartition(":")[0] in own} == wanted

        until("the switch has the endpoints that Kubernetes says", there)
        self.agent.await_comparison()
