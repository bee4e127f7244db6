"""A configuration file, which has the form of a Kubernetes object."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nsxdp_agents.common.options import OptionsError

__all__ = ["read_document"]


def read_document(path: Path, kind: str, api_version: str) -> dict[Any, Any]:
    """What the file of --config says, without its kind and version.

    Raises
    ------
    OptionsError
        It can't be read, or is of another kind or version.
    """
    import yaml  # takes a while to be imported, and help should not

    class Loader(yaml.SafeLoader):
        """Of what is said twice, YAML's loader would keep the last in silence."""

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            lines: dict[str, int] = {}
            for key, _ in node.value:
                if isinstance(key, yaml.ScalarNode):
                    line = key.start_mark.line + 1
                    if key.value in lines:
                        raise yaml.YAMLError(
                            f"{key.value} is there twice: in lines {lines[key.value]} and {line}"
                        )
                    lines[key.value] = line
            return super().construct_mapping(node, deep)

    try:
        content = yaml.load(path.read_text(), Loader)
    except OSError as error:
        raise OptionsError(f"--config {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise OptionsError(f"--config {path}: {' '.join(str(error).split())}") from None
    except (RecursionError, ValueError) as error:
        raise OptionsError(f"--config {path}: {str(error) or 'nested too deeply'}") from None
    if not isinstance(content, dict):
        raise OptionsError(f"--config {path}: is no mapping: must be a {kind}")
    found = content.pop("kind", None), content.pop("apiVersion", None)
    if found != (kind, api_version):
        raise OptionsError(
            f"--config {path}: is {found[0] or 'of no kind'} of {found[1] or 'no apiVersion'}, "
            f"must be {kind} of {api_version}"
        )
    return content
