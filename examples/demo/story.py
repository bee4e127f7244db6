"""What the demo shows, phase by phase."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Thread

from load import Load, Result
from show import Show
from stage import MANIFESTS, NODE, PODS, Stage

from nsxdp.pipeline.tables import TABLES
from nsxdp_agents.kube_proxy.render import render

WEB, WEB6, CART, ECHO, CLOSED = (
    "10.96.0.10",
    "fd00:96::10",
    "10.96.0.20",
    "10.96.0.53",
    "10.96.0.99",
)
"""The virtual addresses of the Services in examples/manifests."""

RATE = 200.0
SPREAD_RATE = 100.0
RECOVERY_SECONDS = 1.0
REFUSAL_SECONDS = 0.5
IMPATIENCE = 0.9
"""Seconds after which a request counts as lost while the switch is away: less than TCP's first
retransmission takes, or most would be answered late instead."""

_PROBE_SECONDS = 0.05


@dataclass
class Story:
    """The phases, each of which leaves the stage as the next one needs it."""

    stage: Stage
    show: Show
    fast: bool
    group: int = 0
    """Id of the group of 'web' for IPv4."""
    rows: list[tuple[str, Result, str]] = field(default_factory=list)

    def tell(self) -> None:
        """All of it."""
        self.translation()
        self.spread()
        self.affinity()
        self.refusal()
        self.scaling()
        self.agent_killed()
        self.switch_restarted()
        self.flow_deleted()
        self.show.summary(self.rows)

    def _moment(self, seconds: float) -> None:
        """Let traffic flow for a while."""
        time.sleep(seconds / 2 if self.fast else seconds)

    def _load(self, *, timeout: float = 5.0) -> Load:
        return Load(self.stage.client, "http", WEB, 80, rate=RATE, timeout=timeout)

    def _account(self, name: str, result: Result, remark: str = "") -> None:
        self.rows.append((name, result, remark))

    def _none_lost(self, result: Result, when: str = "") -> None:
        self.show.check(
            not result.lost, f"{result.sent} connections{when}, {result.lost} of them lost"
        )

    def translation(self) -> None:
        """What becomes of a Service."""
        self.show.phase(
            "A Service becomes one group and one flow",
            f"This is what nsx-kube-proxy makes of the Service 'web' ({WEB}:80) and its three "
            "endpoints. The flow catches the first packet of a connection to the virtual address; "
            "the group picks a bucket, and the bucket rewrites the destination to a pod. "
            "Connection tracking remembers the choice, so later packets never ask again.",
        )
        lines = list(render(MANIFESTS, NODE, TABLES))
        flow = next(line for line in lines if f"nw_dst={WEB},tp_dst=80 " in line)
        self.group = int(flow.rpartition("group:")[2])
        group = next(line for line in lines if line.startswith(f"group_id={self.group},"))
        self.show.code([flow, "", *group.replace(",bucket=", "\n  bucket=").split("\n")])
        self.show.console.print()
        with self.show.busy("  starting nsx-kube-proxy ..."):
            self.stage.agent.start()
        buckets = self.stage.buckets(self.group)
        self.show.check(
            buckets == 3, f"nsx-kube-proxy runs, and the switch has the group: {buckets} endpoints"
        )

    def spread(self) -> None:
        """Connections through virtual addresses."""
        self.show.phase(
            "Connections are spread over the pods",
            "Real HTTP and UDP, a new connection each time, from a pod and from the node itself. "
            "web-4 runs, but isn't an endpoint yet.",
        )
        count = 100 if self.fast else 300
        client, host = self.stage.client, self.stage.node.netns
        loads = {
            (name, shown): Load(source, protocol, address, port, rate=SPREAD_RATE, count=count)
            for name, source in (("pod", client), ("node", host))
            for shown, protocol, address, port in (
                (f"{WEB}:80 HTTP", "http", WEB, 80),
                (f"[{WEB6}]:80 HTTP", "http", WEB6, 80),
                (f"{ECHO}:53 UDP", "udp", ECHO, 53),
            )
        }
        results = self.show.spread(loads, PODS)
        total = sum(results, Result())
        self.show.console.print()
        self._none_lost(total)
        even = all(
            result.backends[pod] > result.answered / 10 for result in results for pod in PODS[:3]
        )
        self.show.check(even, "each endpoint has its share of every virtual address")
        stray = total.backends[PODS[3]]
        self.show.check(not stray, f"{stray} connections reached the pod that is no endpoint")
        self._account("spread over the pods", total)

    def affinity(self) -> None:
        """Session affinity."""
        self.show.phase(
            "Session affinity: one client, one pod",
            f"The Service 'cart' ({CART}:80) has sessionAffinity: ClientIP. The switch itself "
            "learns which pod a client had, and keeps it there.",
        )
        count = 50 if self.fast else 100
        loads = {
            name: Load(source, "http", CART, 80, rate=SPREAD_RATE, count=count)
            for name, source in (("pod", self.stage.client), ("node", self.stage.node.netns))
        }
        results = {name: load.wait() for name, load in loads.items()}
        for name, result in results.items():
            pods = ", ".join(result.backends) or "nobody"
            self.show.check(
                len(result.backends) == 1 and not result.lost,
                f"{result.sent} connections from the {name}: all answered by {pods}",
            )
        self._account("session affinity", sum(results.values(), Result()))

    def refusal(self) -> None:
        """A Service without endpoints."""
        self.show.phase(
            "A Service without endpoints refuses at once",
            f"Nobody is behind 'closed' ({CLOSED}:80). A client is told so, instead of waiting for "
            "a timeout.",
        )
        started = time.perf_counter()
        try:
            self.stage.client.http_get(f"http://{CLOSED}/")
            outcome = "answered"
        except ConnectionRefusedError:
            outcome = "refused"
        except OSError as error:
            outcome = str(error)
        seconds = time.perf_counter() - started
        self.show.check(
            outcome == "refused" and seconds < REFUSAL_SECONDS,
            f"connection {outcome} after {_ms(seconds)}",
        )

    def scaling(self) -> None:
        """Endpoints come and go under traffic."""
        self.show.phase(
            "Endpoints come and go, under traffic",
            f"{RATE:g} connections a second to 'web' while its endpoints go from 3 to 4 to 2, as "
            "when a Deployment is scaled. Only what differs is sent to the switch.",
        )
        load = self._load()
        results = []
        with self.show.watching(load):
            self._moment(1)
            for before, after in ((3, 4), (4, 2)):
                self._scale(before, after)
                results.append(self._shares(after))
                self._moment(1)
        total = sum(results, load.stop())
        self._none_lost(total)
        self._account("endpoints 3 → 4 → 2", total)

    def _shares(self, endpoints: int) -> Result:
        """See who is chosen from now on."""
        count = int(RATE if self.fast else 2 * RATE)
        result = Load(self.stage.client, "http", WEB, 80, rate=RATE, count=count).wait()
        even = all(result.backends[pod] > count / endpoints / 2 for pod in PODS[:endpoints])
        gone = sum(result.backends[pod] for pod in PODS[endpoints:])
        shares = ", ".join(f"{pod} {result.backends[pod]}" for pod in PODS)
        self.show.check(even and not gone, f"from then on {count} connections: {shares}")
        return result

    def _scale(self, before: int, after: int) -> None:
        agent = self.stage.agent
        sent = agent.metric(MESSAGES)
        said = self.stage.source.scale(after)
        agent.wait_until(
            lambda: self.stage.buckets(self.group) == after, f"has not gone to {after} endpoints"
        )
        agent.wait_until(lambda: agent.last_sync() > said, "does not say when it was done")
        messages = agent.metric(MESSAGES) - sent
        self.show.check(
            True,
            f"{before} → {after} endpoints: the switch had it after "
            f"{_ms(agent.last_sync() - said)}{self.stage.source.patience}, by {messages:.0f} "
            "messages for IPv4 and IPv6",
        )

    def agent_killed(self) -> None:
        """The end of nsx-kube-proxy by ``kill -9``."""
        self.show.phase(
            "kill -9 of nsx-kube-proxy, under traffic",
            "The flows stay in the switch and go on working. After its start the new process "
            "compares what is there with what should be, and touches nothing that is right.",
        )
        agent = self.stage.agent
        load = self._load()
        with self.show.watching(load):
            self._moment(1)
            agent.kill()
            self.show.note("killed; connections go on without it")
            self._moment(2)
            agent.start()
            sent = agent.metric(MESSAGES)
            self._moment(1)
        result = load.stop()
        self.show.check(sent == 0, f"restarted: {sent:.0f} flow or group messages sent")
        self._none_lost(result)
        self._account("nsx-kube-proxy killed", result)

    def switch_restarted(self) -> None:
        """A restart of ovs-vswitchd."""
        self.show.phase(
            "Restart of ovs-vswitchd, under traffic",
            "While the switch itself is away nothing can be forwarded: what is opened then is "
            "lost. It comes back empty, and nsx-kube-proxy gives it all that it had.",
        )
        node = self.stage.node
        load = self._load(timeout=IMPATIENCE)
        with self.show.watching(load):
            self._moment(1)
            node.ovs.kill_vswitchd()
            killed = time.time()
            probe = _Probe(self.stage)
            node.ovs.start_vswitchd()
            answered = probe.wait()
            socket = (node.ovs.directory / f"{node.bridge}.mgmt").stat().st_ctime
            self._moment(1)
        outage = load.stop()
        self.show.note(f"the switch was away for {_ms(socket - killed)}")
        self.show.check(
            answered - socket < RECOVERY_SECONDS,
            f"Services work again {_ms(answered - socket)} after its socket is back",
        )
        # The node's own way leads through a device that the switch has made anew.
        own = Load(self.stage.node.netns, "http", WEB6, 80, rate=SPREAD_RATE)
        with self.show.watching(after := self._load()):
            self._moment(2)
            result = after.stop() + own.stop()
        self._none_lost(result, " from the pod and the node after that")
        self._account("ovs-vswitchd away", outage, "expected")
        self._account("ovs-vswitchd back", result)

    def flow_deleted(self) -> None:
        """Drift."""
        self.show.phase(
            "A flow deleted by hand is repaired",
            "Somebody deletes the flow of 'web' with ovs-ofctl. nsx-kube-proxy compares the switch "
            "with what it should have, here every second, and puts back what is missing.",
        )
        agent, node = self.stage.agent, self.stage.node
        repaired = agent.metric(DRIFT)
        node.ovs.ofctl("--strict", "del-flows", node.bridge, f"{FLOW},nw_dst={WEB}")
        started = time.perf_counter()
        self.show.note(f'ovs-ofctl --strict del-flows {node.bridge} "{FLOW},nw_dst={WEB}"')
        agent.wait_until(lambda: agent.metric(DRIFT) > repaired, "does not see the drift")
        seconds = time.perf_counter() - started
        load = Load(self.stage.client, "http", WEB, 80, rate=RATE, count=int(RATE))
        with self.show.watching(load):
            result = load.wait()
        self.show.check(True, f"put back after {_ms(seconds)}")
        self._none_lost(result, " after that")
        self._account("flow repaired", result)


MESSAGES = "sync_proxy_rules_openflow_messages_total"
DRIFT = "sync_proxy_rules_openflow_drift_total"
FLOW = "table=20,priority=200,tcp,tp_dst=80"


class _Probe:
    """Asks 'echo' again and again from the client until there is an answer, in a thread."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._answered = 0.0
        self._thread = Thread(target=self._ask, daemon=True)
        self._thread.start()

    def _ask(self) -> None:
        deadline = time.monotonic() + 30
        while not self._answered and time.monotonic() < deadline:
            try:
                self._stage.client.udp_ask(ECHO, 53, timeout=_PROBE_SECONDS)
                self._answered = time.time()
            except OSError:
                continue

    def wait(self) -> float:
        """When the answer came (epoch seconds); infinity: never."""
        self._thread.join(31)
        return self._answered or float("inf")


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 10 else f"{seconds:.0f} s"


def suggestions(stage: Stage) -> Sequence[str]:
    """What to try by hand."""
    node = stage.node
    lab = f".venv/bin/nsxdp lab exec --pid {node.netns.owner.pid}"
    lines = [
        f"{lab} client curl -s http://{WEB}/",
        f"{lab} {NODE} ovs-ofctl -O OpenFlow15 --names --no-stats dump-flows {node.bridge}",
        f"{lab} {NODE} ovs-ofctl -O OpenFlow15 dump-groups {node.bridge}",
        f"{lab} {NODE} curl -s http://127.0.0.1:10249/metrics",
    ]
    if stage.server is not None:
        lines.append(f"{lab} {NODE} kubectl get services,endpointslices")
    else:
        lines.append(f"edit {stage.source.flags[1]}/web.yaml")
    return lines
