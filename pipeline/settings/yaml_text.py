"""YAML that people write: a key that stands twice is an error, as the first would be dropped."""

from __future__ import annotations

from typing import Any

import yaml

from pipeline.errors import UsageError

_MERGE = "tag:yaml.org,2002:merge"


def read_yaml(text: str, name: str) -> Any:  # noqa: ANN401 - any content
    """The content of one YAML document, None where it is empty.

    Raises:
        UsageError: it is not YAML, or a key stands twice in one of its mappings; the sentence
            begins with ``name``.
    """
    try:
        loader = yaml.SafeLoader(text)
        try:
            root = loader.get_single_node()
            if root is None:
                return None
            _refuse_twice(root, (), name, set())
            return loader.construct_document(root)
        finally:
            loader.dispose()
    # A date that is none is a ValueError of the standard library; nesting without end a recursion.
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UsageError(f"{name}: not a YAML file: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """What is wrong and where, without the lines themselves: a password may stand there."""
    if not isinstance(error, yaml.MarkedYAMLError):
        return " ".join(str(error).split()) or type(error).__name__
    mark = error.problem_mark or error.context_mark
    where = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    what = ", ".join(text for text in (error.context, error.problem) if text)
    return f"{what}{where}"


def _refuse_twice(node: yaml.Node, path: tuple[str, ...], name: str, walked: set[int]) -> None:
    """Walk the mappings below a node; an alias leads to a node that was walked before."""
    if id(node) in walked:
        return
    walked.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for index, entry in enumerate(node.value):
            _refuse_twice(entry, (*path, str(index)), name, walked)
    if not isinstance(node, yaml.MappingNode):
        return
    lines: dict[tuple[str, str], int] = {}
    for key, value in node.value:
        inner = path
        # A merge key takes in another mapping, which what stands here is meant to override.
        if isinstance(key, yaml.ScalarNode) and key.tag != _MERGE:
            inner = (*path, str(key.value))
            line, word = key.start_mark.line + 1, (key.tag, str(key.value))
            if word in lines:
                first = lines[word]
                where = f"line {line}" if line == first else f"lines {first} and {line}"
                raise UsageError(
                    f"{name}: key {'.'.join(inner)!r} stands twice, in {where}: keep one of them"
                )
            lines[word] = line
        _refuse_twice(value, inner, name, walked)
