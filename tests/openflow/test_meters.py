"""Meters and packet-outs against what ovs-ofctl sends, and their Python values."""

from __future__ import annotations

import contextlib
import pickle
from pathlib import Path

import pytest
from listening import Listener
from oracle import Oracle

from nsxdp.openflow import DecodeError, Meter, ParseError, codec

METER_MOD, PACKET_OUT = 29, 13

METERS = [
    "meter=1,kbps,band=type=drop,rate=10",
    "meter=1 pktps burst stats bands=type=drop rate=5 burst_size=6",
    "meter=1,pktps,burst,stats,bands=type=drop,rate=5,burst_size=6,type=drop,rate=7,burst_size=8",
    "meter=controller,pktps,band=type=dscp_remark,rate=1,prec_level=5,type=drop,rate=4",
    "meter=slowpath,kbps,band=type=drop,rate=0x10",
    "meter=all,stats,band=type=drop,rate=010",
    "kbps,meter=4294901760,band=type=drop,rate=4294967295",
    "meter=1,kbps,\tbands=type=drop rate=100",
]

REJECTED = [
    ("meter=0,kbps,band=type=drop,rate=1", "0,", "no meter"),
    ("meter=4294901761,kbps,band=type=drop,rate=1", "4294901761", "greater than"),
    ("kbps,band=type=drop,rate=1", "kbps", "missing meter="),
    ("kbps,meter,band=type=drop,rate=1", "meter", "missing id"),
    ("meter=1,band=type=drop,rate=1", "meter", "kbps or pktps"),
    ("meter=1,kbps", "meter", "missing band="),
    ("meter=1,kbps,band=", "", "needs a band"),
    ("meter=1,kbps,band=rate=1", "rate", "starts with type="),
    ("meter=1,kbps,band=type=drop", "type", "needs a rate"),
    ("meter=1,kbps,band=type=drop,rate", "rate", "missing value"),
    ("meter=1,kbps,band=type=drop,rate=1,burst_size=1", "type", "needs burst"),
    ("meter=1,kbps,burst,band=type=drop,rate=1", "type", "needs a burst_size"),
    ("meter=1,kbps,band=type=drop,rate=1,prec_level=1", "type", "prec_level"),
    ("meter=1,kbps,band=type=dscp_remark,rate=1", "type", "needs prec_level"),
    ("meter=1,kbps,band=type=dscp_remark,rate=1,prec_level=256", "256", "greater than"),
    ("meter=1,foo=3,kbps,band=type=drop,rate=1", "foo", "unknown word of a meter"),
    ("meter=1,kbps,band=type=foo,rate=1", "foo", "type is drop"),
    ("meter=1,kbps,band=type=drop,rate=1,foo=1", "foo", "unknown word of a band"),
]

PACKET = "5054000000055054000000060800"

PACKET_OUTS = [
    f"in_port=1,packet={PACKET},actions=output:2",
    f"packet={PACKET},actions=",
    f"packet={PACKET}",
    f"in_port=controller packet={PACKET} actions=meter:3,resubmit(,3),ct_clear",
    f"in_port=local,reg0=5,xreg3=7,metadata=3,tun_id=4,packet={PACKET}0102,actions=1",
    f"in_port=none,packet={PACKET},action=drop",
    f"packet={PACKET},in_port=5 actions=mod_tp_src:3,mod_vlan_vid:4,load:1->NXM_NX_REG0[]",
]

PACKET_OUTS_REJECTED = [
    (f"in_port=flood,packet={PACKET},actions=1", "flood", "no packet comes"),
    (f"in_port=1,packet={PACKET[2:]},actions=1", PACKET[2:], "shorter than"),
    (f"in_port=1,packet={PACKET}0,actions=1", PACKET, "hexadecimal"),
    (f"in_port=1,nw_dst=1.2.3.4,packet={PACKET},actions=1", "nw_dst", "no such word"),
    (f"in_port=1,packet={PACKET},ip,actions=1", "ip", "no value"),
    (f"in_port=1,packet={PACKET},actions=goto_table:3", "goto_table", "not allowed"),
    ("in_port=1,actions=1", "in_port", "missing packet="),
]


@pytest.fixture
def listener(tmp_path: Path) -> Listener:
    return Listener(tmp_path / "switch")


@pytest.mark.parametrize("text", METERS)
def test_a_meter_is_what_ovs_ofctl_sends_and_prints(
    listener: Listener, oracle: Oracle, text: str
) -> None:
    sent = listener.sent(METER_MOD, "add-meter", text)
    assert sent is not None
    meter = Meter.parse(text)
    assert meter.encode().hex() == sent.hex()
    assert Meter.decode(sent) == meter
    assert oracle.print(sent).strip().endswith(f"ADD {meter}")
    assert Meter.parse(str(meter)) == meter


@pytest.mark.parametrize(("text", "word", "message"), REJECTED)
def test_a_wrong_meter_is_blamed(listener: Listener, text: str, word: str, message: str) -> None:
    assert listener.sent(METER_MOD, "add-meter", text) is None
    with pytest.raises(ParseError, match=message) as caught:
        Meter.parse(text)
    assert text[caught.value.position :].startswith(word)


def test_a_meter_has_as_many_bands_as_its_message() -> None:
    bands = "type=drop,rate=1," * 4094
    assert len(codec.meter_parse(f"meter=1,kbps,band={bands}")) == 16 + 16 * 4094
    with pytest.raises(ParseError, match="too many bands"):
        codec.meter_parse(f"meter=1,kbps,band={bands}type=drop,rate=1")


@pytest.mark.parametrize("text", ["meter=1", "meter=all", " meter=3"])
def test_deleting_a_meter(listener: Listener, text: str) -> None:
    sent = listener.sent(METER_MOD, "del-meters", text)
    assert sent == codec.meter_parse(text, codec.METER_DELETE)
    with pytest.raises(DecodeError, match="deletes"):
        Meter.decode(sent)


def test_changing_and_deleting_a_meter_that_is_there(listener: Listener) -> None:
    meter = Meter.parse(METERS[0])
    sent = listener.sent(METER_MOD, "mod-meter", METERS[0])
    assert meter.encode(codec.METER_MODIFY) == sent
    assert meter.encode(codec.METER_DELETE) == codec.meter_parse("meter=1", codec.METER_DELETE)


def test_a_meter_is_a_value() -> None:
    meter = Meter.parse(METERS[1])
    assert {meter: 1}[Meter.parse(METERS[1])] == 1
    assert meter != Meter.parse(METERS[2])
    assert pickle.loads(pickle.dumps(meter)) == meter


def test_damaged_meters_are_errors_or_meters() -> None:
    message = Meter.parse(METERS[3]).encode()
    for end in range(len(message)):
        with pytest.raises(DecodeError):
            Meter.decode(message[:end])
    for at in range(len(message)):
        for value in (0, 1, 0xFF, message[at] ^ 0x10):
            changed = message[:at] + bytes([value]) + message[at + 1 :]
            try:
                text = str(Meter.decode(changed))
            except DecodeError:
                continue
            assert text.startswith("meter=")


@pytest.mark.parametrize("text", PACKET_OUTS)
def test_a_packet_out_is_what_ovs_ofctl_sends(listener: Listener, text: str) -> None:
    sent = listener.sent(PACKET_OUT, "packet-out", text)
    assert sent is not None
    assert codec.packet_out_parse(text).hex() == sent.hex()
    assert codec.packet_out_parse(codec.packet_out_format(sent)) == sent


@pytest.mark.parametrize(("text", "word", "message"), PACKET_OUTS_REJECTED)
def test_a_wrong_packet_out_is_blamed(
    listener: Listener, text: str, word: str, message: str
) -> None:
    assert listener.sent(PACKET_OUT, "packet-out", text) is None
    with pytest.raises(ParseError, match=message) as caught:
        codec.packet_out_parse(text)
    assert text[caught.value.position :].startswith(word)


def test_a_packet_out_has_as_many_bytes_as_its_message() -> None:
    room = 65535 - 32
    assert len(codec.packet_out_parse(f"packet={'00' * room}")) == 65535
    with pytest.raises(ParseError, match="the packet-out is too long"):
        codec.packet_out_parse(f"packet={'00' * (room + 1)}")


def test_an_error_about_much_text_is_short() -> None:
    with pytest.raises(ParseError, match="wwwwwwww") as caught:
        codec.packet_out_parse(f"packet={PACKET},{'w' * 500}")
    assert len(caught.value.reason) < 256


def test_damaged_packet_outs_are_errors_or_packet_outs() -> None:
    message = codec.packet_out_parse(PACKET_OUTS[3])
    for end in range(16):
        with pytest.raises(DecodeError):
            codec.packet_out_format(message[:end])
    for at in range(len(message)):
        for value in (0, 1, 0xFF, message[at] ^ 0x10):
            with contextlib.suppress(DecodeError):
                codec.packet_out_format(message[:at] + bytes([value]) + message[at + 1 :])
