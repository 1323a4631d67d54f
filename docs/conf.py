"""The documentation site: `make docs` builds it into build/docs."""

import sys
from importlib import metadata
from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from jobs.framework.registry import NAMES, load

project = "maepress"
author = "the developers of maepress"
release = metadata.version("maepress")
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["Thumbs.db"]
html_theme = "furo"
html_title = "maepress"
html_copy_source = False
html_baseurl = ""
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence", "deflist"]
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_class_signature = "separated"
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # attributes that the class docstring describes are not listed twice
# In docstrings, `name` is code.
default_role = "code"
# Links from pages to files of the repository, which the site does not contain.
suppress_warnings = ["myst.xref_missing"]


class JobHelp(Directive):
    """The output of `maepress JOB --help`, one section per job."""

    def run(self) -> list[nodes.Node]:
        """Make the sections."""
        sections: list[nodes.Node] = []
        for name in NAMES:
            section = nodes.section(ids=[f"maepress-{name}"])
            section += nodes.title(text=f"maepress {name}")
            text = load(name).parser(width=100).format_help()
            section += nodes.literal_block(text, text, language="text")
            sections.append(section)
        return sections


def mark_drawings(app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    """Mark indented paragraphs of docstrings, which are drawings or examples, as literal blocks."""
    for i in range(len(lines) - 1, 0, -1):
        begins = not lines[i - 1].strip() and lines[i].startswith("    ")
        if begins and not next((line for line in reversed(lines[: i - 1]) if line.strip()), "").startswith(" "):
            lines[i:i] = ["::", ""]


def setup(app: Sphinx) -> None:
    """Register the directive, and the filter of docstrings before napoleon's."""
    app.add_directive("job-help", JobHelp)
    app.connect("autodoc-process-docstring", mark_drawings, priority=100)
