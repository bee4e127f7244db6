"""Faults: everything around nsx-kube-proxy, and itself, is broken at random, under traffic."""
