"""The plan tree: what a serialized Polars plan decodes to."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgpack


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
        out = replace(self, inputs=tuple(inputs))
        if "_own" in vars(self):
            vars(out)["_own"] = vars(self)["_own"]
        return out

    def with_fields(self, **fields: Any) -> Node:
        """Give the same node with some of its fields replaced."""
        return replace(self, fields={**self.fields, **fields})

    @property
    def digest(self) -> str:
        """A hash of the content of the whole tree below: equal plans have equal digests."""
        known = vars(self).get("_digest")
        if known is not None:
            return str(known)
        stack = [self]
        while stack:  # not by recursion: plans may be thousands of nodes deep
            node = stack[-1]
            below = [child for child in node.inputs if "_digest" not in vars(child)]
            if below:
                stack.extend(below)
            else:
                vars(stack.pop()).setdefault("_digest", node._hash())
        return vars(self)["_digest"]

    def _hash(self) -> str:
        """Hash the node, whose inputs have digests; what it says itself is hashed once for all inputs that it is put over."""
        own = vars(self).get("_own")
        if own is None:
            own = hashlib.sha1(self.kind.encode(), usedforsecurity=False)
            own.update(msgpack.packb(self.fields, default=_pack_leaf))
            vars(self)["_own"] = own
        state = own.copy()
        for node in self.inputs:
            state.update(vars(node)["_digest"].encode())
        return str(state.hexdigest())


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
