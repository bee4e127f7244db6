"""Test modules of this directory import what they share (planned.py) by its plain name."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
