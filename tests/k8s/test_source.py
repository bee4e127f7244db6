"""What a source remembers of the objects that pass through it."""

from __future__ import annotations

from nsxdp.k8s.objects import ObjectMeta
from nsxdp.k8s.policy_objects import Pod
from nsxdp.k8s.resources import PODS
from nsxdp.k8s.source import Inventory, Op


def test_what_is_told_of_while_a_list_goes_on_is_not_missing_from_it() -> None:
    pods = [
        Pod(metadata=ObjectMeta(name=name, namespace="default", resource_version="1"))
        for name in ("gone", "changed", "listed", "missing")
    ]
    gone, changed, listed, missing = pods
    inventory = Inventory(PODS)
    inventory.begin_list()
    assert len(inventory.listed(pods, [])) == 4
    assert inventory.end_list() == []

    inventory.begin_list()
    assert inventory.watched(Op.DELETE, gone) == (Op.DELETE, gone)
    assert inventory.watched(Op.UPSERT, changed) is None
    assert inventory.listed([listed], []) == []
    ((op, obj),) = inventory.end_list()
    assert (op, obj.key) == (Op.DELETE, missing.key)
    assert len(inventory) == 2
