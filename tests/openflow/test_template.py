"""Templates: what is stamped is what parsing the text with the values in it would give."""

from __future__ import annotations

import ipaddress
import pickle
import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nsxdp.openflow.codec import GROUP_ADD_OR_MOD, Tables, flow_parse, group_parse
from nsxdp.openflow.errors import ParseError
from nsxdp.openflow.fake import FakeSwitch
from nsxdp.openflow.template import Hole, Stamped, Template, gather

SERVICE = "table=1,priority=200,tcp,nw_dst={vip},tp_dst={port},actions=group:{group}"
GROUP = (
    "group_id={group},type=select,selection_method=dp_hash,"
    "bucket=bucket_id:{slot},weight:100,actions=ct(commit,nat(dst={ip}:{port}))"
)


def service(vip: int, port: int, group: int) -> bytes:
    return flow_parse(SERVICE.format(vip=ipaddress.IPv4Address(vip), port=port, group=group))


def test_holes() -> None:
    assert Template(SERVICE).holes == (
        Hole("vip", 4, 32, in_bucket=False),
        Hole("port", 2, 16, in_bucket=False),
        Hole("group", 4, 32, in_bucket=False),
    )
    assert {hole.name for hole in Template(GROUP).holes if hole.in_bucket} == {"slot", "ip", "port"}
    assert not Template(SERVICE).is_group
    assert Template(GROUP).is_group


@given(
    rows=st.lists(
        st.tuples(
            st.integers(0, 2**32 - 1), st.integers(0, 2**16 - 1), st.integers(0, 2**32 - 2**8)
        ),
        min_size=1,
        max_size=300,
    ),
    types=st.tuples(*[st.sampled_from(["u4", "i8", ">u4", ">u8", "u8"])] * 3),
)
@settings(max_examples=50)
def test_stamped_flows_are_what_parsing_gives(
    rows: list[tuple[int, int, int]], types: tuple[str, ...]
) -> None:
    vip, port, group = (np.array([row[i] for row in rows], types[i]) for i in range(3))

    stamped = Template(SERVICE).stamp(vip=vip, port=port, group=group)

    assert bytes(stamped) == b"".join(service(*row) for row in rows)
    assert [stamped[i] for i in range(len(stamped))] == [service(*row) for row in rows]
    assert stamped.ends[-1] == stamped.nbytes == len(bytes(stamped))


def test_columns_may_be_strided_views() -> None:
    rows = np.array(
        [(0x0A600000 + i, i, 7 * i) for i in range(100)],
        [("vip", "u4"), ("port", "u2"), ("group", "u4")],
    )[::-3]

    stamped = Template(SERVICE).stamp(vip=rows["vip"], port=rows["port"], group=rows["group"])

    assert bytes(stamped) == b"".join(service(*map(int, row)) for row in rows)


def test_one_value_for_all_rows() -> None:
    template = Template(SERVICE)
    vips = np.arange(1, 4, dtype=np.uint32)
    expected = b"".join(service(int(vip), 80, 5) for vip in vips)

    ways: list[dict[str, Any]] = [
        {"port": 80, "group": 5},
        {"port": np.uint16(80), "group": np.int64(5)},
        {"port": b"\0P", "group": b"\0\0\0\5"},
        {"port": np.array(80), "group": np.broadcast_to(np.uint32(5), 3)},
        {"port": [80, 80, 80], "group": (5, 5, 5)},
    ]
    for way in ways:
        assert bytes(template.stamp(vip=vips, **way)) == expected, way
    assert bytes(template.stamp(vip=1, port=80, group=5)) == service(1, 80, 5)


def test_no_rows() -> None:
    nothing = np.zeros(0, np.uint32)

    stamped = Template(SERVICE).stamp(vip=nothing, port=80, group=nothing)

    assert (bytes(stamped), len(stamped), stamped.nbytes) == (b"", 0, 0)


def test_no_holes() -> None:
    assert bytes(Template("table=1,actions=drop").stamp()) == flow_parse("table=1,actions=drop")


def test_mac_addresses() -> None:
    template = Template("table=1,eth_dst={mac},actions=drop")
    octets = np.arange(12, dtype=np.uint8).reshape(2, 6)
    numbers = np.array([0x000102030405, 0x060708090A0B], np.uint64)
    expected = b"".join(
        flow_parse(f"table=1,eth_dst={mac},actions=drop")
        for mac in ("00:01:02:03:04:05", "06:07:08:09:0a:0b")
    )

    for column in (octets, numbers, np.asfortranarray(octets)):
        assert bytes(template.stamp(mac=column)) == expected
    assert template.stamp(mac=octets[0].tobytes())[0] == template.stamp(mac=octets)[0]
    assert template.stamp(mac=0x000102030405)[0] == template.stamp(mac=octets)[0]


def test_ipv6_addresses() -> None:
    template = Template("table=1,tcp6,ipv6_dst={ip},actions=ct(commit,nat(dst=[{to}]:{port}))")
    addresses = [ipaddress.IPv6Address("fd00::1"), ipaddress.IPv6Address("2001:db8::ffff:2")]
    octets = np.frombuffer(b"".join(ip.packed for ip in addresses), np.uint8).reshape(-1, 16)
    expected = [
        flow_parse(f"table=1,tcp6,ipv6_dst={ip},actions=ct(commit,nat(dst=[{ip}]:80))")
        for ip in addresses
    ]

    assert bytes(template.stamp(ip=octets, to=octets, port=80)) == b"".join(expected)
    first = addresses[0]
    assert bytes(template.stamp(ip=int(first), to=first.packed, port=80)) == expected[0]


def test_ipv4_addresses_as_octets() -> None:
    octets = np.array([[10, 96, 0, 1], [10, 96, 0, 2]], np.uint8)

    stamped = Template(SERVICE).stamp(vip=octets, port=80, group=5)

    assert bytes(stamped) == service(0x0A600001, 80, 5) + service(0x0A600002, 80, 5)


@given(value=st.integers(0, 2**9 - 1))
def test_some_bits_of_a_field(value: int) -> None:
    text = "table=1,actions=load:{v}->NXM_NX_REG3[7..15],resubmit(,2)"

    stamped = Template(text).stamp(v=value)

    assert bytes(stamped) == flow_parse(text.format(v=value))


@pytest.mark.parametrize("vid", [0x1000, 0x1005, 0x1FFF])
def test_a_vlan_id_says_that_there_is_a_tag(vid: int) -> None:
    text = "table=1,actions=push_vlan:0x8100,set_field:{v}->vlan_vid"

    assert Template(text).make(v=vid) == flow_parse(text.format(v=vid))


@given(value=st.integers(0, 2**64 - 1), shift=st.integers(0, 64))
def test_some_bits_of_a_wide_field(value: int, shift: int) -> None:
    text = f"table=1,actions=load:{{v}}->NXM_NX_XXREG1[{shift}..{shift + 63}],resubmit(,2)"
    columns = np.array([value], np.uint64)

    assert bytes(Template(text).stamp(v=columns)) == flow_parse(text.format(v=value))


def test_one_hole_in_several_fields() -> None:
    text = "table=1,reg4={slot},actions=load:{slot}->NXM_NX_REG5[0..15],resubmit(,2)"
    template = Template(text)

    assert template.holes == (Hole("slot", 4, 16, in_bucket=False),)
    assert bytes(template.stamp(slot=[5])) == flow_parse(text.format(slot=5))
    with pytest.raises(ValueError, match="row 1: 65536 has more than 16 bits"):
        template.stamp(slot=[5, 65536])


# What is wrong.


def test_wrong_text_says_where() -> None:
    with pytest.raises(ParseError) as caught:
        Template("table=1,nw_dst={vip},actions=nonsense:{x}")

    assert "nonsense" in str(caught.value)


@pytest.mark.parametrize(
    ("columns", "error", "what"),
    [
        ({"vip": [1], "port": 80}, TypeError, "no values for group"),
        ({"vip": [1], "port": 80, "group": 1, "prot": 6}, TypeError, "no holes prot"),
        ({"vip": [1, 2], "port": [80], "group": 1}, ValueError, "hole port: 1 rows.* 2 messages"),
        ({"vip": [1, 2], "port": [80, 65536], "group": 1}, ValueError, "hole port, row 1: 65536"),
        ({"vip": [1], "port": 65536, "group": 1}, ValueError, "hole port: 65536"),
        ({"vip": [1], "port": -1, "group": 1}, ValueError, "hole port: -1"),
        ({"vip": [1, -2], "port": 80, "group": 1}, ValueError, "hole vip, row 1: -2"),
        ({"vip": [1.0], "port": 80, "group": 1}, TypeError, "hole vip: an array of float64"),
        ({"vip": "10.0.0.1", "port": 80, "group": 1}, TypeError, "hole vip: a str"),
        ({"vip": b"123", "port": 80, "group": 1}, ValueError, "hole vip: 3 bytes"),
        ({"vip": np.zeros((2, 3), "u1"), "port": 1, "group": 1}, ValueError, r"hole vip.*\(2, 3\)"),
        ({"vip": np.zeros((2, 4), "u4"), "port": 1, "group": 1}, ValueError, r"hole vip.*\(2, 4\)"),
    ],
)
def test_wrong_columns_are_named(
    columns: dict[str, Any], error: type[Exception], what: str
) -> None:
    with pytest.raises(error, match=what):
        Template(SERVICE).stamp(**columns)


def test_the_row_of_a_wrong_value_is_found_beyond_the_first_block() -> None:
    port = np.full(10_000, 80, np.uint32)
    port[7777] = 70000

    with pytest.raises(ValueError, match="hole port, row 7777: 70000 has more than 16 bits"):
        Template(SERVICE).stamp(vip=1, port=port, group=1)


def test_a_field_that_takes_bytes_refuses_other_widths() -> None:
    with pytest.raises(ValueError, match="hole ip"):
        Template("ipv6,ipv6_dst={ip},actions=drop").stamp(ip=np.zeros((1, 6), np.uint8))


def test_flows_and_groups_are_not_mixed_up() -> None:
    with pytest.raises(TypeError, match="stamps groups"):
        Template(GROUP).stamp(group=1, slot=1, ip=1, port=1)
    with pytest.raises(TypeError, match="stamps flows"):
        Template(SERVICE).stamp_groups([0, 1], vip=1, port=1, group=1)


# Groups.


def group(group_id: int, rows: list[tuple[int, int, int]]) -> bytes:
    buckets = "".join(
        f",bucket=bucket_id:{slot},weight:100,"
        f"actions=ct(commit,nat(dst={ipaddress.IPv4Address(ip)}:{port}))"
        for slot, ip, port in rows
    )
    text = f"group_id={group_id},type=select,selection_method=dp_hash{buckets}"
    return group_parse(text, GROUP_ADD_OR_MOD)


@given(sizes=st.lists(st.integers(0, 7), max_size=20), data=st.data())
@settings(max_examples=50)
def test_stamped_groups_are_what_parsing_gives(sizes: list[int], data: st.DataObject) -> None:
    n = sum(sizes)
    offsets = np.concatenate(([0], np.cumsum(sizes))).astype(np.uint64)
    ips = data.draw(st.lists(st.integers(1, 2**32 - 1), min_size=n, max_size=n))
    slots, ports = np.arange(n, dtype=np.uint32) * 3, np.arange(n, dtype=np.uint16) + 1
    ids = np.arange(len(sizes), dtype=np.uint32) + 5

    stamped = Template(GROUP).stamp_groups(
        offsets, group=ids, slot=slots, ip=np.array(ips, np.uint32), port=ports
    )

    rows = list(zip(slots.tolist(), ips, ports.tolist(), strict=True))
    expected = [
        group(group_id, rows[int(start) : int(end)])
        for group_id, start, end in zip(
            ids.tolist(), offsets[:-1].tolist(), offsets[1:].tolist(), strict=True
        )
    ]
    assert [stamped[i] for i in range(len(stamped))] == expected


def test_long_groups_are_split_as_parsing_splits_them() -> None:
    n = 3000
    rows = [(i, 0x0A000000 + i, 80) for i in range(n)]
    columns = [np.array(column, np.uint32) for column in zip(*rows, strict=True)]

    stamped = Template(GROUP).stamp_groups(
        [0, 1, n, n], group=[1, 2, 3], slot=columns[0], ip=columns[1], port=columns[2]
    )

    assert stamped[0] == group(1, rows[:1])
    assert stamped[1] == group(2, rows[1:])
    assert stamped[2] == group(3, [])
    switch = FakeSwitch()
    assert switch.apply(stamped) > 4
    assert list(switch.groups[2].buckets) == list(range(1, n))


def test_buckets_without_ids_are_numbered() -> None:
    template = Template("group_id={group},type=all,bucket=actions=output:{port}")

    stamped = template.stamp_groups([0, 2, 3], group=[8, 9], port=[4, 5, 6])

    assert bytes(stamped) == b"".join(
        group_parse(text, GROUP_ADD_OR_MOD)
        for text in (
            "group_id=8,type=all,bucket=actions=output:4,bucket=actions=output:5",
            "group_id=9,type=all,bucket=actions=output:6",
        )
    )


def test_a_groups_value_in_its_buckets_and_properties() -> None:
    text = (
        "group_id={group},type=select,selection_method=hash,selection_method_param={basis},"
        "fields(ip_src),bucket=bucket_id:{slot},"
        "actions=set_field:{group}->reg7,set_field:{slot}->reg4,resubmit(,3)"
    )
    template = Template(text)
    assert [hole.name for hole in template.holes if hole.in_bucket] == ["slot"]

    stamped = template.stamp_groups([0, 1, 2], group=[1, 2], basis=[77, 78], slot=[5, 6])

    for i, values in enumerate(
        ({"group": 1, "basis": 77, "slot": 5}, {"group": 2, "basis": 78, "slot": 6})
    ):
        assert stamped[i] == group_parse(text.format(**values), GROUP_ADD_OR_MOD)
    same = template.stamp_groups([0, 1, 2], group=[1, 2], basis=77, slot=5)
    assert same[0] == stamped[0]


@pytest.mark.parametrize(
    "text",
    [
        "group_id={group},type=all",
        "group_id={group},type=all,bucket=actions=drop,bucket=actions=output:1",
    ],
)
def test_a_groups_template_has_exactly_one_bucket(text: str) -> None:
    with pytest.raises(ParseError, match="exactly one bucket"):
        Template(text)


@pytest.mark.parametrize(
    ("n_bytes", "message"),
    [(65_480, "does not fit into a bundle's message"), (65_494, "longer than a message")],
)
def test_a_bucket_that_no_message_has_room_for_is_refused(n_bytes: int, message: str) -> None:
    text = "group_id={{group}},type=all,bucket=actions=note:{}"
    Template(text.format("00" * 65_400))
    with pytest.raises(ParseError, match=message):
        Template(text.format("00" * n_bytes))


def test_a_mask_of_fields_is_no_hole() -> None:
    with pytest.raises(ParseError, match="a mask is no hole"):
        Template("group_id=1,type=select,selection_method=hash,fields(ip_src={mask}),bucket=1")


@pytest.mark.parametrize(
    "offsets", [[], [1, 2], [0, 3, 2], [0, 2, 1], [0, 3], [[0, 2]], [0, 2**40]]
)
def test_wrong_offsets_are_refused(offsets: list[int]) -> None:
    with pytest.raises(ValueError, match=r"offsets|rows"):
        Template(GROUP).stamp_groups(offsets, group=1, slot=[1, 2], ip=[1, 2], port=80)


def test_wrong_columns_of_groups_are_named() -> None:
    template = Template(GROUP)
    with pytest.raises(ValueError, match="hole group: 2 rows, but there are 1 messages"):
        template.stamp_groups([0, 2], group=[1, 2], slot=[1, 2], ip=1, port=80)
    with pytest.raises(ValueError, match="hole port, row 2: 65536"):
        template.stamp_groups([0, 1, 3], group=[1, 2], slot=[1, 2, 3], ip=1, port=[1, 2, 65536])


# One at a time.


def test_one_flow_is_made_of_numbers_and_bytes() -> None:
    template = Template(SERVICE)

    expected = flow_parse(SERVICE.format(vip="10.0.0.1", port=80, group=7))
    assert template.make(vip=0x0A000001, port=80, group=7) == expected
    assert template.make(vip=bytes((10, 0, 0, 1)), port=b"\0P", group=np.uint32(7)) == expected
    assert Template("actions=drop").make() == flow_parse("actions=drop")


def test_wide_fields_are_made_of_bytes_and_numbers() -> None:
    template = Template("ipv6,dl_src={mac},ipv6_dst={ip},reg0[0..2]={bits},actions=drop")

    expected = flow_parse(
        "ipv6,dl_src=00:00:00:00:00:07,ipv6_dst=fd00::1,reg0[0..2]=5,actions=drop"
    )
    ip = ipaddress.IPv6Address("fd00::1")
    assert template.make(mac=7, ip=int(ip), bits=5) == expected
    assert template.make(mac=bytes((0, 0, 0, 0, 0, 7)), ip=ip.packed, bits=5) == expected


@pytest.mark.parametrize("slots", [[1, 2, 3], (1, 2, 3), np.array([1, 2, 3], np.uint32)])
def test_one_group_has_a_bucket_for_each_item(slots: Any) -> None:
    rows = [(1, 0x0A000001, 80), (2, 0x0A000002, 80), (3, 0x0A000003, 80)]
    addresses = [row[1] for row in rows]
    template = Template(GROUP)

    assert template.make(group=9, slot=slots, ip=addresses, port=80) == group(9, rows)
    packed = [address.to_bytes(4, "big") for address in addresses]
    assert template.make(group=9, slot=slots, ip=packed, port=80) == group(9, rows)
    assert template.make(group=9, slot=1, ip=addresses[0], port=80) == group(9, rows[:1])
    assert template.make(group=9, slot=[], ip=[], port=80) == group(9, [])


def test_addresses_of_buckets_may_be_ipv6() -> None:
    template = Template(
        "group_id={group},type=select,bucket=bucket_id:{slot},weight:100,"
        "actions=ct(commit,nat(dst=[{ip}]:{port}))"
    )
    addresses = [ipaddress.IPv6Address("fd00::1"), ipaddress.IPv6Address("fd00::2")]

    text = "group_id=3,type=select" + "".join(
        f",bucket=bucket_id:{slot},weight:100,actions=ct(commit,nat(dst=[{address}]:53))"
        for slot, address in enumerate(addresses, 1)
    )
    made = template.make(group=3, slot=[1, 2], ip=[ip.packed for ip in addresses], port=53)
    assert made == group_parse(text, GROUP_ADD_OR_MOD)


@pytest.mark.parametrize(
    ("values", "error", "what"),
    [
        ({"vip": 1, "port": 80}, TypeError, "no values for group"),
        ({"vip": 1, "port": 80, "grp": 1}, TypeError, "no values for group; no holes grp"),
        ({"vip": 1, "port": 65536, "group": 1}, ValueError, "hole port: 65536 is no number of 16"),
        ({"vip": -1, "port": 80, "group": 1}, ValueError, "hole vip: -1 is no number of 32 bits"),
        ({"vip": 1 << 64, "port": 80, "group": 1}, ValueError, "hole vip: 18446744073709551616"),
        ({"vip": b"123", "port": 80, "group": 1}, ValueError, "hole vip: 3 bytes for a field of 4"),
        ({"vip": "10.0.0.1", "port": 80, "group": 1}, TypeError, "hole vip: a str is no number"),
        ({"vip": [1, 2], "port": 80, "group": 1}, ValueError, "one message of 2 rows"),
    ],
)
def test_what_no_flow_is_made_of(values: dict[str, Any], error: type[Exception], what: str) -> None:
    with pytest.raises(error, match=what):
        Template(SERVICE).make(**values)


@pytest.mark.parametrize(
    ("slots", "error", "what"),
    [
        ([1, -2], ValueError, "hole slot, row 1: -2 is negative"),
        ([1, 2.5], TypeError, "hole slot: an array of float64 has no unsigned numbers"),
        ([1, None], TypeError, "hole slot: an array of object has no unsigned numbers"),
        ([1, 1 << 40], ValueError, "hole slot, row 1: 1099511627776 has more than 32 bits"),
        ([b"1"], TypeError, "hole slot: an array of .S1 has no unsigned numbers"),
        ([1, 2, 3], ValueError, "hole slot: 3 rows, but there are 2 buckets"),
    ],
)
def test_what_no_bucket_is_made_of(slots: list[Any], error: type[Exception], what: str) -> None:
    with pytest.raises(error, match=what):
        Template(GROUP).make(group=1, slot=slots, ip=[1, 2][: len(slots)], port=80)


# Gathering.


@given(data=st.data(), n_owners=st.integers(1, 6))
@settings(max_examples=50)
def test_gathering_orders_by_owner(data: st.DataObject, n_owners: int) -> None:
    expected: list[list[bytes]] = [[] for _ in range(n_owners)]
    pieces: list[tuple[Stamped, Any]] = []
    for _ in range(data.draw(st.integers(0, 3))):
        owners = data.draw(st.lists(st.integers(0, n_owners - 1), max_size=20))
        ports = np.arange(len(owners), dtype=np.uint16) + 100 * len(pieces)
        stamped = Template(SERVICE).stamp(vip=1, port=ports, group=1)
        for i, owner in enumerate(owners):
            expected[owner].append(stamped[i])
        pieces.append((stamped, np.array(owners, np.uint32)))

    messages, ends = gather(pieces, n_owners)

    assert messages == b"".join(b"".join(own) for own in expected)
    assert ends.tolist() == np.cumsum([sum(map(len, own)) for own in expected]).tolist()


def test_gathering_checks_owners() -> None:
    stamped = Template(SERVICE).stamp(vip=[1, 2], port=1, group=1)

    with pytest.raises(ValueError, match="piece 1 is owner 3's, of 3"):
        gather([(stamped, np.array([0, 3]))], 3)
    with pytest.raises(ValueError, match="piece 0: 2 rows"):
        gather([(stamped, np.array([0]))], 3)
    assert gather([], 0)[0] == b""


# The rest.


def test_tables_have_names() -> None:
    tables = Tables({"ServiceLB": 9})
    template = Template("table=ServiceLB,actions=resubmit(,ServiceLB)", tables)

    assert bytes(template.stamp()) == flow_parse("table=9,actions=resubmit(,9)")
    assert repr(template) == "Template('table=ServiceLB,actions=resubmit(,ServiceLB)')"


def test_templates_can_be_pickled() -> None:
    template = pickle.loads(pickle.dumps(Template(SERVICE, Tables({"A": 1}))))

    assert bytes(template.stamp(vip=1, port=2, group=3)) == service(1, 2, 3)


def test_buffers_are_read_only() -> None:
    view = memoryview(Template(SERVICE).stamp(vip=1, port=2, group=3))

    assert view.readonly
    with pytest.raises(IndexError):
        Template(SERVICE).stamp(vip=1, port=2, group=3)[1]


def test_threads_may_share_a_template() -> None:
    template = Template(SERVICE)
    results: dict[int, bytes] = {}

    def work(number: int) -> None:
        vips = np.full(5000, number, np.uint32)
        for _ in range(20):
            results[number] = bytes(template.stamp(vip=vips, port=80, group=number))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)

    assert {n: found == service(n, 80, n) * 5000 for n, found in results.items()} == dict.fromkeys(
        range(4), True
    )
