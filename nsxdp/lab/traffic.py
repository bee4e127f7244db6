"""Load on a virtual address, and what became of it: by whom answered, how fast, what was lost.

    python -m nsxdp.lab.traffic http 10.96.0.10 80 --rate 200 --seconds 10

- ``http``: a new connection for every request;
- ``tcp``: `connections` long connections, each asked again and again; a broken one is made anew;
- ``udp``: a new source port for every datagram, which ``--resend`` repeats until it is answered.

Requests start by the clock, whether or not earlier ones have been answered, so that a stalled
dataplane shows as lost requests and not as a lower rate. Every second one JSON object is printed
with the counts since the last one, and at the end one with ``"done": true`` for the whole run.
``connections`` has, by backend, the client's port of each connection of that second which it
answered, and when it began (seconds since the epoch): not of long ones. ``failures`` has, of the
first hundred failed ones, when they began, how long they took, and the error.
Only the standard library is used, as in :mod:`nsxdp.lab.server`.
"""

import argparse
import asyncio
import contextlib
import json
import signal
import socket
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

_TOLD = 100


@dataclass
class Tally:
    """Counts of one stretch of time."""

    since: float = field(default_factory=time.monotonic)
    sent: int = 0
    answered: int = 0
    failed: int = 0
    backends: Counter[str] = field(default_factory=Counter)
    connections: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    errors: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[float, float, str]] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    last_answer: float | None = None
    gap: float = 0.0

    def answer(self, backend: str, seconds: float) -> None:
        """Note an answer of `backend` after `seconds`."""
        now = time.monotonic()
        self.gap = max(self.gap, now - (self.last_answer or self.since))
        self.last_answer = now
        self.answered += 1
        self.backends[backend] += 1
        self.latencies.append(seconds)

    def failure(self, error: BaseException, seconds: float) -> None:
        """Note a request that has been without an answer for `seconds`."""
        name = type(error).__name__
        self.failed += 1
        self.errors[name] += 1
        if len(self.failures) < _TOLD:
            self.failures.append((round(time.time() - seconds, 3), round(seconds, 3), name))

    def report(self) -> dict[str, object]:
        """All of it as JSON can hold it; times in milliseconds."""
        ordered = sorted(self.latencies)

        def quantile(part: float) -> float:
            return round(ordered[int(part * (len(ordered) - 1))] * 1000, 3) if ordered else 0.0

        return {
            "seconds": round(time.monotonic() - self.since, 3),
            "sent": self.sent,
            "answered": self.answered,
            "failed": self.failed,
            "backends": dict(sorted(self.backends.items())),
            "connections": self.connections,
            "errors": dict(self.errors),
            "failures": self.failures,
            "latency_ms": {"p50": quantile(0.5), "p99": quantile(0.99), "max": quantile(1.0)},
            "gap_ms": round(self.gap * 1000, 3),
        }


class Load:
    """One run of traffic to `address`:`port`."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.protocol: str = options.protocol
        self.address: str = options.address
        self.port: int = options.port
        self.rate: float = options.rate
        self.count: int | None = options.count
        self.seconds: float | None = options.seconds
        self.timeout: float = options.timeout
        self.resend: float | None = options.resend
        self.connections: int = options.connections
        self.family = socket.AF_INET6 if ":" in self.address else socket.AF_INET
        self.total = Tally()
        self.interval = Tally()
        self.stop = asyncio.Event()

    async def run(self) -> None:
        """Send until the count, the time, or a signal ends it; then wait for what is under way."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop.set)
        if self.seconds is not None:
            loop.call_later(self.seconds, self.stop.set)
        reporter = asyncio.create_task(self._report_each_second())
        await (self._long_connections() if self.protocol == "tcp" else self._single_requests())
        reporter.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await reporter
        print(json.dumps({"done": True, **self.total.report()}), flush=True)

    async def _pause_until(self, moment: float) -> bool:
        """Whether to go on at `moment`."""
        delay = moment - time.monotonic()
        if delay > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.stop.wait(), delay)
        return not self.stop.is_set()

    async def _single_requests(self) -> None:
        once = self._http if self.protocol == "http" else self._udp
        start = time.monotonic()
        number = 0
        async with asyncio.TaskGroup() as group:
            while self.count is None or number < self.count:
                if not await self._pause_until(start + number / self.rate):
                    break
                number += 1
                group.create_task(self._timed(once))

    async def _timed(self, once: Callable[[], Awaitable[tuple[str, int]]]) -> None:
        self._sent()
        start = time.monotonic()
        try:
            async with asyncio.timeout(self.timeout):
                backend, port = await once()
        except (OSError, ValueError) as error:
            self._failed(error, time.monotonic() - start)
        else:
            seconds = time.monotonic() - start
            self._answered(backend, seconds)
            began = round(time.time() - seconds, 3)
            self.interval.connections.setdefault(backend, []).append((port, began))

    async def _http(self) -> tuple[str, int]:
        loop = asyncio.get_running_loop()
        with self._socket(socket.SOCK_STREAM) as client:
            await loop.sock_connect(client, (self.address, self.port))
            port = client.getsockname()[1]
            request = f"GET / HTTP/1.1\r\nHost: {self.address}\r\nConnection: close\r\n\r\n"
            await loop.sock_sendall(client, request.encode())
            answer = b""
            while data := await loop.sock_recv(client, 65536):
                answer += data
        head, complete, body = answer.partition(b"\r\n\r\n")
        if not complete or b" 200 " not in head.split(b"\r\n", 1)[0]:
            raise ConnectionResetError("closed before the answer was complete")
        return body.decode().strip(), port

    async def _udp(self) -> tuple[str, int]:
        loop = asyncio.get_running_loop()
        with self._socket(socket.SOCK_DGRAM) as client:
            client.connect((self.address, self.port))
            while True:
                await loop.sock_sendall(client, b"hello\n")
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self.resend):
                        answer = await loop.sock_recv(client, 65536)
                        return answer.decode().strip(), client.getsockname()[1]

    async def _long_connections(self) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(self.connections):
                group.create_task(self._long_connection(number))

    async def _long_connection(self, number: int) -> None:
        period = self.connections / self.rate
        moment = time.monotonic() + number / self.rate
        stream: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        while await self._pause_until(moment):
            if self.count is not None and self.total.sent >= self.count:
                break
            moment = max(moment + period, time.monotonic())
            self._sent()
            start = time.monotonic()
            try:
                async with asyncio.timeout(self.timeout):
                    if stream is None:
                        stream = await asyncio.open_connection(self.address, self.port)
                    stream[1].write(b"hello\n")
                    line = await stream[0].readline()
                    if not line.endswith(b"\n"):
                        raise ConnectionResetError("closed by the server")
            except OSError as error:
                self._failed(error, time.monotonic() - start)
                if stream is not None:
                    stream[1].transport.abort()
                stream = None
            else:
                self._answered(line.decode().strip(), time.monotonic() - start)
        if stream is not None:
            stream[1].close()

    def _socket(self, kind: socket.SocketKind) -> socket.socket:
        client = socket.socket(self.family, kind)
        client.setblocking(False)
        return client

    def _sent(self) -> None:
        self.total.sent += 1
        self.interval.sent += 1

    def _answered(self, backend: str, seconds: float) -> None:
        self.total.answer(backend, seconds)
        self.interval.answer(backend, seconds)

    def _failed(self, error: BaseException, seconds: float) -> None:
        self.total.failure(error, seconds)
        self.interval.failure(error, seconds)

    async def _report_each_second(self) -> None:
        start = time.monotonic()
        second = 0
        while True:
            second += 1
            await asyncio.sleep(start + second - time.monotonic())
            done, self.interval = self.interval, Tally(last_answer=self.interval.last_answer)
            report = {"t": round(time.monotonic() - start, 1), **done.report()}
            print(json.dumps(report), flush=True)


def main() -> None:
    """Run as a program."""
    parser = argparse.ArgumentParser(prog="nsxdp.lab.traffic", description=__doc__.splitlines()[0])
    parser.add_argument("protocol", choices=["http", "tcp", "udp"])
    parser.add_argument("address")
    parser.add_argument("port", type=int)
    parser.add_argument("--rate", type=float, default=100.0, help="requests a second")
    parser.add_argument("--seconds", type=float, help="how long (default: until a signal)")
    parser.add_argument("--count", type=int, help="how many requests at most")
    parser.add_argument("--timeout", type=float, default=5.0, help="seconds to wait for an answer")
    parser.add_argument("--resend", type=float, help="seconds until it asks again (udp; never)")
    parser.add_argument("--connections", type=int, default=10, help="how many long ones (tcp)")
    options = parser.parse_args()

    async def run() -> None:
        await Load(options).run()

    asyncio.run(run())


if __name__ == "__main__":
    main()
