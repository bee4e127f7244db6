"""One conversation with a switch, from its hello to the end of the connection.

A session never comes back: `nsxdp.openflow.connection` makes a new one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Self

from nsxdp.openflow import codec, requests
from nsxdp.openflow.codec import Tables
from nsxdp.openflow.commit import CommitResult, Commits
from nsxdp.openflow.errors import (
    CommitError,
    ConnectionLost,
    DecodeError,
    OpenFlowError,
    ProtocolError,
    RequestError,
    VersionError,
)
from nsxdp.openflow.messages import (
    HEADER,
    MORE,
    VERSION,
    BarrierRequest,
    BundleControl,
    Capabilities,
    EchoReply,
    EchoRequest,
    Error,
    Experimenter,
    FeaturesReply,
    FeaturesRequest,
    GroupDescRequest,
    Hello,
    Message,
    PacketIn,
    PacketIn2,
    SetConfig,
    SetControllerId,
    SetPacketInFormat,
    decode,
    frame,
)
from nsxdp.openflow.wire import Replies, Wire, set_exception, with_xid
from nsxdp.transport import Remote, Tls, open_protocol

__all__ = ["Session", "SessionOptions"]

log = logging.getLogger(__name__)

_PACKET_IN2 = PacketIn2().head()


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """How a session behaves; times are in seconds."""

    connect_timeout: float = 5.0
    reply_timeout: float = 10.0
    """For the answer to a request, and for each part of a dump."""
    commit_timeout: float = 60.0
    """For a whole commit."""
    idle: float = 5.0
    """Without a word from the switch, after which it is asked whether it is there."""
    idle_timeout: float = 15.0
    """For that answer.  A big commit keeps Open vSwitch busy for seconds."""
    receive_packets: bool = False
    """Whether the switch shall send packets to us."""
    controller_id: int = 0
    """Which ones: those of flows with ``controller(id=...)``; 0: those without."""


class Session:
    """One connection to a bridge.  Made by `Session.open`.

    Attributes
    ----------
    remote
        Where the bridge listens.
    tables
        Names of tables for what is printed.
    options
        As given to `Session.open`.
    features
        What the switch is: its datapath id, for one.
    """

    def __init__(
        self,
        remote: Remote,
        tables: Tables | None,
        options: SessionOptions,
        on_packet: Callable[[bytes], None] | None,
        on_news: Callable[[bytes], None] | None = None,
    ) -> None:
        self.remote = remote
        self.tables = tables
        self.options = options
        self.features = FeaturesReply(0, 0, 0, 0, Capabilities(0))
        self._wire = Wire(str(remote), self._received)
        self._commits = Commits(self._wire, tables)
        self._on_packet = on_packet
        self._on_news = on_news
        self._hello: asyncio.Future[Hello] = self._wire.loop.create_future()
        self._keeper: asyncio.Task[None] | None = None

    # Life.

    @classmethod
    async def open(
        cls,
        remote: Remote,
        tls: Tls | None = None,
        *,
        tables: Tables | None = None,
        options: SessionOptions | None = None,
        on_packet: Callable[[bytes], None] | None = None,
        on_news: Callable[[bytes], None] | None = None,
    ) -> Self:
        """Connect, and agree on OpenFlow 1.5.

        Parameters
        ----------
        tls
            Files for an ``ssl:`` remote.
        tables
            Names for what is printed.
        options
            Times, and whether packets shall come.
        on_packet
            Called with each OFPT_PACKET_IN or NXT_PACKET_IN2.
        on_news
            Called with anything else that the switch says unasked: a port's status, or an update
            of a flow monitor.

        Raises
        ------
        RemoteError
            No connection.
        VersionError
            The bridge doesn't speak OpenFlow 1.5.
        OpenFlowError
            The handshake failed in another way.
        """
        options = options or SessionOptions()
        session = cls(remote, tables, options, on_packet, on_news)
        await open_protocol(remote, lambda: session._wire, tls, options.connect_timeout)
        try:
            await session._handshake()
        except BaseException:
            session.close()
            raise
        session._keeper = session._wire.loop.create_task(session._keep_alive())
        return session

    async def _handshake(self) -> None:
        wire, seconds = self._wire, self.options.reply_timeout
        wire.pending[0] = _Greeting(self._hello)
        wire.write(Hello().encode())
        hello = await wire.wait(self._hello, seconds, "the hello")
        wire.pending.pop(0, None)
        if VERSION not in hello.versions:
            raise VersionError(_version_advice(self.remote))
        features = await self.request(FeaturesRequest())
        assert isinstance(features, FeaturesReply)
        self.features = features
        if self.options.receive_packets:
            self.send(SetPacketInFormat(), SetControllerId(self.options.controller_id), SetConfig())
        await self.barrier()

    def close(self) -> None:
        """End the connection."""
        if self._keeper is not None:
            self._keeper.cancel()
        self._wire.fail(ConnectionLost(f"{self.remote}: closed"))

    @property
    def lost(self) -> OpenFlowError | None:
        """Why the session has ended; None: it hasn't."""
        return self._wire.lost

    async def wait_closed(self) -> OpenFlowError:
        """Wait for the session's end; returns why it came."""
        await self._wire.closed.wait()
        assert self._wire.lost is not None
        return self._wire.lost

    async def _keep_alive(self) -> None:
        idle = self.options.idle
        try:
            while self._wire.lost is None:
                silent = self._wire.loop.time() - self._wire.heard
                if silent < idle:
                    await asyncio.sleep(idle - silent)
                else:
                    await self._request(EchoRequest(), self.options.idle_timeout)
        except OpenFlowError as error:
            self._wire.fail(error)

    # What the switch says unasked.

    def _received(self, kind: int, xid: int, message: bytes) -> None:
        if kind == Error.type:
            self._received_error(xid, message)
        elif kind == PacketIn.type or (
            kind == PacketIn2.type and message.startswith(_PACKET_IN2, HEADER.size)
        ):
            if self._on_packet is not None:
                self._on_packet(message)
        elif kind == EchoRequest.type:
            self._wire.answer(frame(EchoReply.type, xid, message[HEADER.size :]))
        elif kind == Hello.type:
            self._greeted(message)
        elif self._on_news is not None:
            # News (a port's status, say), or an answer to somebody who has gone.
            self._on_news(message)

    def _greeted(self, message: bytes) -> None:
        hello = decode(message)
        if isinstance(hello, Hello) and not self._hello.done():
            self._hello.set_result(hello)

    def _received_error(self, xid: int, message: bytes) -> None:
        error = decode(message)
        if not isinstance(error, Error):
            return
        if error.kind == 0:
            self._wire.fail(VersionError(_version_advice(self.remote)))
            return
        pending = self._wire.pending.get(xid)
        if pending is not None:
            pending.fail(RequestError(error.name, self._describe(error.request)))
        elif not self._commits.blame(xid, error.name):
            log.warning("%s: %s: %s", self.remote, error.name, self._describe(error.request))

    def _describe(self, message: bytes) -> str:
        try:
            return codec.message_format(message, self.tables)
        except DecodeError as error:
            return f"{len(message)} bytes ({error})"

    # Requests.

    def send(self, *messages: Message | bytes) -> None:
        """Send messages without waiting for anything; an error is logged.

        Parameters
        ----------
        messages
            Values, or whole messages' bytes; their xids don't matter.

        Raises
        ------
        ConnectionLost
            The session has ended.
        """
        for message in messages:
            data = message if isinstance(message, bytes) else message.encode()
            self._wire.write(with_xid(data, self._wire.xids()))

    async def request(self, message: Message, seconds: float | None = None) -> Message:
        """Send a request and wait for its answer.

        Parameters
        ----------
        seconds
            For the answer, instead of the options' ``reply_timeout``.

        Raises
        ------
        RequestError
            The switch refused it.
        ConnectionLost
            The session ended before the answer came, or because it didn't come in time.
        """
        reply = await self._request(message, seconds or self.options.reply_timeout)
        try:
            return decode(reply)
        except DecodeError as error:
            raise self.distrust(error) from error

    def distrust(self, error: DecodeError) -> ProtocolError:
        """End the connection, for an answer can't be read; returns what to raise."""
        return self._wire.distrust(error)

    async def _request(self, message: Message, seconds: float) -> bytes:
        xid = self._wire.xids()
        data = message.encode()
        reply = self._wire.expect(xid, _answer_type(data[1]))
        try:
            self._wire.write(with_xid(data, xid))
            return await self._wire.wait(reply.future, seconds, type(message).__name__)
        finally:
            self._wire.pending.pop(xid, None)

    async def barrier(self, seconds: float | None = None) -> None:
        """Wait until the switch has done all that was sent before.

        Raises
        ------
        ConnectionLost
            As `request`.
        """
        await self._request(BarrierRequest(), seconds or self.options.reply_timeout)

    async def perform(self, message: Message, seconds: float | None = None) -> None:
        """Send a message that is only answered if it is refused, and wait until it has been done.

        Raises
        ------
        RequestError
            The switch refused it.
        ConnectionLost
            The outcome is unknown.
        """
        xid = self._wire.xids()
        refusal = self._wire.expect(xid, Error.type)
        try:
            self._wire.write(with_xid(message.encode(), xid))
            await self.barrier(seconds)
            if refusal.future.done():
                refusal.future.result()
        finally:
            self._wire.pending.pop(xid, None)

    # Dumps.

    def dump_flows(
        self, cookie: int = 0, mask: int = 0, table: int = requests.ALL_TABLES
    ) -> AsyncIterator[bytes]:
        """The raw OFPMP_FLOW_DESC replies with the flows that have such a cookie.

        `Flow.decode_reply` reads one, `FlowTable.read` reads all of them.

        Parameters
        ----------
        cookie, mask
            Flows whose cookie has the bits of ``cookie`` where ``mask`` has ones.
        table
            Of one table only.

        Raises
        ------
        RequestError
            The switch refused.
        ConnectionLost
            As `request`.
        """
        return self._dump(requests.flow_desc_request(cookie, mask, table))

    def dump_groups(self, group_id: int = requests.ALL_GROUPS) -> AsyncIterator[bytes]:
        """The raw OFPMP_GROUP_DESC replies with all groups, or with one.

        `Group.decode_reply` reads one.

        Raises
        ------
        RequestError, ConnectionLost
            As `dump_flows`.
        """
        return self._dump(GroupDescRequest(group_id))

    async def multipart(self, message: Message) -> AsyncIterator[bytes]:
        """The raw replies to an OFPT_MULTIPART_REQUEST.

        Raises
        ------
        RequestError, ConnectionLost
            As `dump_flows`.
        """
        async for part in self._dump(message):
            yield part

    async def _dump(self, message: Message) -> AsyncIterator[bytes]:
        xid = self._wire.xids()
        self._wire.pending[xid] = replies = Replies(self._wire)
        try:
            self._wire.write(with_xid(message.encode(), xid))
            more = True
            while more:
                part = await replies.next(self.options.reply_timeout, "a dump")
                more = bool(part[HEADER.size + 3] & MORE)
                yield part
        finally:
            self._wire.pending.pop(xid, None)
            replies.resume()

    # Commits.

    async def commit(self, messages: bytes, seconds: float | None = None) -> CommitResult:
        """Have all of some flow_mods and group_mods done, or none.

        Commits take effect in the order of the calls, also where the next is called before the
        first has been answered; one that fails doesn't stop the next.

        Parameters
        ----------
        messages
            Whole messages; their xids don't matter.
        seconds
            The time for all of it, instead of the options' ``commit_timeout``.

        Raises
        ------
        CommitError
            The switch refused one, and so did none.
        ConnectionLost
            The outcome is unknown.
        DecodeError
            These aren't whole messages.
        """
        return await self._commits.commit(messages, seconds or self.options.commit_timeout)

    async def commit_each(self, messages: bytes, seconds: float | None = None) -> list[CommitError]:
        """Have as many as possible of some flow_mods and group_mods done, in order.

        For what can't be done as a whole: not atomic, others see the steps between.

        Returns
        -------
        list[CommitError]
            What the switch refused; the others are done.

        Raises
        ------
        ConnectionLost
            The outcome is unknown.
        DecodeError
            These aren't whole messages.
        """
        return await self._commits.each(messages, seconds or self.options.commit_timeout)


class _Greeting:
    """Waits for the hello, whose xid the switch chooses: only its errors come here."""

    def __init__(self, hello: asyncio.Future[Hello]) -> None:
        self._hello = hello

    def receive(self, message: bytes) -> None:
        hello = decode(message)
        if not isinstance(hello, Hello):
            raise ProtocolError("said something before its hello")
        if not self._hello.done():
            self._hello.set_result(hello)

    def fail(self, error: OpenFlowError) -> None:
        set_exception(self._hello, error)


def _answer_type(kind: int) -> int:
    """Answers' types follow those of requests, but where both have the same."""
    return kind if kind in (Experimenter.type, BundleControl.type) else kind + 1


def _version_advice(remote: Remote) -> str:
    bridge = "BRIDGE"
    if remote.kind == "unix" and remote.path.endswith(".mgmt"):
        bridge = remote.path.rpartition("/")[2].removesuffix(".mgmt")
    return (
        f"bridge {bridge} ({remote}) does not speak OpenFlow 1.5: "
        f"ovs-vsctl set bridge {bridge} protocols=OpenFlow10,OpenFlow13,OpenFlow15"
    )
