"""Kubernetes: typed objects, and the two places they come from.

`objects` are the types, `resources` says where the API serves them, `source` is the interface
that both sources share: `reflector` (a real API server) and `manifests` (a directory of YAML).
`client` is the small REST client under the reflector, `credentials` tells it where and as whom,
`events` records Events for people to read.
"""
