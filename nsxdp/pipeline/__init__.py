"""The node bridge's pipeline: its tables, its registers, and each stage's flows.

A stage is a module with the templates of its flows, in ovs-ofctl's syntax. Nothing here does I/O,
and nothing here knows what a Service or a pod is in Kubernetes: columns come in, messages go out.
"""
