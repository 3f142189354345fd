"""What the site adds to Markdown: equations as MathML, files of the repository beside the pages, and functions as their
source on pages that say `sources: true`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
OUTSIDE = re.compile(r"(?<=\]\()\.\./([^)#\s]+)")  # of a link from docs/ to a file of the repository

AS_SOURCE = """
    options:
      show_source: true
      show_docstring_description: false
      show_signature: false
      show_root_heading: false
      show_root_toc_entry: false
"""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """A fence named `math`, which GitHub shows as an equation too."""
    fence = {"name": "math", "class": "equation", "format": equation}
    config.mdx_configs.setdefault("pymdownx.superfences", {})["custom_fences"] = [fence]
    return config


def equation(source: str, *_: Any, **__: Any) -> str:
    """MathML, which browsers draw by themselves, of LaTeX lines."""
    lines = [convert(line, display="block") for line in source.strip().splitlines()]
    return f'<div class="equation">{"".join(lines)}</div>'


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Files that pages link to outside docs/ become files of the site."""
    pages = [file for file in files.documentation_pages() if file.abs_src_path]
    linked = {path for page in pages for path in OUTSIDE.findall(page.content_string)}
    for path in sorted(linked):
        if (ROOT / path).is_file():  # else the link stays as it is, and a strict build names it
            files.append(File.generated(config, outside(path), abs_src_path=str(ROOT / path)))
    return files


def outside(path: str) -> str:
    """Where a file of the repository lies on the site; one that would become a page, or hide, is plain text there."""
    return f"files/{path}" if Path(path).suffix in {".json", ".csv", ".png", ".toml"} else f"files/{path}.txt"


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    if page.meta.get("sources"):
        markdown = re.sub(r"^::: \S+$", lambda line: line[0] + AS_SOURCE, markdown, flags=re.MULTILINE)
    return OUTSIDE.sub(lambda link: outside(link[1]) if (ROOT / link[1]).is_file() else link[0], markdown)


def on_page_content(html: str, **_: Any) -> str:
    html = re.sub(r"<code>(?=--[^\s<]+</code>)", '<code class="flag">', html)
    return html.replace('<details class="mkdocstrings-source">', '<details class="mkdocstrings-source" open>')
