"""Connections to a real ovs-vswitchd."""

from __future__ import annotations

import asyncio
import inspect
import struct
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path

import pytest
import uvloop

from nsxdp.lab.ovs import OVS
from nsxdp.lab.pki import Authority
from nsxdp.openflow import codec, requests
from nsxdp.openflow.commit import BURST
from nsxdp.openflow.connection import Connection, Phase
from nsxdp.openflow.errors import CommitError, ConnectionLost, RequestError, VersionError
from nsxdp.openflow.flow import Flow, Group
from nsxdp.openflow.messages import (
    MeterCommand,
    OtherRequest,
    PacketOut,
    TableStatsReply,
    TableStatsRequest,
)
from nsxdp.openflow.meter import Meter
from nsxdp.openflow.session import Session, SessionOptions
from nsxdp.openflow.wire import Wire
from nsxdp.transport import Remote, Tls, parse_remote

METER = "meter=5,pktps,burst,band=type=drop,rate=100,burst_size=10"
TABLES = codec.Tables({"Classifier": 0, "ServiceLB": 1, "EndpointDNAT": 2})


@pytest.fixture
def bridge(ovs: OVS) -> Remote:
    """A bridge without flows."""
    return parse_remote(ovs.add_bridge("br0", fail_mode="secure"))


@asynccontextmanager
async def open_session(
    remote: Remote, options: SessionOptions | None = None
) -> AsyncIterator[Session]:
    session = await Session.open(remote, tables=TABLES, options=options)
    try:
        yield session
    finally:
        session.close()


def flow(text: str, command: int = codec.FLOW_ADD) -> bytes:
    return codec.flow_parse(text, command, TABLES)


def group(text: str, command: int = codec.GROUP_ADD) -> bytes:
    return codec.group_parse(text, command, TABLES)


def many(n: int, cookie: int = 0x77) -> bytes:
    return b"".join(
        flow(
            f"table=1,cookie={cookie},priority=5,tcp,nw_dst=10.0.{i >> 8}.{i & 255},tp_dst=80 "
            "actions=ct(commit,zone=1,nat(dst=10.9.0.1:80)),resubmit(,2)"
        )
        for i in range(n)
    )


async def flows(session: Session | Connection, cookie: int = 0, mask: int = 0) -> list[Flow]:
    return [
        flow
        async for reply in session.dump_flows(cookie, mask)
        for flow, _ in Flow.decode_reply(reply)
    ]


async def groups(session: Session | Connection) -> list[Group]:
    return [group async for reply in session.dump_groups() for group in Group.decode_reply(reply)]


# The session.


async def test_features(bridge: Remote, ovs: OVS) -> None:
    async with open_session(bridge) as session:
        dpid = ovs.vsctl("get", "bridge", "br0", "datapath_id").strip().strip('"')
        assert f"{session.features.datapath_id:016x}" == dpid
        assert session.features.n_tables == 254


async def test_a_bridge_without_openflow_15(ovs: OVS) -> None:
    remote = parse_remote(ovs.add_bridge("br7", settings=["protocols=OpenFlow13"]))
    with pytest.raises(VersionError) as caught:
        await Session.open(remote)
    text = str(caught.value)
    assert text.startswith("bridge br7 (unix:")
    assert "ovs-vsctl set bridge br7 protocols=" in text
    # The advice helps.
    ovs.vsctl(*text.partition("ovs-vsctl ")[2].split())
    async with open_session(remote) as session:
        await session.barrier()


async def test_what_is_sent_is_what_is_installed(bridge: Remote) -> None:
    wanted = [
        "table=1,priority=200,tcp,nw_dst=10.96.0.1,tp_dst=443 actions=group:5",
        "table=1,priority=200,udp6,ipv6_dst=fd00::1,tp_dst=53,reg0=0x1/0xff actions=resubmit(,2)",
        "table=2,priority=1,cookie=0x9,idle_timeout=60,send_flow_rem,arp actions=NORMAL",
        "table=0,priority=0 actions=drop",
    ]
    lb = "group_id=5,type=select,selection_method=dp_hash,"
    lb += ",".join(f"bucket=bucket_id:{i},weight:100,actions=output:{i + 1}" for i in range(3))
    async with open_session(bridge) as session:
        result = await session.commit(group(lb) + b"".join(map(flow, wanted)))
        assert (result.messages, result.bundled) == (5, True)
        assert set(await flows(session)) == {Flow.parse(text) for text in wanted}
        assert await groups(session) == [Group.parse(lb)]


async def test_a_lone_message_needs_no_bundle(bridge: Remote) -> None:
    async with open_session(bridge) as session:
        result = await session.commit(flow("table=1,ip actions=drop"))
        assert (result.messages, result.bundled) == (1, False)
        assert len(await flows(session)) == 1


async def test_nothing_to_commit(bridge: Remote) -> None:
    async with open_session(bridge) as session:
        assert (await session.commit(b"")).messages == 0


async def test_twenty_thousand_flows(bridge: Remote, ovs: OVS) -> None:
    async with open_session(bridge) as session:
        assert (await session.commit(many(20_000))).messages == 20_000
        assert len(await flows(session, 0x77, 0xFF)) == 20_000
        assert "flow_count=20000" in ovs.ofctl("dump-aggregate", ovs.mgmt("br0"), "table=1")


async def test_a_refused_message_refuses_all(bridge: Remote) -> None:
    good = flow("table=1,ip actions=drop")
    bad = flow("table=ServiceLB,priority=9,ip,nw_dst=10.0.0.1 actions=group:77")
    async with open_session(bridge) as session:
        with pytest.raises(CommitError) as caught:
            await session.commit(good * 2 + bad + good)
        error = caught.value
        assert (error.name, error.index) == ("OFPBAC_BAD_OUT_GROUP", 2)
        assert error.request == (
            "flow add table=ServiceLB, priority=9,ip,nw_dst=10.0.0.1 actions=group:77"
        )
        assert str(error) == f"OFPBAC_BAD_OUT_GROUP: message 2: {error.request}"
        assert error.message == bad
        assert await flows(session) == []


async def test_a_message_that_can_t_be_added_refuses_all(bridge: Remote) -> None:
    """Open vSwitch alone would commit the rest."""
    good = flow("table=1,ip actions=drop")
    unreadable = bytearray(flow("table=1,tcp,tp_dst=80 actions=drop"))
    struct.pack_into("!H", unreadable, 44, 0xFFFF)
    async with open_session(bridge) as session:
        with pytest.raises(CommitError) as caught:
            await session.commit(good + bytes(unreadable) + good)
        assert (caught.value.name, caught.value.index) == ("OFPFMFC_BAD_FLAGS", 1)
        assert await flows(session) == []


async def test_a_refused_message_among_many(bridge: Remote) -> None:
    messages = many(10_000)
    unreadable = bytearray(flow("table=1,tcp,tp_dst=80 actions=drop"))
    struct.pack_into("!H", unreadable, 44, 0xFFFF)
    async with open_session(bridge) as session:
        with pytest.raises(CommitError) as caught:
            await session.commit(bytes(unreadable) + messages)
        assert caught.value.index == 0
        assert await flows(session) == []
        await session.commit(messages)


async def test_a_refused_lone_message(bridge: Remote) -> None:
    text = "group_id=5,type=select,bucket=bucket_id:1,actions=output:1"
    async with open_session(bridge) as session:
        with pytest.raises(CommitError) as caught:
            await session.commit(group(text, codec.GROUP_MODIFY))
        assert (caught.value.name, caught.value.index) == ("OFPGMFC_UNKNOWN_GROUP", 0)
        assert caught.value.request == f"group modify {text}"
        assert await groups(session) == []


async def test_messages_without_a_bundle_go_together(
    bridge: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The switch wakes up once for a change and its barrier."""
    written: list[int] = []
    write = Wire.write

    def note(wire: Wire, data: bytes) -> None:
        written.append(codec.split(data)[0])
        write(wire, data)

    async with open_session(bridge) as session:
        monkeypatch.setattr(Wire, "write", note)
        await session.commit(many(1))
        assert written == [2]
        written.clear()
        assert await session.commit_each(many(600)) == []
        assert written == [BURST, BURST, 600 - 2 * BURST + 1]
        monkeypatch.undo()
        assert len(await flows(session)) == 600


async def test_what_no_bundle_takes(bridge: Remote) -> None:
    meter = codec.meter_parse(METER)
    async with open_session(bridge) as session:
        with pytest.raises(CommitError, match="OFPBFC_MSG_UNSUP: message 1: OFPT_METER_MOD"):
            await session.commit(flow("actions=drop") + meter)
        assert await flows(session) == []


async def test_commits_take_effect_in_the_order_of_the_calls(bridge: Remote) -> None:
    async with open_session(bridge) as session:
        commits = []
        for i in range(100):
            last = flow(f"table=1,ip,cookie={i + 1} actions=output:{i + 1}")
            other = many(400 if i % 10 == 0 else 1)
            commits.append(session.commit(last if i % 3 else other + last))
        results = await asyncio.gather(*commits)
        assert len(results) == 100
        assert Flow.parse("table=1,ip,cookie=100 actions=output:100") in await flows(session)


async def test_a_failed_commit_doesn_t_stop_the_next(bridge: Remote) -> None:
    bad = flow("table=1,ip actions=group:77")
    good = flow("table=1,tcp actions=drop")
    async with open_session(bridge) as session:
        results = await asyncio.gather(
            session.commit(bad * 2),
            session.commit(good * 2),
            session.commit(bad),
            session.commit(good),
            return_exceptions=True,
        )
        assert [type(result).__name__ for result in results] == [
            "CommitError",
            "CommitResult",
            "CommitError",
            "CommitResult",
        ]
        assert len(await flows(session)) == 1


async def test_a_cancelled_commit_leaves_nothing(bridge: Remote) -> None:
    async with open_session(bridge) as session:
        task = asyncio.ensure_future(session.commit(many(50_000)))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        await session.barrier()
        assert await flows(session) == []
        await session.commit(many(10))
        assert len(await flows(session)) == 10


async def test_bucket_inserted_and_removed(bridge: Remote) -> None:
    one = "group_id=5,type=select,bucket=bucket_id:1,weight:100,actions=output:1"
    more = "group_id=5,command_bucket_id=last,bucket=bucket_id:2,weight:100,actions=output:2"
    async with open_session(bridge) as session:
        await session.commit(group(one))
        await session.commit(group(more, codec.GROUP_INSERT_BUCKET))
        both = one + ",bucket=bucket_id:2,weight:100,actions=output:2"
        assert await groups(session) == [Group.parse(both)]
        remove = group("group_id=5,command_bucket_id=2", codec.GROUP_REMOVE_BUCKET)
        await session.commit(remove)
        assert await groups(session) == [Group.parse(one)]
        with pytest.raises(CommitError, match="OFPGMFC_UNKNOWN_BUCKET"):
            await session.commit(remove)


async def test_dump_selects(bridge: Remote) -> None:
    async with open_session(bridge) as session:
        await session.commit(many(10, 0x0177) + many(20, 0x0277)[: 152 * 20])
        await session.commit(flow("table=2,cookie=0x0377,ip actions=drop"))
        assert len(await flows(session, 0x0200, 0xFF00)) == 20
        replies = [reply async for reply in session.dump_flows(table=2)]
        assert [f.cookie for reply in replies for f, _ in Flow.decode_reply(reply)] == [0x0377]
        await session.commit(requests.delete_flows(0x0200, 0xFF00).encode())
        assert len(await flows(session)) == 1


async def test_a_dump_that_nobody_finishes(bridge: Remote) -> None:
    async with open_session(bridge) as session:
        await session.commit(many(5_000))
        async for _ in session.dump_flows():
            break
        assert len(await flows(session)) == 5_000


async def test_meters(bridge: Remote, ovs: OVS) -> None:
    async with open_session(bridge) as session:
        session.send(Meter.parse(METER).mod())
        await session.barrier()
        assert "type=drop rate=100 burst_size=10" in ovs.ofctl("dump-meters", ovs.mgmt("br0"))
        session.send(Meter.parse(METER).mod(MeterCommand.DELETE))
        await session.barrier()
        assert "meter=5" not in ovs.ofctl("dump-meters", ovs.mgmt("br0"))


async def test_a_refused_request(bridge: Remote) -> None:
    async with open_session(bridge) as session:
        with pytest.raises(RequestError, match=r"OFPBRC_BAD_STAT: .*unknown multipart 99"):
            await session.request(OtherRequest(99))
        reply = await session.request(TableStatsRequest())
        assert isinstance(reply, TableStatsReply)


async def test_what_is_only_answered_if_refused(bridge: Remote) -> None:
    async with open_session(bridge) as session:
        meter = Meter.parse(METER)
        await session.perform(meter.mod())
        with pytest.raises(RequestError, match="OFPMMFC_METER_EXISTS: OFPT_METER_MOD"):
            await session.perform(meter.mod())
        await session.perform(meter.mod(MeterCommand.MODIFY))


async def test_an_error_that_nobody_waits_for_is_logged(
    bridge: Remote, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_session(bridge) as session:
        session.send(flow("table=1,ip actions=group:77"))
        await session.barrier()
    assert "OFPBAC_BAD_OUT_GROUP" in caplog.text
    assert "table:ServiceLB" in caplog.text


UDP = bytes.fromhex(
    "020000000002 020000000001 0800"
    "4500 0020 0000 4000 4011 26cb 0a000001 0a000002"
    "0400 0035 000c 0000 61626364"
)


async def test_tracked_connections_are_forgotten(bridge: Remote, ovs: OVS) -> None:
    """KP-54's remedy: what a UDP client had with an endpoint that is gone."""
    async with open_session(bridge) as session:

        def tracked() -> str:
            return ovs.appctl("dpctl/dump-conntrack")

        async def track() -> None:
            session.send(PacketOut.parse(UDP, "ct(commit,zone=5,nat(dst=10.9.0.9:5353))"))
            await session.barrier()
            assert "dst=10.0.0.2,sport=1024,dport=53" in tracked()

        async def flush(*what: object) -> None:
            session.send(requests.ct_flush(*what))  # type: ignore[arg-type]
            await session.barrier()

        await track()
        await flush(6)
        await flush(5, 17, requests.CtTuple(dst=ip_address("10.0.0.2"), dst_port=54))
        await flush(5, 17, None, requests.CtTuple(src=ip_address("10.9.0.8")))
        assert "sport=1024" in tracked()
        await flush(5, 17, None, requests.CtTuple(src=ip_address("10.9.0.9"), src_port=5353))
        assert "sport=1024" not in tracked()
        await track()
        await flush(5, 17, requests.CtTuple(dst=ip_address("10.0.0.2"), dst_port=53))
        assert "sport=1024" not in tracked()
        await track()
        await flush(5)
        assert "sport=1024" not in tracked()


# The lasting connection.


async def test_packets_come_with_userdata(bridge: Remote) -> None:
    options = SessionOptions(receive_packets=True)
    async with Connection(bridge, options=options, tables=TABLES) as connection:
        await connection.ready(10)
        await connection.commit(flow("table=1,cookie=0x99,udp actions=controller(userdata=01.02)"))
        connection.send(PacketOut.parse(UDP, "load:7->NXM_NX_REG0[],resubmit(,1)"))
        async with asyncio.timeout(10):
            packet = await anext(connection.packet_ins())
        assert packet.data == UDP
        assert packet.total_len == len(UDP)
        assert (packet.table_id, packet.cookie, packet.userdata) == (1, 0x99, b"\x01\x02")
        assert packet.in_port == 0xFFFFFFFE
        assert "table_id=ServiceLB cookie=0x99" in codec.message_format(packet.encode(), TABLES)
        assert "reg0=0x7" in str(packet)


async def test_packets_are_dropped_not_hoarded(
    bridge: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nsxdp.openflow.connection.MAX_PACKETS", 10)
    async with Connection(bridge, options=SessionOptions(receive_packets=True)) as connection:
        await connection.ready(10)
        for i in range(25):
            packet = UDP[:-4] + struct.pack("!I", i)
            connection.send(PacketOut.parse(packet, "controller"))
        async with asyncio.timeout(10):
            while connection.dropped_packets < 15:
                await connection.barrier()
        packets = connection.packet_ins()
        seen = [(await anext(packets)).data[-4:] for _ in range(10)]
        assert seen == [struct.pack("!I", i) for i in range(15, 25)]


async def test_no_packets_unasked(bridge: Remote) -> None:
    async with Connection(bridge) as connection:
        await connection.ready(10)
        connection.send(PacketOut.parse(UDP, "controller"))
        await connection.barrier()
        packets = connection.packet_ins()
        waiting = asyncio.ensure_future(anext(packets))
        await connection.barrier()
        assert not waiting.done()
        await connection.close()
        with pytest.raises(StopAsyncIteration):
            await waiting


async def test_restart_of_ovs_vswitchd(bridge: Remote, ovs: OVS) -> None:
    resyncs = 0

    async def resync(session: Session) -> None:
        nonlocal resyncs
        with pytest.raises(ConnectionLost):
            await connection.commit(many(1))
        assert await flows(session) == []
        await session.commit(many(100))
        resyncs += 1

    async with Connection(bridge, on_connected=resync) as connection:
        await connection.ready(10)
        assert len(await flows(connection)) == 100

        await asyncio.to_thread(ovs.kill_vswitchd)
        async for state in connection.states():
            if state.phase is Phase.WAITING:
                break
        with pytest.raises(ConnectionLost):
            await connection.commit(many(1))
        with pytest.raises(ConnectionLost, match=r"not ready within 0.1 s: .*br0.mgmt"):
            await connection.ready(0.1)

        await asyncio.to_thread(ovs.start_vswitchd)
        await connection.ready(10)
        assert len(await flows(connection)) == 100
    assert resyncs == 2
    assert connection.state.phase is Phase.CLOSED


async def test_a_bridge_that_learns_openflow_15(ovs: OVS) -> None:
    remote = parse_remote(ovs.add_bridge("br7", settings=["protocols=OpenFlow13"]))
    async with Connection(remote) as connection:
        with pytest.raises(VersionError, match="ovs-vsctl set bridge br7"):
            await connection.ready(10)
        ovs.vsctl("set", "bridge", "br7", "protocols=OpenFlow13,OpenFlow15")
        async with asyncio.timeout(10):
            async for state in connection.states():
                if state.phase is Phase.READY:
                    break
        await connection.barrier()


async def test_a_bridge_that_is_missing(ovs: OVS) -> None:
    async with Connection(parse_remote(ovs.mgmt("br9"))) as connection:
        with pytest.raises(ConnectionLost, match="no such socket: is its server running"):
            await connection.ready(0.5)


async def test_a_resync_that_fails_is_tried_again(
    bridge: Remote, caplog: pytest.LogCaptureFixture
) -> None:
    attempts = 0

    async def resync(_: Session) -> None:
        nonlocal attempts
        attempts += 1
        if attempts < 3:
            raise RuntimeError("not yet")

    async with Connection(bridge, on_connected=resync) as connection:
        await connection.ready(10)
    assert attempts == 3
    assert "not yet" in caplog.text


@pytest.mark.parametrize("kind", ["tcp", "ssl"])
async def test_over_tcp_and_tls(ovs: OVS, tmp_path: Path, kind: str) -> None:
    authority = Authority("test")
    files = {"ca": authority.certificate}
    for name in ("switch", "agent"):
        credential = authority.issue(name)
        files |= {f"{name}-key": credential.key, f"{name}-cert": credential.certificate}
    for name, pem in files.items():
        (tmp_path / name).write_bytes(pem)
    tls = Tls(tmp_path / "agent-key", tmp_path / "agent-cert", tmp_path / "ca")
    ovs.vsctl("set-ssl", *(str(tmp_path / name) for name in ("switch-key", "switch-cert", "ca")))
    ovs.add_bridge("br0", fail_mode="secure")
    ovs.vsctl("set-controller", "br0", f"p{kind}:6653:127.0.0.1")

    with ovs.netns.enter():
        async with Connection(parse_remote(f"{kind}:127.0.0.1:6653"), tls=tls) as connection:
            await connection.ready(10)
            await connection.commit(many(5_000))
            assert len(await flows(connection)) == 5_000


@pytest.mark.parametrize(
    "test",
    [
        test_twenty_thousand_flows,
        test_a_refused_message_among_many,
        test_commits_take_effect_in_the_order_of_the_calls,
        test_a_cancelled_commit_leaves_nothing,
        test_restart_of_ovs_vswitchd,
    ],
)
def test_on_uvloop(
    test: Callable[..., Coroutine[None, None, None]], bridge: Remote, ovs: OVS
) -> None:
    given = {"bridge": bridge, "ovs": ovs}
    wanted = inspect.signature(test).parameters
    uvloop.run(test(**{name: given[name] for name in wanted}))


async def test_what_can_be_done_is_done_where_the_whole_is_refused(bridge: Remote) -> None:
    """A flow to an unknown group is refused; those before and behind it are not."""
    messages = b"".join(
        flow(f"table=1,priority={priority},actions={actions}")
        for priority, actions in [(1, "drop"), (2, "group:77"), (3, "drop"), (4, "group:78")]
    )
    async with open_session(bridge) as session:
        errors = await session.commit_each(messages)
        assert [(error.index, error.name) for error in errors] == [
            (1, "OFPBAC_BAD_OUT_GROUP"),
            (3, "OFPBAC_BAD_OUT_GROUP"),
        ]
        assert "group:77" in errors[0].request
        assert sorted(found.priority for found in await flows(session)) == [1, 3]
        assert await session.commit_each(b"") == []
