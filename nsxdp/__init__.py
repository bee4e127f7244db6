"""Kubernetes Services and pods on Open vSwitch: OpenFlow 1.5 and OVSDB at C speed."""

__version__ = "0.1.0"
