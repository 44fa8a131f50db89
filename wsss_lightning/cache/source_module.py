"""The definitions of one module, from its source."""

import ast
import hashlib
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import final

from wsss_lightning.utils.syntax import (
    FUNCTIONS,
    Definition,
    References,
    Target,
    assigned_names,
    calls_something,
    import_targets,
    is_main,
    is_text,
    is_type_checking,
    normal_form,
    references,
)

# names of the parts of a module that are not definitions
ON_IMPORT = "<import>"  # statements that may act when the module is imported
MAIN = "<main>"  # code that runs if the module is the program
FILE = "<file>"  # a compiled module; followed by a name: another file beside the module

# decorators that only wrap; any other decorator may register what it decorates
WRAPPERS = frozenset(
    {"abc", "beartype", "contextlib", "dataclasses", "enum", "functools", "jaxtyping", "typing"}
    | {"typing_extensions", "wsss_lightning.cache.step"}
)
BUILTIN_WRAPPERS = frozenset({"classmethod", "property", "staticmethod"})


@final
class SourceModule:
    """Splits a module into parts that are compared one by one.

    Attributes:
        bindings: by name in the module: the part that defines it, or the target of an import.
        parts: all parts of the module.
    """

    def __init__(self, name: str, path: Path, content: bytes) -> None:
        self.name, self.path, self.content = name, path, content
        self.is_package = path.name == "__init__.py" or path.is_dir()
        self.bindings: dict[str, str | Target] = {}
        self._code: dict[str, list[ast.stmt]] = {}
        self._import_texts: dict[str, str] = {}
        self._star_imports: set[Target] = set()
        self._unused_imports: set[str] = set()
        self._digests: dict[str, str] = {}
        self._references: dict[str, References] = {}
        if path.suffix == ".py":
            body = ast.parse(content).body
            for statement in body:
                self._add(statement)
            self._add_unused_imports(body)

    @property
    def parts(self) -> list[str]:
        """All parts; a compiled module is one."""
        if not self.path.is_dir() and self.path.suffix != ".py":
            return [FILE]
        return [*self.bindings, MAIN, ON_IMPORT]

    def code(self, part: str) -> list[ast.stmt]:
        """Statements of a part."""
        return self._code.get(part, [])

    def digest(self, part: str) -> str:
        """Digest of the code of a part."""
        if part.startswith(FILE):
            beside = self.path.parent / part.removeprefix(FILE)
            content = self.content if part == FILE else _read(self.name, beside)
            return hashlib.sha256(content).hexdigest()
        if part not in self._digests:
            text = self._import_texts.get(part, "") + normal_form(self.code(part))
            self._digests[part] = hashlib.sha256(text.encode()).hexdigest()
        return self._digests[part]

    def references(self, part: str) -> References:
        """References of a part."""
        if part not in self._references:
            found = references(self.code(part), self.name, self.is_package)
            if part == ON_IMPORT:
                found.imports |= self._star_imports
                found.modules |= self._unused_imports
            self._references[part] = found
        return self._references[part]

    @property
    def files(self) -> list[str]:
        """Names of the files beside the module that are no modules."""
        return sorted(
            path.name
            for path in self.path.parent.iterdir()
            if path.is_file() and path.suffix not in (".py", ".pyc") and path.name[0] != "."
        )

    def _add(self, statement: ast.stmt) -> None:
        if isinstance(statement, (ast.Import, ast.ImportFrom)):
            self._add_import(statement)
        elif isinstance(statement, (*FUNCTIONS, ast.ClassDef)):
            self._bind(statement.name, statement)
            if not self._only_defines(statement):
                self._act(statement)
        elif isinstance(statement, (ast.Assign, ast.AnnAssign)):
            self._add_assignment(statement)
        elif isinstance(statement, ast.If) and is_type_checking(statement):
            for inner in statement.orelse:
                self._add(inner)
        elif is_main(statement):
            self._code.setdefault(MAIN, []).append(statement)
        elif not is_text(statement) and not isinstance(statement, ast.Pass):
            self._act(statement)
            for node in ast.walk(statement):
                self._bind_within(node)

    def _add_import(self, node: ast.Import | ast.ImportFrom) -> None:
        for name, target, imported in import_targets(node, self.name, self.is_package):
            if name == "*":
                self._star_imports.add(imported)
            else:
                self.bindings[name] = target
                before = self._import_texts.get(name, "")
                self._import_texts[name] = f"{before}{imported.module}:{imported.name} "

    def _add_assignment(self, node: ast.Assign | ast.AnnAssign) -> None:
        changes = node.value is not None and calls_something(node.value)
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            names = assigned_names(target)
            changes |= names is None
            for name in names or ():
                self._bind(name, node)
        if changes:
            self._act(node)

    def _add_unused_imports(self, body: list[ast.stmt]) -> None:
        """Record imports whose name is unused: they serve their effect on import.

        The name `a` does not tell whether `import a.b` is used.
        """
        used = {n.id for s in body for n in ast.walk(s) if isinstance(n, ast.Name)}
        for statement in body:
            # from-imports in a package are re-exports
            if isinstance(statement, ast.Import) or (
                isinstance(statement, ast.ImportFrom) and not self.is_package
            ):
                targets = import_targets(statement, self.name, self.is_package)
                for name, target, imported in targets:
                    if name not in used or target != imported:
                        self._unused_imports.add(".".join(filter(None, imported)))

    def _bind(self, name: str, statement: ast.stmt) -> None:
        self.bindings[name] = name
        self._code.setdefault(name, []).append(statement)

    def _bind_within(self, node: ast.AST) -> None:
        """Bind names that are assigned within `if`, `try` and the like to the whole statement."""
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            self._add_import(node)
        elif isinstance(node, (*FUNCTIONS, ast.ClassDef)):
            self.bindings.setdefault(node.name, ON_IMPORT)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            self.bindings.setdefault(node.id, ON_IMPORT)

    def _act(self, statement: ast.stmt) -> None:
        self._code.setdefault(ON_IMPORT, []).append(statement)

    def _only_defines(self, node: Definition) -> bool:
        """Whether no decorator or metaclass can register the definition elsewhere."""
        if isinstance(node, ast.ClassDef):
            for keyword in node.keywords:
                if keyword.arg != "total" and not ast.unparse(keyword.value).endswith("ABCMeta"):
                    return False
        return all(self._only_wraps(decorator) for decorator in node.decorator_list)

    def _only_wraps(self, decorator: ast.expr) -> bool:
        while isinstance(decorator, (ast.Call, ast.Attribute)):
            decorator = decorator.func if isinstance(decorator, ast.Call) else decorator.value
        if not isinstance(decorator, ast.Name):
            return False
        bound = self.bindings.get(decorator.id)
        if bound is None:
            return decorator.id in BUILTIN_WRAPPERS
        if not isinstance(bound, Target):
            return False
        return not WRAPPERS.isdisjoint((bound.module, bound.module.partition(".")[0]))


def load_module(name: str, path: Path) -> SourceModule:
    """A module, parsed again only if its file changed."""
    content = _read(name, path) if path.is_file() else b""
    known = _parsed.get((name, path))
    if known is None or known.content != content:
        _parsed[name, path] = known = SourceModule(name, path, content)
    return known


_parsed: dict[tuple[str, Path], SourceModule] = {}
_first_read: dict[Path, tuple[ModuleSpec, bytes]] = {}


def _read(module: str, path: Path) -> bytes:
    """Source of a module; of an imported module, the source when it was first read.

    The process runs the code that it imported, even if files are edited later.
    """
    spec: ModuleSpec | None = getattr(sys.modules.get(module), "__spec__", None)
    if spec is None or spec.origin is None or Path(spec.origin).parent != path.parent:
        return path.read_bytes()
    if path not in _first_read or _first_read[path][0] is not spec:  # a reload makes a new one
        _first_read[path] = spec, path.read_bytes()
    return _first_read[path][1]
