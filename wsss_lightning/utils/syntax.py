"""Syntax trees: names that code refers to, and a normal form of code without comments."""

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

# functions that import modules by name without using them
PRELOADS = frozenset({"set_forkserver_preload"})
DOTTED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


class Target(NamedTuple):
    """What an import binds: a module, or a name in it."""

    module: str
    name: str | None


@dataclass
class References:
    """References of code to names outside of it.

    Attributes:
        chains: names of its module with their attributes, `a.b.c` in parts.
        imports: its own imports.
        modules: modules imported only for their effect on import.
        strings: strings that may name modules or definitions.
    """

    chains: set[tuple[str, ...]] = field(default_factory=set)
    imports: set[Target] = field(default_factory=set)
    modules: set[str] = field(default_factory=set)
    strings: set[str] = field(default_factory=set)

    def any_global(self) -> bool:
        """Whether the code may refer to any name of its module."""
        first = {chain[0] for chain in self.chains}
        modules = any(chain[:2] == ("sys", "modules") for chain in self.chains)
        return modules or not first.isdisjoint({"globals", "eval", "exec"})

    def own_folder(self) -> bool:
        """Whether the code may read files beside its module."""
        return any(chain[0] == "__file__" for chain in self.chains)


def references(code: Iterable[ast.AST], module: str, is_package: bool) -> References:
    """References of a module's statements, without the local names of functions.

    Args:
        code: statements of the module.
        module: name of the module.
        is_package: whether the module is a package.
    """
    collector = _Collector(module, is_package)
    for node in code:
        collector.visit(node)
    return collector.found


class _Collector(ast.NodeVisitor):
    def __init__(self, module: str, is_package: bool) -> None:
        self.module, self.is_package = module, is_package
        self.found = References()
        self.scopes: list[set[str]] = []

    def visit(self, node: ast.AST) -> None:
        if isinstance(node, (ast.Name, ast.Attribute)):
            self._name(node)
        elif isinstance(node, ast.Constant):
            if isinstance(node.value, str) and DOTTED.fullmatch(node.value):
                self.found.strings.add(node.value)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            imported = import_targets(node, self.module, self.is_package)
            self.found.imports.update(target for _, _, target in imported)
        elif isinstance(node, (*FUNCTIONS, ast.Lambda)):
            self._function(node)
        elif isinstance(node, COMPREHENSIONS):
            self._comprehension(node)
        elif isinstance(node, ast.Call) and _last_name(node.func) in PRELOADS:
            self.visit(node.func)
        else:
            self.generic_visit(node)

    def _name(self, node: ast.expr) -> None:
        chain: list[str] = []
        while isinstance(node, ast.Attribute):
            chain.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name):
            self.visit(node)
        elif not any(node.id in scope for scope in self.scopes):
            self.found.chains.add((node.id, *reversed(chain)))

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> None:
        arguments = [inner for inner in ast.walk(node.args) if isinstance(inner, ast.arg)]
        body = [node.body] if isinstance(node, ast.Lambda) else node.body
        self.visit(node.args)  # defaults and annotations are evaluated outside
        for name, value in ast.iter_fields(node):
            if name not in ("args", "body"):
                for outer in value if isinstance(value, list) else [value]:
                    if isinstance(outer, ast.AST):
                        self.visit(outer)
        shared = {
            n for inner in ast.walk(node) if isinstance(inner, ast.Global) for n in inner.names
        }
        self.scopes.append(({argument.arg for argument in arguments} | _bound_in(body)) - shared)
        for inner in body:
            self.visit(inner)
        self.scopes.pop()

    def _comprehension(self, node: Any) -> None:
        first = node.generators[0].iter
        self.visit(first)  # evaluated outside
        stored = [n for g in node.generators for n in ast.walk(g.target)]
        self.scopes.append({n.id for n in stored if isinstance(n, ast.Name)})
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.comprehension):
                for inner in (child.target, child.iter, *child.ifs):
                    if inner is not first:
                        self.visit(inner)
            else:
                self.visit(child)
        self.scopes.pop()


def import_targets(
    node: ast.Import | ast.ImportFrom, module: str, is_package: bool
) -> Iterator[tuple[str, Target, Target]]:
    """For each name that an import binds: the name, what it refers to, and what is imported.

    The last two differ for `import a.b`, which binds `a`.

    Args:
        node: the import.
        module: name of the module that imports.
        is_package: whether the module is a package.
    """
    if isinstance(node, ast.Import):
        for alias in node.names:
            whole, top = Target(alias.name, None), Target(alias.name.partition(".")[0], None)
            yield (alias.asname, whole, whole) if alias.asname else (top.module, top, whole)
        return
    source = node.module or ""
    if node.level:
        above = module.split(".")
        above = above[: len(above) - node.level + is_package]
        source = ".".join([*above, *([source] if source else [])])
    for alias in node.names:
        target = Target(source, None if alias.name == "*" else alias.name)
        yield alias.asname or alias.name, target, target


def assigned_names(target: ast.expr) -> list[str] | None:
    """Names that an assignment binds; None if it changes an object."""
    if isinstance(target, ast.Name):
        return [target.id]
    if isinstance(target, ast.Starred):
        return assigned_names(target.value)
    if isinstance(target, (ast.Tuple, ast.List)):
        bound: list[str] = []
        for element in target.elts:
            names = assigned_names(element)
            if names is None:
                return None
            bound += names
        return bound
    return None


def calls_something(node: ast.AST) -> bool:
    return any(isinstance(inner, ast.Call) for inner in ast.walk(node))


def is_text(node: Any) -> bool:
    """A docstring, or any other string that stands alone."""
    value = node.value if isinstance(node, ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str)


def is_type_checking(statement: ast.stmt) -> bool:
    """`if TYPE_CHECKING:`, whose body is never run."""
    return isinstance(statement, ast.If) and _last_name(statement.test) == "TYPE_CHECKING"


def is_main(statement: ast.stmt) -> bool:
    """`if __name__ == "__main__":`, whose body is not run on import."""
    condition = statement.test if isinstance(statement, ast.If) else None
    return isinstance(condition, ast.Compare) and _last_name(condition.left) == "__name__"


def normal_form(code: Iterable[ast.AST]) -> str:
    """Code as text without comments, docstrings, layout and version-dependent details."""
    tokens: list[str] = []
    _write(list(code), tokens)
    return " ".join(tokens)


def _write(node: Any, tokens: list[str]) -> None:
    if isinstance(node, ast.AST):
        tokens.append(type(node).__name__)
        tokens.append("(")
        for name in node._fields:
            value = getattr(node, name, None)
            if value is None or value == [] or name in ("ctx", "kind", "type_comment"):
                continue
            tokens.append(name)
            _write(value, tokens)
        tokens.append(")")
    elif isinstance(node, list):
        tokens.append("[")
        for item in node:
            if not is_text(item):
                _write(item, tokens)
        tokens.append("]")
    else:
        tokens.append(repr(node))


def _last_name(node: ast.AST) -> str | None:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else None


def _bound_in(body: Iterable[ast.AST]) -> set[str]:
    """Names that the body of a function binds; not those of the scopes within it."""
    bound: set[str] = set()
    pending = list(body)
    while pending:
        node = pending.pop()
        if isinstance(node, (*FUNCTIONS, ast.ClassDef)):
            bound.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            bound.update((a.asname or a.name).partition(".")[0] for a in node.names)
        elif isinstance(node, ast.Name):
            if not isinstance(node.ctx, ast.Load):
                bound.add(node.id)
        elif not isinstance(node, (ast.Lambda, *COMPREHENSIONS)):
            if isinstance(node, ast.ExceptHandler) and node.name:
                bound.add(node.name)
            pending += ast.iter_child_nodes(node)
    return bound
