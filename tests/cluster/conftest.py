"""Clusters of real nodes; what each test does to one, the next one finds."""

from __future__ import annotations

import os
import sys
from pathlib import Path

# Test modules of this directory import what they share (traffic.py) by its plain name.
sys.path.append(str(Path(__file__).parent))

# Kubernetes's specs of endpoints that are near have six nodes of their own.
if os.environ.get("NSXDP_SPECS", "all") not in ("", "all", "topology"):
    collect_ignore = ["test_topology.py"]
