"""The plan tree: what a serialized Polars plan decodes to."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, wraps
from typing import Any, TypeVar

import msgpack

Answer = TypeVar("Answer")


@dataclass(frozen=True, eq=False)
class Node:
    """
    One node of a Polars plan.

    Parameters
    ----------
    kind
        The name that Polars gives the node: ``"Filter"``, ``"GroupBy"``, ``"Join"``, …
    fields
        Everything the node says, but its inputs. Never changed in place.
    inputs
        The nodes below. A node that is used twice is one object.
    """

    kind: str
    fields: Mapping[str, Any]
    inputs: tuple[Node, ...] = field(default=())

    @property
    def input(self) -> Node:
        """The only input."""
        (node,) = self.inputs
        return node

    def with_inputs(self, inputs: Sequence[Node]) -> Node:
        """Give the same node over other inputs."""
        out = Node(self.kind, self.fields, tuple(inputs))
        vars(out)["facts"] = self.facts
        return out

    def with_fields(self, **fields: Any) -> Node:
        """Give the same node with some of its fields replaced."""
        return Node(self.kind, {**self.fields, **fields}, self.inputs)

    @cached_property
    def facts(self) -> dict[Callable[[Node], Any], Any]:
        """What was found out of the node itself: it holds for all inputs that it is put over (:func:`of_node_itself`)."""
        return {}

    @cached_property
    def digest(self) -> str:
        """A hash of the content of the whole tree below: equal plans have equal digests."""
        stack = list(self.inputs)
        while stack:  # not by recursion: plans may be thousands of nodes deep
            node = stack[-1]
            below = [child for child in node.inputs if "digest" not in vars(child)]
            if below:
                stack.extend(below)
                continue
            stack.pop()
            if "digest" not in vars(node):
                vars(node)["digest"] = node._hash()
        return self._hash()

    def _hash(self) -> str:
        """Hash the node, whose inputs have digests."""
        state = _own_hash(self).copy()
        for node in self.inputs:
            state.update(node.digest.encode())
        return str(state.hexdigest())


def of_node_itself(function: Callable[[Node], Answer]) -> Callable[[Node], Answer]:
    """Ask a function about what a node says itself, and not about its inputs, once for all inputs that the node is put over."""

    @wraps(function)
    def asked_once(node: Node) -> Answer:
        facts = node.facts
        if function not in facts:
            facts[function] = function(node)
        return facts[function]

    return asked_once


@of_node_itself
def _own_hash(node: Node) -> Any:
    own = hashlib.sha1(node.kind.encode(), usedforsecurity=False)
    own.update(msgpack.packb(node.fields, default=_pack_leaf))
    return own


class ByContent:
    """A plan as a key of a cache: equal plans are equal keys."""

    __slots__ = ("node",)

    def __init__(self, node: Node) -> None:
        self.node = node

    def __hash__(self) -> int:
        return hash(self.node.digest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ByContent) and other.node.digest == self.node.digest


def _pack_leaf(value: Any) -> str:
    """Leaves of ours (sources) and options with credentials are Python objects, which know their own token."""
    return value.token


def walk(root: Node) -> Iterator[Node]:
    """Visit every node once, inputs before the nodes that read them."""
    seen: set[int] = set()
    stack: list[tuple[Node, bool]] = [(root, False)]
    while stack:
        node, ready = stack.pop()
        if ready:
            yield node
        elif id(node) not in seen:
            seen.add(id(node))
            stack.append((node, True))
            stack.extend((child, False) for child in reversed(node.inputs))


def transform(root: Node, rewrite: Callable[[Node], Node]) -> Node:
    """Rebuild a tree from its leaves up; what is shared stays shared."""
    done: dict[int, Node] = {}
    for node in walk(root):
        inputs = tuple(done[id(child)] for child in node.inputs)
        same = all(new is old for new, old in zip(inputs, node.inputs, strict=True))
        done[id(node)] = rewrite(node if same else node.with_inputs(inputs))
    return done[id(root)]
