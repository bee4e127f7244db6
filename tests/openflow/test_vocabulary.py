"""Every action with every option, and mixes and misspellings of them, against ovs-ofctl."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from library import Codec, CodecError
from oracle import Oracle
from verdicts import flow_mods, printed
from vocabulary import FORMS, fill, mix, spoil, walk


def _agree(codec: Any, oracle: Oracle, texts: list[str]) -> int:
    """Compare bytes, text and rejections; return how many texts ovs-ofctl accepts."""
    expected = flow_mods(oracle, texts)
    accepted = [message for message in expected if message is not None]
    shown = iter(printed(oracle, accepted) if accepted else [])
    for text, message in zip(texts, expected, strict=True):
        found = _flow(codec, text)
        if message is None:
            assert found is None, text
            continue
        assert found is not None, text
        assert found.hex() == message.hex(), text
        assert _actions(codec, message) == next(shown), text
    return len(accepted)


def _flow(codec: Codec, text: str) -> bytes | None:
    try:
        return codec.flow(text)
    except CodecError:
        return None


def _actions(codec: Codec, message: bytes) -> str | None:
    try:
        return codec.text(message).partition("actions=")[2]
    except CodecError:
        return None


def test_every_action_in_everything_it_may_stand_in(codec: Any, oracle: Oracle) -> None:
    texts = list(walk(random.Random(1)))
    assert _agree(codec, oracle, texts) > 0.9 * len(texts)


@pytest.mark.parametrize(
    "match",
    [
        "packet_type=(0,0)",
        "packet_type=(1,0x800)",
        "packet_type=(1,0x86dd)",
        "packet_type=(1,0x8847)",
        "packet_type=(1,0x894f)",
        "packet_type=(1,0x800),tcp",
        "packet_type=(1,0x8847),mpls",
    ],
)
def test_every_action_on_packets_without_ethernet(codec: Any, oracle: Oracle, match: str) -> None:
    rng = random.Random(match)
    forms = [form for forms in FORMS.values() for form in forms]
    assert _agree(codec, oracle, [f"{match} actions={fill(rng, form)}" for form in forms]) > 80


@settings(max_examples=5)
@given(st.integers(0, 2**32))
def test_mixes_are_accepted_and_rejected_alike(codec: Any, oracle: Oracle, seed: int) -> None:
    rng = random.Random(seed)
    assert _agree(codec, oracle, [mix(rng) for _ in range(200)])


@pytest.mark.parametrize("seed", range(3))
def test_what_is_misspelt_is_not_accepted_alone(codec: Any, oracle: Oracle, seed: int) -> None:
    """ovs-ofctl reads some misspelt numbers as others: only those may be rejected alone."""
    rng = random.Random(seed)
    texts = [spoil(rng, text) for text in rng.sample(list(walk(rng)), 100)]
    for text, message in zip(texts, flow_mods(oracle, texts), strict=True):
        assert message is not None or _flow(codec, text) is None, text
