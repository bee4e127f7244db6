"""Groups against ovs-ofctl: the bytes of a text, the text of bytes."""

from __future__ import annotations

import random
import re
import struct
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from library import CodecError
from oracle import Oracle, messages
from stamping import stamp
from vocabulary import FORMS, fill

ADD, MODIFY, DELETE, INSERT, REMOVE, ADD_OR_MOD = 0, 1, 2, 3, 5, 0x8000
FIRST, LAST, ALL = 0xFFFFFFFD, 0xFFFFFFFE, 0xFFFFFFFF
SELECT = 1
HEADER = 24
"""Bytes of a group_mod before its buckets."""

ACCEPTED = [
    "group_id=1,type=select,selection_method=hash,selection_method_param=5,"
    "fields(ip_src,tcp_dst=0xff),bucket=weight:100,actions=ct(commit,table=3,zone=5,"
    "nat(dst=10.0.0.1:80),exec(load:1->NXM_NX_CT_MARK[])),bucket=bucket_id:7,"
    "actions=output:1,output:2,bucket=watch_port:3,watch_group:4,actions=mod_vlan_vid:5",
    "group_id=1,type=select,selection_method=dp_hash,bucket=actions=drop",
    "group_id=1,type=select,selection_method=dp_hash,bucket=output:5",
    "group_id=1,type=select,selection_method=dp_hash,"
    "selection_method_param=18446744073709551615,bucket=actions=output:1",
    "group_id=1,type=select,selection_method=dp_hash",
    "group_id=1,type=select",
    "group_id=1,type=all,bucket=output:2,bucket=output:3,bucket=bucket_id:1,output:3,bucket=4",
    "group_id=1,type=indirect,bucket=1",
    "group_id=1,type=ff,bucket=watch_port:1,actions=output:1",
    "group_id=1,type=fast_failover,bucket=watch_port:CONTROLLER,actions=output:1",
    "group_id=1,type=all,bucket=weight:0,actions=output:1",
    "group_id=1,type=select,bucket=weight:0,actions=output:1",
    "group_id=4294967040,type=select,bucket=actions=output:1",
    "group_id=all,type=select,bucket=actions=output:1",
    "group_id=1,type=select,selection_method=hash,fields=ip_src,bucket=actions=output:1",
    "group_id=1,type=select,selection_method=hash,fields(ip_src=255.255.0.0,eth_dst,"
    "ipv6_src=ffff::,nw_proto,tcp_src,udp_dst,reg0=0xf,metadata),bucket=actions=output:1",
    "group_id=0x10,type=select,selection_method=hash,fields(in_port,vlan_vid,eth_type,"
    "xxreg0,ct_label,tun_id,tun_src),bucket=output:1",
    "group_id=1,type=select,bucket=actions=output:1,weight:5,output:2,"
    "bucket=bucket_id=3,weight=4,actions=resubmit(,3),ct(table=3,zone=4)",
    "group_id=1,type=select,bucket=actions=meter:3,output:1",
    "group_id=1,type=select,bucket=actions=ct(commit,nat(dst=[fe80::1]:80))",
    "group_id=1 type=select bucket=output:1 bucket=output:2",
    "group_id=1, type=select, bucket=weight:5,actions=output:1, bucket=actions=output:2",
    "group_id=1,type=select,bucket=actions=set_field:5->tcp_dst,dec_ttl,group:5,"
    "learn(table=3,load:1->NXM_NX_REG0[]),clone(output:1,load:1->NXM_NX_REG0[0..15])",
]

REJECTED = [
    ("group_id=1,type=select,bucket=bucket_id:5", "bucket_id:5", "without actions"),
    ("group_id=1,type=select,bucket=", "", "without actions"),
    ("group_id=1,type=indirect,bucket=1,bucket=2", "bucket", "one bucket"),
    ("group_id=1,type=ff,bucket=actions=output:1", "actions", "watch_port or watch_group"),
    ("group_id=1,type=ff,bucket=watch_port:LOCAL,actions=1", "LOCAL", "cannot watch"),
    ("group_id=1,type=all,bucket=weight:3,actions=output:1", "3", "only buckets of type=select"),
    ("group_id=1,type=ff,bucket=watch_port:foo,actions=1", "foo", "unknown port"),
    ("group_id=1,type=select,selection_method=abcdefghijklmnop", "abc", "at most 15 bytes"),
    ("group_id=1,type=select,bucket=weight:70000,actions=1", "70000", "65535"),
    ("group_id=1,type=select,bucket=bucket_id:4294967041,actions=1", "4294967041", "bucket_id"),
    ("group_id=4294967041,type=select", "4294967041", "no group"),
    ("type=select,bucket=actions=output:1", "type", "missing group_id"),
    ("group_id=1,bucket=actions=output:1", "group_id", "missing type"),
    ("group_id=1,type=foo", "foo", "type is"),
    ("group_id=1,type=select,foo=3", "foo", "unknown word"),
    ("group_id=1,type=select,command_bucket_id=3", "command_bucket_id", "removing buckets"),
    ("group_id=1,type=select,selection_method=hash,fields(ip_src,ip_src)", "ip_src)", "duplicate"),
    ("group_id=1,type=select,selection_method=hash,fields(ip_src=0.0.0.0)", "0.0.0.0", "no mask"),
    ("group_id=1,type=select,selection_method=hash,fields(nw_proto=3)", "3)", "no mask"),
    ("group_id=1,type=select,selection_method=hash,fields(foo)", "foo", "unknown field"),
    ("group_id=1,type=select,selection_method=dp_hash,fields(ip_src)", "ip_src", "=hash"),
    ("group_id=1,type=select,fields(ip_src)", "ip_src", "=hash"),
    ("group_id=1,type=select,selection_method_param=4", "4", "needs selection_method"),
    ("group_id=1,type=select,bucket=actions=output:foo", "foo", "unknown port"),
    ("group_id=1,type=select,bucket=actions=goto_table:3", "goto_table", "not allowed"),
    ("group_id=1,type=select,bucket=load:1->NXM_NX_CT_MARK[]", "1->", "ct(commit,exec"),
]

IN_BUCKETS = [
    "group_id=1,type=ff,bucket=WEIGHT:0,Watch_Port:controller,ACTIONS=output:1",
    "group_id=010,type=select,selection_method_param=0,bucket=meter:0,output:any",
    "group_id=1,type=select,bucket=load:1->NXM_NX_CT_STATE[],move:reg0->ct_state",
]
"""What only a flow's actions have to be: nobody knows the packets of a bucket."""

REFUSED_BY_SWITCHES = [
    ("group_id=1,type=indirect", "one bucket"),
    ("group_id=1,type=all,bucket=watch_port:3,actions=1", "watch nothing"),
    ("group_id=1,type=select,selection_method=foo", "selection method"),
    ("group_id=1,type=all,selection_method=hash", "selection method"),
    (
        "group_id=1,type=all,bucket=bucket_id:1,actions=1,bucket=bucket_id:1,actions=2",
        "two buckets with bucket_id 1",
    ),
]


def add(codec: Any, text: str, command: int = ADD, tables: Any = None) -> bytes:
    """The group_mods of 'text'."""
    encoded = text.encode()
    copy = codec.ffi.new("char[]", len(encoded) or 1)
    codec.ffi.memmove(copy, encoded, len(encoded))
    return cast(
        bytes,
        codec.call(
            codec.lib.nsx_group_parse, copy, len(encoded), command, tables or codec.ffi.NULL
        ),
    )


def view(codec: Any, group_mod: bytes) -> tuple[Any, Any]:
    """The view of 'group_mod' and what keeps it alive."""
    data = codec.ffi.new("uint8_t[]", group_mod)
    found = codec.ffi.new("struct nsx_group_view *")
    error = codec.ffi.new("struct nsx_error *")
    codec.check(codec.lib.nsx_group_mod_decode(data, len(group_mod), found, error), error)
    return found, data


def views(codec: Any, reply: bytes) -> list[tuple[Any, Any]]:
    """The views of a group description reply."""
    data = codec.ffi.new("uint8_t[]", reply)
    offset = codec.ffi.new("size_t *")
    error = codec.ffi.new("struct nsx_error *")
    found: list[tuple[Any, Any]] = []
    while True:
        group = codec.ffi.new("struct nsx_group_view *")
        code = codec.lib.nsx_group_desc_next(data, len(reply), offset, group, error)
        if code == 2:  # ENOENT
            return found
        codec.check(code, error)
        found.append((group, data))


def printed(codec: Any, group: Any, tables: Any = None) -> str:
    text: bytes = codec.call(codec.lib.nsx_group_format, group, tables or codec.ffi.NULL)
    return text.decode()


def text_of(codec: Any, group_mod: bytes) -> str:
    found, _data = view(codec, group_mod)
    return printed(codec, found)


def buckets(codec: Any, group_mod: bytes) -> list[int]:
    """The ids of the buckets of 'group_mod'."""
    found, _data = view(codec, group_mod)
    offset = codec.ffi.new("size_t *")
    bucket = codec.ffi.new("struct nsx_bucket_view *")
    error = codec.ffi.new("struct nsx_error *")
    ids = []
    while (code := codec.lib.nsx_bucket_next(found, offset, bucket, error)) == 0:
        assert bucket.len == struct.unpack_from(">H", codec.ffi.buffer(bucket.bucket, 2))[0]
        ids.append(bucket.bucket_id)
    assert code == 2  # ENOENT
    return ids


def desc_reply(group_mods: list[bytes]) -> bytes:
    """An OFPMP_GROUP_DESC reply with the groups that 'group_mods' add."""
    body = b""
    for message in group_mods:
        _, kind, group_id, buckets_len = struct.unpack_from(">HBxIH", message, 8)
        rest = message[HEADER:]
        body += struct.pack(">HBxIH6x", 16 + len(rest), kind, group_id, buckets_len) + rest
    return struct.pack(">BBHIHHxxxx", 6, 19, 16 + len(body), 0, 7, 0) + body


def split(messages: bytes) -> list[bytes]:
    found: list[bytes] = []
    while messages:
        (length,) = struct.unpack_from(">H", messages, 2)
        found.append(messages[:length])
        messages = messages[length:]
    return found


@pytest.mark.parametrize("text", ACCEPTED)
def test_bytes_and_text_are_those_of_ovs_ofctl(codec: Any, oracle: Oracle, text: str) -> None:
    (expected,) = oracle.group_mods(text)
    assert add(codec, text).hex() == expected.hex()
    line = oracle.print(expected).strip().rpartition("\n")[2].strip().removeprefix("ADD ")
    assert text_of(codec, expected) == line


def test_descriptions_are_printed_as_dump_groups_does(codec: Any, oracle: Oracle) -> None:
    messages = [add(codec, text) for text in ACCEPTED]
    reply = desc_reply(messages)
    lines = [printed(codec, group) for group, _ in views(codec, reply)]
    assert lines == [line.strip() for line in oracle.print(reply).strip().splitlines()[1:]]
    assert [text_of(codec, message) for message in messages] == lines


@pytest.mark.parametrize(("text", "word", "message"), REJECTED)
def test_a_wrong_group_is_blamed(
    codec: Any, oracle: Oracle, text: str, word: str, message: str
) -> None:
    assert oracle.run("parse-group", text, check=False).returncode != 0
    with pytest.raises(Exception, match=re.escape(message)) as caught:
        add(codec, text)
    position: int = cast(Any, caught.value).position
    assert text[position:].startswith(word)


def test_every_action_in_a_bucket(codec: Any, oracle: Oracle) -> None:
    rng = random.Random(2)
    for form in [form for forms in FORMS.values() for form in forms]:
        text = f"group_id=1,type=all,bucket=actions={fill(rng, form)}"
        done = oracle.run("-mmmmm", "parse-group", text, check=False)
        if done.returncode:
            with pytest.raises(CodecError):
                add(codec, text)
        else:
            assert add(codec, text).hex() == messages(done.stdout)[0].hex(), text


@pytest.mark.parametrize("text", IN_BUCKETS)
def test_a_bucket_asks_for_no_match(codec: Any, oracle: Oracle, text: str) -> None:
    (group_mod,) = oracle.group_mods(text)
    assert add(codec, text).hex() == group_mod.hex()


def test_a_bucket_deletes_only_tunnel_metadata(codec: Any, oracle: Oracle) -> None:
    text = "group_id=1,type=all,bucket=delete_field:{}"
    assert oracle.group_mods(text.format("tun_metadata0")) == [
        add(codec, text.format("tun_metadata0"))
    ]
    with pytest.raises(Exception, match="only tun_metadata fields can be deleted"):
        add(codec, text.format("reg0"))


@pytest.mark.parametrize(("text", "message"), REFUSED_BY_SWITCHES)
def test_what_a_switch_would_refuse_is_sent_and_not_read(
    codec: Any, oracle: Oracle, text: str, message: str
) -> None:
    (group_mod,) = oracle.group_mods(text)
    assert add(codec, text).hex() == group_mod.hex()
    assert "decode error" in oracle.print(group_mod)
    with pytest.raises(Exception, match=re.escape(message)):
        view(codec, group_mod)


COMMANDS = [
    (ADD_OR_MOD, "group_id=1,type=select,bucket=1", "ADD_OR_MOD group_id=1,type=select,"),
    (MODIFY, "group_id=1,type=select,bucket=1", "MOD group_id=1,type=select,"),
    (DELETE, "group_id=1", "DEL group_id=1,type=all"),
    (DELETE, "", "DEL group_id=4294967292,type=all"),
    (
        INSERT,
        "group_id=1,command_bucket_id=last,bucket=bucket_id:5,weight:3,actions=output:5",
        "INSERT_BUCKET command_bucket_id:last,group_id=1,bucket=bucket_id:5,weight:3,",
    ),
    (
        INSERT,
        "group_id=1,command_bucket_id=7,bucket=bucket_id:5,actions=output:5",
        "INSERT_BUCKET command_bucket_id:7,group_id=1,bucket=bucket_id:5,actions=output:5",
    ),
    (
        REMOVE,
        "group_id=1,command_bucket_id=5",
        "REMOVE_BUCKET command_bucket_id:5,group_id=1",
    ),
    (REMOVE, "group_id=1", "REMOVE_BUCKET command_bucket_id:all,group_id=1"),
]


@pytest.mark.parametrize(("command", "text", "expected"), COMMANDS)
def test_commands(codec: Any, oracle: Oracle, command: int, text: str, expected: str) -> None:
    message = add(codec, text, command)
    assert view(codec, message)[0].command == command
    assert oracle.print(message).strip().rpartition("\n")[2].strip().startswith(expected)
    assert expected.partition("group_id")[2] in text_of(codec, message)


@pytest.mark.parametrize(
    ("command", "text", "message"),
    [
        (DELETE, "group_id=1,type=select", "not for this command"),
        (DELETE, "group_id=1,bucket=1", "not for this command"),
        (INSERT, "group_id=1,bucket=1", "missing command_bucket_id"),
        (INSERT, "group_id=1,command_bucket_id=all,bucket=1", "one place"),
        (INSERT, "group_id=1,command_bucket_id=4294967041,bucket=1", "4294967040"),
        (REMOVE, "group_id=1,command_bucket_id=1,bucket=1", "not for this command"),
    ],
)
def test_words_that_a_command_does_not_have(
    codec: Any, command: int, text: str, message: str
) -> None:
    with pytest.raises(Exception, match=message):
        add(codec, text, command)


def test_buckets_without_an_id_get_the_least_free_ones(codec: Any) -> None:
    text = "group_id=1,type=all,bucket=1,bucket=bucket_id:1,actions=2,bucket=3,bucket=4"
    assert buckets(codec, add(codec, text)) == [0, 1, 2, 3]
    text = "group_id=1,type=all,bucket=bucket_id:0,actions=1,bucket=2,bucket=bucket_id:2,3,bucket=4"
    assert buckets(codec, add(codec, text)) == [0, 1, 2, 3]


@pytest.mark.parametrize("command", [ADD, ADD_OR_MOD])
def test_a_group_longer_than_a_message_is_several(codec: Any, command: int) -> None:
    head = "group_id=9,type=select,selection_method=dp_hash"
    bucket = ",bucket=weight:100,actions=ct(commit,nat(dst=10.0.0.1:80))"
    messages = split(add(codec, head + bucket * 3000, command))
    assert len(messages) > 1
    assert all(len(message) <= 65535 for message in messages)

    first, *others = [view(codec, message) for message in messages]
    assert first[0].command == command
    assert first[0].command_bucket_id == ALL
    assert first[0].properties_len
    for group, _ in others:
        assert (group.command, group.group_id, group.type) == (INSERT, 9, SELECT)
        assert group.command_bucket_id == LAST
        assert not group.properties_len
    ids = [i for message in messages for i in buckets(codec, message)]
    assert ids == list(range(3000))
    # No message could have taken the next one's first bucket.
    assert all(len(message) + 64 > 65535 for message in messages[:-1])


@pytest.mark.parametrize("n_bytes", [65_494, 65_510])
def test_a_bucket_longer_than_a_message_is_refused(codec: Any, n_bytes: int) -> None:
    add(codec, f"group_id=9,type=select,bucket=actions=note:{'00' * 65_400}")
    with pytest.raises(Exception, match=r"bucket is too long: \"(group_id|actions)"):
        add(codec, f"group_id=9,type=select,bucket=actions=note:{'00' * n_bytes}")


def test_views_may_come_from_anywhere(codec: Any) -> None:
    for name, value, message in (
        ("type", 4, "unknown type 4 of a group"),
        ("buckets_len", 3, "bad length of a bucket"),
    ):
        group, _data = view(codec, add(codec, "group_id=1,type=all,bucket=1"))
        setattr(group, name, value)
        with pytest.raises(Exception, match=message):
            printed(codec, group)


def test_a_bucket_with_an_id_of_many_is_refused(codec: Any, oracle: Oracle) -> None:
    message = bytearray(add(codec, "group_id=1,type=all,bucket=bucket_id:1,actions=1"))
    message[HEADER + 4 : HEADER + 8] = b"\xff" * 4
    assert "decode error" in oracle.print(bytes(message))
    with pytest.raises(Exception, match="bad bucket id 0xffffffff"):
        view(codec, bytes(message))


def test_a_long_insertion_goes_on_where_it_was(codec: Any) -> None:
    bucket = ",bucket=actions=ct(commit,nat(dst=10.0.0.1:80))"
    text = "group_id=9,command_bucket_id={}" + bucket * 2000
    for place in ("first", "last"):
        messages = split(add(codec, text.format(place), INSERT))
        places = [view(codec, message)[0].command_bucket_id for message in messages]
        ids = [buckets(codec, message) for message in messages]
        assert len(messages) > 1
        if place == "first":
            assert places == [FIRST, *(part[-1] for part in ids[:-1])]
        else:
            assert places == [LAST] * len(messages)


def test_table_names(codec: Any) -> None:
    tables = codec.tables({7: "ServiceLB"})
    text = "group_id=1,type=select,bucket=actions=resubmit(,ServiceLB)"
    message = add(codec, text, tables=tables)
    assert message == add(codec, text.replace("ServiceLB", "7"))
    found, _data = view(codec, message)
    assert printed(codec, found, tables).endswith("actions=resubmit(,ServiceLB)")


@st.composite
def groups(draw: st.DrawFn) -> str:
    words = [f"group_id={draw(st.integers(0, 0xFFFFFF00))}", "type=select"]
    method = draw(st.sampled_from(["", "dp_hash", "hash"]))
    if method:
        words.append(f"selection_method={method}")
        words.append(f"selection_method_param={draw(st.integers(0, 2**64 - 1))}")
    if method == "hash":
        names = ["ip_src", "ip_dst=255.255.255.0", "tcp_src", "udp_dst=0xff", "nw_proto", "reg3"]
        fields = draw(st.lists(st.sampled_from(names), unique=True))
        if fields:
            words.append(f"fields({','.join(fields)})")
    ids = draw(st.lists(st.integers(0, 0xFFFFFF00), unique=True, max_size=5))
    for bucket_id in ids:
        n = draw(st.integers(1, 0xFEFF))
        actions = draw(
            st.sampled_from(
                [
                    f"output:{n}",
                    f"ct(commit,zone={n},nat(dst=10.0.0.1:{n}),exec(load:{n}->NXM_NX_CT_MARK[]))",
                    f"load:{n}->NXM_NX_REG3[],resubmit(,5)",
                    "drop",
                ]
            )
        )
        words.append(f"bucket=bucket_id:{bucket_id},weight:{n},actions={actions}")
    return ",".join(words)


@settings(max_examples=60)
@given(groups())
def test_mixes_are_as_ovs_ofctl_has_them(codec: Any, oracle: Oracle, text: str) -> None:
    (expected,) = oracle.group_mods(text)
    assert add(codec, text).hex() == expected.hex()
    line = oracle.print(expected).strip().rpartition("\n")[2].strip().removeprefix("ADD ")
    assert text_of(codec, expected) == line
    # What is printed is what is parsed.
    assert add(codec, line) == expected


def read(codec: Any, message: bytes) -> str | None:
    """The group of 'message', or None where the core finds it wrong."""
    wrong: Any
    try:
        text = text_of(codec, message)
    except Exception as error:
        wrong = error
    else:
        return text
    assert wrong.position <= len(message)
    return None


@pytest.mark.parametrize("text", ACCEPTED)
def test_truncated_and_changed_bytes_are_errors_or_groups(codec: Any, text: str) -> None:
    message = add(codec, text)
    for end in range(len(message)):
        assert read(codec, message[:end]) is None
        if end >= 8:
            read(codec, message[:2] + struct.pack(">H", end) + message[4:end])
    rng = random.Random(text)
    for i in range(8, len(message)):
        for value in (0, 1, 0xFF, message[i] ^ 1 << rng.randrange(8), rng.randrange(256)):
            read(codec, message[:i] + bytes([value]) + message[i + 1 :])


@pytest.mark.parametrize("text", ACCEPTED)
def test_truncated_and_changed_descriptions(codec: Any, text: str) -> None:
    reply = desc_reply([add(codec, text)] * 2)
    rng = random.Random(text)
    changed = [reply[:2] + struct.pack(">H", end) + reply[4:end] for end in range(17, len(reply))]
    changed += [
        reply[:i] + bytes([rng.randrange(256)]) + reply[i + 1 :] for i in range(8, len(reply))
    ]
    wrong: Any
    for message in changed:
        try:
            for group, _data in views(codec, message):
                assert printed(codec, group).startswith("group_id=")
        except Exception as error:
            wrong = error
        else:
            continue
        assert wrong.position <= len(message)


HOLES: list[tuple[str, dict[str, int | str]]] = [
    ("group_id={g},type=select,bucket=actions=output:{p}", {"g": 5, "p": 7}),
    (
        "group_id={g},type=select,selection_method=hash,selection_method_param={s},"
        "fields(ip_src),bucket=bucket_id:{b},weight:{w},actions=ct(commit,"
        "nat(dst={ip}:{port}),exec(load:{m}->NXM_NX_CT_MARK[0..15]))",
        {"g": 5, "s": 2**40, "b": 6, "w": 70, "ip": "10.1.2.3", "port": 80, "m": 9},
    ),
    (
        "group_id=4,type=select,bucket=bucket_id:{b},"
        "actions=load:{r}->NXM_NX_REG4[0..15],ct(commit,table=3,nat(dst=[{ip}]:{port}))",
        {"b": 6, "r": 7, "ip": "fd00::1", "port": 80},
    ),
]


@pytest.mark.parametrize(("text", "values"), HOLES)
def test_a_hole_is_where_its_value_goes(
    codec: Any, text: str, values: dict[str, int | str]
) -> None:
    expected = add(codec, text.format(**values), ADD_OR_MOD)
    assert stamp(codec, text, values) == expected
