"""
Writes methods.pyi: what editors and type checkers know of the methods that are made by rule.

::

    python -m dask_polars.stubs     # write the file anew, after a change of Polars or of the collection

Signatures are taken from the source of the installed Polars, with its overloads. Where Polars takes a lazy frame, a
collection takes a collection, a lazy frame or a frame; where Polars gives one, it gives a collection.
"""

from __future__ import annotations

import ast
import builtins
import copy
import inspect
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from polars.lazyframe import frame as polars_frame
from polars.lazyframe import group_by as polars_group_by

from dask_polars.notes import note_on

TARGET = Path(__file__).with_name("methods.pyi")
_KEPT_DECORATORS = ("overload", "classmethod", "staticmethod", "property", "deprecated")
# Defined for the class itself, or without meaning outside of Polars.
_OURS = {"LazyFrame", "LazyGroupBy"}
_HEAD = '''"""The methods of Polars on collections. Written by `python -m dask_polars.stubs`; do not edit."""
'''
_FIXED = [
    "import polars as pl",
    "from dask_polars.collection import LazyFrame",
    "from dask_polars.group_by import LazyGroupBy",
]


class _Types(ast.NodeTransformer):
    """Replaces the lazy frames of Polars in an annotation."""

    def __init__(self, frame: str) -> None:
        self.frame = frame

    def visit_Name(self, node: ast.Name) -> Any:
        return ast.parse(self.frame, mode="eval").body if node.id == "LazyFrame" else node

    def visit_Attribute(self, node: ast.Attribute) -> Any:
        return self.visit_Name(ast.Name("LazyFrame")) if ast.unparse(node) == "pl.LazyFrame" else node

    def visit_Subscript(self, node: ast.Subscript) -> Any:
        # What a function of the user's is given is a collection, and it may give one.
        inner = _Types("LazyFrame") if isinstance(node.value, ast.Name) and node.value.id == "Callable" else self
        return ast.Subscript(node.value, inner.visit(node.slice))


def _signature(function: ast.FunctionDef, class_name: str) -> ast.FunctionDef:
    """Give a function without its body, as it is on a collection."""
    found = copy.deepcopy(function)
    given = found.args
    for item in (*given.posonlyargs, *given.args, given.vararg, *given.kwonlyargs, given.kwarg):
        if item is not None and item.annotation is not None:
            item.annotation = _Types("LazyFrame | pl.LazyFrame | pl.DataFrame").visit(item.annotation)
    given.defaults = [_default(item) for item in given.defaults]
    given.kw_defaults = [item and _default(item) for item in given.kw_defaults]
    found.decorator_list = [item for item in found.decorator_list if _name_of(item) in _KEPT_DECORATORS]
    found.returns = found.returns and _Types("LazyFrame").visit(found.returns)
    text = ... if _is_overload(function) else _documentation(function, class_name)
    found.body = [ast.Expr(ast.Constant(text))]
    return found


def _default(node: ast.expr) -> ast.expr:
    return node if isinstance(node, ast.Constant) else ast.Constant(...)


def _is_overload(function: ast.FunctionDef) -> bool:
    return any(_name_of(item) == "overload" for item in function.decorator_list)


def _documentation(function: ast.FunctionDef, class_name: str) -> str:
    summary = inspect.cleandoc(ast.get_docstring(function) or "").partition("\n\n")[0]
    return f"{summary}\n\n        {note_on(class_name, function.name)}\n        "


def _name_of(decorator: ast.expr) -> str:
    target = decorator.func if isinstance(decorator, ast.Call) else decorator
    return target.id if isinstance(target, ast.Name) else ""


def own_methods() -> set[str]:
    """Name what the collection defines itself, by the source of its classes."""
    found: set[str] = set()
    for name in ("collection", "dask_collection", "interop"):
        module = ast.parse(Path(__file__).with_name(f"{name}.py").read_text())
        classes = [
            node
            for node in module.body
            if isinstance(node, ast.ClassDef) and node.name in ("LazyFrame", "DaskCollection", "Interop")
        ]
        found |= {item.name for node in classes for item in node.body if isinstance(item, ast.FunctionDef)}
    return found


def _declared(module: ast.Module, name: str, leave_out: set[str]) -> ast.ClassDef:
    """Give a class of Polars with the methods that we do not have ourselves, of overloaded ones their overloads."""
    found = next(node for node in module.body if isinstance(node, ast.ClassDef) and node.name == name)
    functions = [item for item in found.body if isinstance(item, ast.FunctionDef)]
    wanted = [item for item in functions if not item.name.startswith("_") and item.name not in leave_out]
    overloaded = {item.name for item in wanted if _is_overload(item)}
    found = copy.copy(found)
    found.name, found.bases = f"{name}Methods", []
    found.body = [_signature(item, name) for item in wanted if item.name not in overloaded or _is_overload(item)]
    return found


def _names(nodes: Iterable[ast.AST]) -> Iterator[str]:
    for node in nodes:
        for item in ast.walk(node):
            if isinstance(item, ast.Name):
                yield item.id


def _declarations(module: ast.Module) -> dict[str, str]:
    """Say how a module of Polars knows its names: by which import, or by which assignment."""
    found: dict[str, str] = {}
    for node in ast.walk(module):
        if isinstance(node, ast.ImportFrom):
            found |= {item.asname or item.name: f"from {node.module} import {_alias(item)}" for item in node.names}
        elif isinstance(node, ast.Import):
            found |= {item.asname or item.name.split(".")[0]: f"import {_alias(item)}" for item in node.names}
        elif isinstance(node, ast.Assign) and _name_of(node.value) in ("TypeVar", "ParamSpec"):
            found[ast.unparse(node.targets[0])] = ast.unparse(node)
    return found


def _alias(item: ast.alias) -> str:
    return f"{item.name} as {item.asname}" if item.asname else item.name


def _needed(classes: list[ast.ClassDef], known: dict[str, str]) -> tuple[list[str], list[str]]:
    imports = {"from typing import ParamSpec, TypeVar"}
    assigned: set[str] = set()
    for name in sorted(set(_names(classes)) - _OURS - {"pl"} - set(dir(builtins))):
        text = known.get(name)
        if text is None:
            raise LookupError(f"methods.pyi needs {name}, and Polars' module does not say where it is from")
        if text.startswith(("import", "from")):
            imports.add(text)
        else:
            assigned.add(text)
    return sorted(imports), sorted(assigned)


def stub() -> str:
    """
    Write the declarations.

    Returns
    -------
    str
        The text of methods.pyi.
    """
    modules = {"LazyFrame": polars_frame, "LazyGroupBy": polars_group_by}
    sources = {name: ast.parse(inspect.getsource(module)) for name, module in modules.items()}
    ours = {"LazyFrame": own_methods()}
    classes = [_declared(module, name, ours.get(name, set())) for name, module in sources.items()]
    known = {**_declarations(sources["LazyGroupBy"]), **_declarations(sources["LazyFrame"])}
    known["deprecated"] = "from typing_extensions import deprecated"
    imports, assigned = _needed(classes, known)
    body = "\n\n".join(ast.unparse(ast.fix_missing_locations(node)) for node in classes)
    return "\n".join([_HEAD, *imports, *_FIXED, "", *assigned, "", body, ""])


if __name__ == "__main__":
    TARGET.write_text(stub())
