"""Test modules of this directory import what they share (semantics.py, say) by its plain name."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
