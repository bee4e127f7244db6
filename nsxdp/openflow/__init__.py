"""OpenFlow 1.5 with Open vSwitch's extensions: text, bytes, and a connection to a bridge."""
