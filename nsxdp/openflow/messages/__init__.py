"""OpenFlow 1.5 messages as values, each beside its layout.

A class has the name, and its fields have the names and the order, of the specification (Open
Networking Foundation, TS-025, section 7); Open vSwitch's own messages are those of its
``include/openflow/nicira-ext.h``.  Only what a message calls its ``type`` is ``kind`` here: a
message's class has its own number there.

`decode` reads a message, ``encode()`` gives its bytes, ``str()`` what ``ovs-ofctl ofp-print`` says
of it.  Where there are many, bytes are made and read at once: `nsxdp.openflow.template` and
`nsxdp.openflow.stats`.
"""

from nsxdp.openflow.messages.connection import *
from nsxdp.openflow.messages.lists import *
from nsxdp.openflow.messages.message import *
from nsxdp.openflow.messages.mods import *
from nsxdp.openflow.messages.news import *
from nsxdp.openflow.messages.nicira import *
from nsxdp.openflow.messages.oxs import *
from nsxdp.openflow.messages.packets import *
from nsxdp.openflow.messages.ports import *
from nsxdp.openflow.messages.tables import *
