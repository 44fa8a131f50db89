"""MkDocs hook: adds the pages whose source lies outside docs/, and makes links between them work.

Links in Markdown files of this repository are relative to the file, so that they work in an editor
and on a code host. On the site, a link to a file that is a page becomes a link to that page; a link
to another file of the repository becomes its path as text. A link to nothing fails the build.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "wsss_lightning"
FENCE = re.compile(r"(^```.*?^```[ ]*$|`[^`\n]+`)", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")
INCLUDE = re.compile(r"<!-- include (\S+) -->\n.*?<!-- end of include -->", re.DOTALL)
FIRST_HEADING = re.compile(r"\A# .*\n")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Append the generated parts of the navigation."""
    config.nav += [
        {"Studies": [page_uri(path) for path in study_readmes()]},
        {"API reference": ["api/index.md", *(f"api/{name}.md" for name in api_parts())]},
        {"Contributing": "contributing.md"},
    ]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add studies, CONTRIBUTING.md, their pictures and the API reference."""
    for path in [*study_readmes(), ROOT / "CONTRIBUTING.md"]:
        files.append(File.generated(config, page_uri(path), content=path.read_text("utf-8")))
    for path in sorted((ROOT / "experiments").rglob("*.png")):
        uri = path.relative_to(ROOT).as_posix()
        files.append(File.generated(config, uri, abs_src_path=str(path)))
    parts = api_parts()
    files.append(File.generated(config, "api/index.md", content=api_index(parts)))
    for name, modules in parts.items():
        files.append(File.generated(config, f"api/{name}.md", content=api_page(name, modules)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Insert included files, and turn repository links into links of the site."""
    source = repository_path(page.file.src_uri)

    def included(match: re.Match[str]) -> str:
        text = (ROOT / match[1]).read_text("utf-8")
        return site_links(FIRST_HEADING.sub("", text), match[1], page.file.src_uri)

    kept: list[str] = []

    def keep(match: re.Match[str]) -> str:
        kept.append(included(match))
        return f"\0{len(kept) - 1}\0"

    markdown = site_links(INCLUDE.sub(keep, markdown), source, page.file.src_uri)
    return re.sub("\0(\\d+)\0", lambda match: kept[int(match[1])], markdown)


def site_links(markdown: str, source: str, uri: str) -> str:
    """Convert the links of the repository file `source` for the page `uri` of the site."""

    def link(match: re.Match[str]) -> str:
        picture, text, target = match.groups()
        if re.match(r"[a-z]+:|#", target):
            return match[0]
        path, _, anchor = target.partition("#")
        repository = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        if not (ROOT / repository).exists():
            raise PluginError(f"{source} links to {target}, which does not exist")
        wanted = page_uri(ROOT / repository)
        if wanted is None:
            return text if text.strip("`") in repository else f"{text} (`{repository}`)"
        relative = posixpath.relpath(wanted, posixpath.dirname(uri) or ".")
        return f"{picture}[{text}]({relative}{'#' + anchor if anchor else ''})"

    parts = FENCE.split(markdown)
    return "".join(part if i % 2 else LINK.sub(link, part) for i, part in enumerate(parts))


def page_uri(path: Path) -> str | None:
    """Page of a repository file on the site; None if the site does not have it."""
    if path == PACKAGE:
        return "api/index.md"
    if path.is_dir():
        path = path / "README.md"
    uri = path.relative_to(ROOT).as_posix()
    if path == ROOT / "CONTRIBUTING.md":
        return "contributing.md"
    if path == ROOT / "README.md":
        return "index.md"
    if path in study_readmes():
        return uri.replace("README.md", "index.md")
    if uri.startswith("experiments/") and uri.endswith(".png"):
        return uri
    if uri.startswith("docs/") and path.suffix in {".md", ".png"}:
        return uri.removeprefix("docs/")
    return None


def repository_path(uri: str) -> str:
    """Path of the repository file that a page is made from."""
    if uri == "contributing.md":
        return "CONTRIBUTING.md"
    if uri.startswith("experiments/"):
        return uri.replace("index.md", "README.md")
    return f"docs/{uri}"


def study_readmes() -> list[Path]:
    return sorted((ROOT / "experiments").rglob("README.md"))


def api_parts() -> dict[str, list[str]]:
    """Modules by package of the first level, from the highest floor to the lowest.

    A module without a definition of its own (a redirect from an old name) is left out.
    """
    parts: dict[str, list[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        where = path.relative_to(PACKAGE).with_suffix("").parts
        if re.search(r"^(def|class|[A-Z_]+\b.* =) ?", path.read_text("utf-8"), re.MULTILINE):
            inside = [part for part in where if part != "__init__"]
            dotted = ".".join(["wsss_lightning", *inside])
            if inside and inside[-1] != "__main__":
                parts.setdefault(inside[0], []).append(dotted)
    floors = re.search(r"^layers = \[(.*?)^\]", (ROOT / "pyproject.toml").read_text(), re.M | re.S)
    order = re.findall(r"wsss_lightning\.(\w+)", floors[1]) if floors else []
    known = {name: i for i, name in enumerate(order)}
    return dict(sorted(parts.items(), key=lambda item: known.get(item[0], -1)))


def first_line(dotted: str) -> str:
    """First line of a module's docstring."""
    base = ROOT / dotted.replace(".", "/")
    path = base / "__init__.py" if base.is_dir() else base.with_suffix(".py")
    match = re.match(r'"""(.*?)(?:\n|""")', path.read_text("utf-8"))
    return match[1] if match else ""


def api_index(parts: dict[str, list[str]]) -> str:
    rows = [
        f"| [`{name}`]({name}.md) | {first_line(f'wsss_lightning.{name}')} | {len(modules)} |"
        for name, modules in parts.items()
    ]
    return "\n".join(
        [
            "# API reference\n",
            "One page for each package, from the highest floor to the lowest. A module imports "
            "only from its own floor and from those below; `make floors` checks this.\n",
            "| package | what it holds | modules |",
            "| --- | --- | ---: |",
            *rows,
            "",
        ]
    )


def api_page(name: str, modules: list[str]) -> str:
    lines = [f"# {name}\n"]
    for module in modules:
        lines += [f"## {module.removeprefix('wsss_lightning.')}\n", f"::: {module}"]
        lines += ["    options:", "      show_root_heading: false", "      heading_level: 3", ""]
    return "\n".join(lines)
