"""What Open vSwitch accepts since releases after the installed one.

The bytes are those of the ovs-ofctl of Open vSwitch 4.0's source. The installed one rejects the
texts: if it doesn't, it can be the oracle.
"""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from oracle import Oracle

from nsxdp.openflow import ParseError, codec
from nsxdp.openflow.messages import CtFlush, CtTuple, decode

FLOWS = [
    (
        "reg16=1 actions=drop",
        "00010018800111100000000100000000ffffffff00000000",
    ),
    (
        "reg31=0x5/0xff,reg0=7,in_port=1 actions=drop",
        "000100348000000400000001800101100000000700000000ffffffff0000000080011f1000000000"
        "0000000500000000000000ff00000000",
    ),
    (
        "xreg8=0x1122334455667788 actions=drop",
        "00010010800110081122334455667788",
    ),
    (
        "xxreg7=0x1/0xff actions=drop",
        "0001001880011f10000000000000000100000000000000ff",
    ),
    (
        "tcp,reg17=3,ct_mark=1,xreg15=9 actions=drop",
        "0001003780000a020800800014010680011110000000000000000300000000ffffffff80011e0800"
        "000000000000090001d6040000000100",
    ),
    (
        "actions=set_field:0x5->reg20",
        "0001000400000000000400180000000000190010ffff2a080000232000000005",
    ),
    (
        "actions=set_field:0x50/0xf0->reg16",
        "0001000400000000000400200000000000190018ffff230c0000232000000050000000f000000000",
    ),
    (
        "actions=set_field:0x5/0xff->xreg9",
        "000100040000000000040020000000000019001880011310000000000000000500000000000000ff",
    ),
    (
        "actions=set_field:0x1->xxreg4",
        "0001000400000000000400280000000000190020ffff421400002320000000000000000000000000"
        "0000000100000000",
    ),
    (
        "actions=move:NXOXM_ET_REG16[]->NXM_NX_REG0[]",
        "00010004000000000004002000000000001c00180020000000000000ffff22080000232000010004",
    ),
    (
        "actions=push:NXOXM_ET_REG31[0..7]",
        "00010004000000000004002000000000ffff001800002320001b0000ffff40080000232000080000",
    ),
    (
        "actions=output:NXOXM_ET_REG16[0..15]",
        "00010004000000000004002000000000ffff0018000023200020000fffffffff2208000023200000",
    ),
    (
        "actions=check_pkt_larger(100)->NXOXM_ET_XXREG7[3]",
        "00010004000000000004002000000000ffff001800002320003100640003ffff4814000023200000",
    ),
    (
        "actions=sample(probability=1,collector_set_id=2,obs_domain_id=NXM_NX_REG0[],"
        "obs_point_id=5)",
        "00010004000000000004003000000000ffff002800002320003300010000000200010004001f0000"
        "0000000000000005ffff000000000000",
    ),
    (
        "actions=sample(probability=1,collector_set_id=0,obs_domain_id=7,"
        "obs_point_id=OXM_OF_PKT_REG0[32..63],sampling_port=5,egress)",
        "00010004000000000004003000000000ffff00280000232000330001000000000000000000000007"
        "80010008081f00000005020000000000",
    ),
]
"""A flow, its actions as they're printed, and its flow_mod from the match on.

The registers are 3.7's, sample's fields 3.4's.
"""

CT_FLUSHES = [
    (CtFlush(mark=7), "0604002000000000000023200000002000000000000000000003000800000007"),
    (
        CtFlush(labels=1, labels_mask=0xFF),
        "06040048000000000000232000000020000000000000000000050014000000000000000000000000"
        "000000010000000000060014000000000000000000000000000000ff00000000",
    ),
    (
        CtFlush(0, CtTuple(src=ip_address("10.0.0.1")), mark=7, mark_mask=7),
        "06040048000000000000232000000020000000000000000000000020000000000000001400000000"
        "000000000000ffff0a0000010000000000030008000000070004000800000007",
    ),
]
"""NXT_CT_FLUSH of 3.3."""


@pytest.mark.parametrize(("text", "expected"), FLOWS)
def test_flows(oracle: Oracle, text: str, expected: str) -> None:
    message = codec.flow_parse(text)
    assert message[48:].hex() == expected
    printed = codec.flow_format(message)
    assert printed.endswith(text[text.index("actions=") :])
    assert codec.flow_parse(printed) == message
    assert oracle.rejects(text)


@pytest.mark.parametrize(("message", "expected"), CT_FLUSHES)
def test_ct_flush(message: CtFlush, expected: str) -> None:
    assert message.encode().hex() == expected
    assert decode(bytes.fromhex(expected)) == message


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("actions=sample(probability=1,obs_domain_id=reg0[0..40])", "reg0[0..40]"),
        ("actions=sample(probability=1,obs_domain_id=xreg0[])", "xreg0[]"),
        ("actions=sample(probability=1,obs_domain_id=eth)", "eth"),
        ("actions=sample(probability=1,collector_set_id=reg0[])", "reg0[]"),
        # Open vSwitch 4.0 sends these without the field.
        ("ip actions=ct(zone=reg16[0..15])", "reg16[0..15]"),
        ("actions=learn(table=1,output:reg16[0..15])", "output"),
        ("actions=sample(probability=1,obs_point_id=reg16[])", "reg16[]"),
        ("reg32=1 actions=drop", "reg32"),
    ],
)
def test_rejected(text: str, where: str) -> None:
    with pytest.raises(ParseError, match=r".") as caught:
        codec.flow_parse(text)
    assert text[caught.value.position :].startswith(where)
