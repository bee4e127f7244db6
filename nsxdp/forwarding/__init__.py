"""Forwarding for pods on a bridge that is wired by us: compilers, without input or output.

`nsxdp.forwarding.model` has what goes in: a `NodeConfig`, a `PodPort` for each pod, a `Peer` for
each other node. `nsxdp.forwarding.compiler` makes flows of it, one owner a pod and a peer::

    compiler = ForwardingCompiler()
    writer.replace(compiler.configure(config))           # first, and whenever the node changes
    writer.replace(compiler.set_peers([peer, ...], gone=["node-7"]))
    writer.replace(compiler.set_pods([pod, ...], gone=["default/web"]))

Each returns a `nsxdp.pipeline.compiled.Compiled` of the owners that changed alone; `configure`
those of all that is known, where the configuration is another one. Whoever writes them uses
`NODE_COOKIE_PREFIX` and the group ids of `nsxdp.pipeline.registers`, which aren't those of the
Services: ``DesiredSet(NODE_COOKIE_PREFIX, NODE_GROUP_FIRST, NODE_GROUP_LAST)``. Owners' numbers are
below `OWNERS_END`; whatever else goes into the same desired set takes its numbers from there on.
"""
