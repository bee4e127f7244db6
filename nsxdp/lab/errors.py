"""What goes wrong in a lab, said so that the reader knows what to do."""


class LabError(Exception):
    """Something in the lab could not be started, reached or run."""


class MissingTool(LabError):  # noqa: N818  (it is what is missing, and reads so in a traceback)
    """The machine lacks a program, a device or a right that the lab needs."""
