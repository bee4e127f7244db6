"""What all tests share: the lab's fixtures, and truth tables as parameters."""

pytest_plugins = ["nsxdp.lab.fixtures", "tests.tables"]
