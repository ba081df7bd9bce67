"""mkdocs hook: adds pages and files from outside docs/, so that all links of the repository also work on the site."""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
PAGES = {"CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md", "SECURITY.md": "security.md"}
"""Files of the repository that become pages of the site, and their names there."""
LINK = re.compile(r"\]\((?![a-z]+:|#)([^)#\s]+)(#[^)\s]*)?\)")


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the pages from the root of the repository."""
    for source, page in PAGES.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point each link to a page, or to a file of the repository, which is published as text."""
    own = page.file.src_uri
    source = next((name for name, there in PAGES.items() if there == own), f"docs/{own}")

    def rewrite(found: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), found[1]))
        there = _published(target, config, files)
        return f"]({posixpath.relpath(there, posixpath.dirname(own) or '.')}{found[2] or ''})" if there else found[0]

    return LINK.sub(rewrite, markdown)


def _published(target: str, config: MkDocsConfig, files: Files) -> str | None:
    """The path of a repository file on the site; None if there is no such file."""
    if target in PAGES:
        return PAGES[target]
    if target.startswith("docs/"):
        return target.removeprefix("docs/")
    if not (ROOT / target).is_file():
        return None
    uri = f"files/{target}.txt"
    if files.get_file_from_path(uri) is None:
        files.append(File.generated(config, uri, abs_src_path=str(ROOT / target)))
    return uri
