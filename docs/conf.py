"""Settings of the documentation: Markdown pages, and a reference made from docstrings, one page for each module."""

import ast
import contextlib
import io
import re
import runpy
import tempfile
from importlib.metadata import version as version_of
from pathlib import Path

from spikebridge.cli.main import main as spikebridge

project = "spikebridge"
author = "The spikebridge authors"
release = version_of("spikebridge")
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",  # links from every name to its source
]
myst_enable_extensions = ["dollarmath", "substitution"]
myst_substitutions = {"version": release}
myst_heading_anchors = 3
html_theme = "furo"
html_title = f"spikebridge {release}"
# the licence is in the repository; a line without a year and a holder would be empty
html_show_copyright = False
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
# fields of records stand once, not also as "Attributes" of their docstring
napoleon_use_ivar = True
# docstrings are Markdown: names stand in single backticks, which plain reStructuredText would set in italics
default_role = "code"
suppress_warnings = ["ref.python", "docutils"]

SOURCES = Path(__file__).parent.parent / "src" / "spikebridge"
MODULES = Path(__file__).parent / "reference" / "modules"
GALLERY = Path(__file__).parent / "gallery"
NOT_LIBRARY = {"cli", "__main__"}
# pages of the gallery by name, and what is trained for them
WEB_PAGES = {
    "digits": "digits --preset quick",
    "modulation": "modulation --preset quick --methods hmn",
    "motion": "signals --preset quick --networks learned ann --folds 0",
    "beats": "signals --dataset generated --task detect --networks learned --training.detector-steps 60",
}


def setup(app):
    """Writes the pages of modules and of the gallery before the build."""
    write_module_pages()
    for folder in (GALLERY, GALLERY / "literature"):
        write_gallery(folder)

    app.connect("source-read", links_to_notes_as_text)
    # docstrings fence their drawings with ```
    app.connect("autodoc-process-docstring", fences_to_literal_blocks)
    app.connect("build-finished", write_web_pages)


def links_to_notes_as_text(app, document, source):
    """Names the file of a checkout where a page links to notes, which are no pages of the documentation."""
    source[0] = re.sub(r"\[([^\]]+)\]\((?:\.\./)+(research/[^)#]+\.md)(?:#[^)]*)?\)", r"\1 (`\2`)", source[0])


def write_web_pages(app, exception):
    """Trains the networks of the pages in the gallery and writes their pages; those that are there are kept."""
    folder = Path(app.outdir) / "pages"
    if exception is not None or app.builder.format != "html":
        return

    folder.mkdir(exist_ok=True)
    for name, words in WEB_PAGES.items():
        page = folder / f"{name}.html"
        if page.exists():
            continue

        with tempfile.TemporaryDirectory() as temporary, contextlib.redirect_stdout(io.StringIO()):
            run = str(Path(temporary) / name)
            codes = [
                spikebridge(["train", *words.split(), "--out", run, "--quiet"]),
                spikebridge(["export", run, "--target", "web", "--out", str(page)]),
            ]
        if any(codes):
            raise RuntimeError(f"the page {page.name} could not be built")


def write_gallery(folder):
    """Writes a page for each script of a folder, with its picture, code and output, and a table of all."""
    # the index lists them in the order in which a reader meets them
    lines = (folder / "index.md").read_text(encoding="utf-8").splitlines()
    order = [line for line in lines if (folder / f"{line}.py").exists()]
    cards = []

    for name in order:
        page, picture, title = gallery_page(folder / f"{name}.py")
        (folder / f"{name}.md").write_text(page, encoding="utf-8")
        (folder / f"{name}.svg").write_text(picture, encoding="utf-8")
        cards.append(f"[![{title}]({name}.svg)]({name}.md) [{title}]({name}.md)")

    # two in a row can be seen on a phone
    rows = [cards[start : start + 2] for start in range(0, len(cards), 2)]
    table = ["| | |", "|---|---|", *(f"| {' | '.join(row)} |" for row in rows)]
    (folder / "cards.txt").write_text("\n".join(table) + "\n", encoding="utf-8")


def gallery_page(script):
    """The page, the picture and the title of a script, which is run."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        names = runpy.run_path(str(script))

    title, _, text = names["__doc__"].strip().partition("\n")
    code = script.read_text(encoding="utf-8").split('"""', 2)[2].strip()
    page = f"# {title}\n\n{text.strip()}\n\n![{title}]({script.stem}.svg)\n\n```python\n{code}\n```\n"
    if printed.getvalue():
        page += f"\nIt prints:\n\n```text\n{printed.getvalue().rstrip()}\n```\n"

    return page, names["picture"], title


def module_names():
    """Dotted names of all modules of the library, packages first; those with an underscore are not public."""
    names = []
    for path in sorted(SOURCES.rglob("*.py")):
        parts = path.relative_to(SOURCES).with_suffix("").parts
        if parts[0] not in NOT_LIBRARY and not any(part.startswith("_") and part != "__init__" for part in parts):
            names.append(".".join(("spikebridge", *(part for part in parts if part != "__init__"))))

    return names


def write_module_pages():
    """Writes one page for each module, below the page of its package, and removes pages of modules that are gone."""
    names = module_names()
    MODULES.mkdir(exist_ok=True)
    pages = {name: module_page(name, names) for name in names}

    for old in MODULES.glob("*.rst"):
        if old.stem not in pages:
            old.unlink()

    for name, text in pages.items():
        file = MODULES / f"{name}.rst"
        # a file that is written again is built again
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            file.write_text(text, encoding="utf-8")


def module_page(name, names):
    """The page of a module: its docstring and members; of a package also its public names and its modules."""
    children = [child for child in names if child.rpartition(".")[0] == name]
    members = "" if children else "   :members:\n"
    parts = [f"{name}\n{'=' * len(name)}\n", f".. automodule:: {name}\n{members}"]
    public = exported(name)

    if children and public:
        parts.append("Public names\n------------\n")
        parts.append("\n".join(f"* :obj:`{last} <{path}>`" for last, path in public) + "\n")

    if children:
        parts.append(".. toctree::\n   :maxdepth: 1\n\n" + "".join(f"   {child}\n" for child in children))

    return "\n".join(parts)


def exported(package):
    """Names in `__all__` of a package with the modules that define them, read from its sources."""
    folder = SOURCES.joinpath(*package.split(".")[1:])
    # a folder that imports lazily has its names in the stub
    file = next((path for path in (folder / "__init__.pyi", folder / "__init__.py") if path.exists()), None)
    if file is None:
        return []

    pairs = []
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and node.module and node.module != "spikebridge._moved":
            module = f"{package}.{node.module}" if node.level else node.module
            if module.startswith("spikebridge"):
                pairs += [(alias.asname or alias.name, f"{module}.{alias.name}") for alias in node.names]

    return sorted(pairs)


def fences_to_literal_blocks(app, what, name, obj, options, lines):
    """Replaces each fence by `::` and indents the lines inside."""
    is_inside = False
    for index, line in enumerate(lines):
        if line.strip() == "```":
            is_inside = not is_inside
            lines[index] = "::\n" if is_inside else ""
        elif is_inside:
            lines[index] = f"    {line}"

    # `::\n` has two lines
    lines[:] = "\n".join(lines).split("\n")
