"""Label and field selectors as the API server has them."""

import pytest

from nsxdp.k8s.objects import ObjectMeta, Service, ServiceSpec
from nsxdp.k8s.selectors import selector


@pytest.mark.parametrize(
    ("labels", "fields", "selects"),
    [
        ("", "", True),
        ("app", "", True),
        ("!app", "", False),
        ("! app", "", False),
        ("!other", "", True),
        ("app=web", "", True),
        ("app==web", "", True),
        ("app = web , !other", "", True),
        ("app=dns", "", False),
        ("app!=dns", "", True),
        ("other!=web", "", True),
        ("other=web", "", False),
        ("app=web,tier=x", "", False),
        ("example.org/a-b=", "", True),
        ("", "metadata.name=a", True),
        ("", "metadata.name!=a", False),
        ("", "spec.clusterIP!=None", True),
        ("", "spec.clusterIP=10.96.0.1,metadata.namespace=x", True),
    ],
)
def test_selects(labels, fields, selects):
    meta = ObjectMeta(name="a", namespace="x", labels={"app": "web", "example.org/a-b": ""})
    service = Service(metadata=meta, spec=ServiceSpec(cluster_ip="10.96.0.1"))
    assert selector(labels, fields)(service) is selects


@pytest.mark.parametrize(
    ("labels", "fields"), [("a in (b)", ""), ("!a=b", ""), (",", ""), ("", "metadata.name")]
)
def test_what_is_not_in_the_grammar(labels, fields):
    with pytest.raises(ValueError, match="selector"):
        selector(labels, fields)


def test_a_field_that_is_not_there():
    with pytest.raises(ValueError, match=r"no field 'spec\.ip' in Service"):
        selector("", "spec.ip=1")(Service())
