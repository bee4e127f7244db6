"""Which of the clusters' tests there are: a second cluster is only for who asks for it."""

from __future__ import annotations

import os

# Kubernetes's specs of endpoints that are near have six nodes of their own.
if os.environ.get("NSXDP_SPECS", "all") not in ("", "all", "topology"):
    collect_ignore = ["test_topology.py"]
