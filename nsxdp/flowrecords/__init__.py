"""Records of who talked with whom: made of tracked connections, and sent as JSON or as IPFIX.

`nsxdp.flowrecords.tracker` finds out which connections began and ended, `nsxdp.flowrecords.record`
is what is told of one, and `nsxdp.flowrecords.ipfix` encodes it for a collector.
"""
