"""NetworkPolicies and ClusterNetworkPolicies to the flows of the policies' stages.

`rules` reads a policy, `kinds` knows what policies see of pods, `groups` which kinds selectors
select. `live` brings both together: which conjunctions there are, and what is in them; `flows`
keeps what the switch needs for that, and compiles what changed. `planner` is all of it for one
node.

Nothing here does I/O, and each change costs what it changes, whatever else there is.
"""
