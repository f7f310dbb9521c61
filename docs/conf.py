"""How the documentation is built: `sphinx-build -W docs docs/_build/html`."""

import re
import shutil
from pathlib import Path

from docutils.nodes import Element, SkipNode, math, math_block
from latex2mathml.converter import convert
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.ext.napoleon.docstring import GoogleDocstring
from sphinx.writers.html5 import HTML5Translator

import botorch_xval

HERE = Path(__file__).parent

project = "botorch_xval"
author = "the authors of botorch_xval"
version = release = botorch_xval.__version__
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.doctest",
    "sphinx.ext.napoleon",
]
exclude_patterns = ["_build", "**/.ipynb_checkpoints", "notebooks/data/*"]

html_theme = "furo"
html_title = f"botorch_xval {version}"
html_static_path = ["_static"]
html_css_files = ["extra.css"]
html_copy_source = False
html_show_copyright = False

myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # tests/test_notebooks.py runs them; here as they are kept
nb_merge_streams = True

nb_ipywidgets_js: dict[str, dict[str, str]] = {}  # nothing from elsewhere
html_math_renderer = "mathml"
toc_object_entries_show_parents = "hide"

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False

# Of "For warm folds: the lowest loss" napoleon would make a type, "For warm folds".
GoogleDocstring._parse_attribute_docstring = lambda self: []  # type: ignore[method-assign]

# Every name of this package that a text refers to has to exist; those of others are
# not looked up, so that a build needs no network.
nitpicky = True
# Nor are types within modules, which signatures show and no page documents.
INTERNAL = r"botorch_xval\.\w+\.(?!plots\b|expressions\b)[a-z]\w+"
nitpick_ignore_regex = [
    (r"py:.*", r"(?!botorch_xval\b).*"),
    (r"py:.*", rf"{INTERNAL}(\.\w+)+"),
    (r"py:mod", INTERNAL),
]

# What the code on all pages goes on from, in a folder that has the table as trials.csv.
doctest_global_setup = """
__name__ = "__main__"  # as in a script
import os, shutil, tempfile
from importlib.resources import files

os.environ["MPLBACKEND"] = "agg"
os.chdir(tempfile.mkdtemp())
shutil.copy(files("botorch_xval.data") / "tuning_trials.csv", "trials.csv")

import torch
from botorch.models import SingleTaskGP
from botorch.models.transforms import Normalize
from botorch_xval.data import encode_tuning_trials

table = encode_tuning_trials()
train_X, train_Y = table.X[:25], table.Y[:25]


def model(train_X, train_Y):
    return SingleTaskGP(train_X, train_Y, input_transform=Normalize(train_X.shape[-1]))
"""
doctest_test_doctest_blocks = "default"

# What documentation shows and what is kept elsewhere: notebooks, and results of
# benchmarks. Links lead to where they are kept, and to the copies once it is built.
ELSEWHERE = {"notebooks": HERE.parent / "notebooks"}
ELSEWHERE["benchmarks/results"] = HERE.parent / "benchmarks" / "results"
for _folder, _source in ELSEWHERE.items():
    shutil.copytree(
        _source,
        HERE / _folder,
        ignore=shutil.ignore_patterns(".ipynb_checkpoints", "*.json*"),
        dirs_exist_ok=True,
    )


def leave_defaults(app: Sphinx) -> None:
    """Code that is run meets functions as they are.

    `autodoc_preserve_defaults` writes text in place of their defaults, which Ax reads.
    """
    if app.builder.name == "doctest":
        app.config.autodoc_preserve_defaults = False


def follow_copies(app: Sphinx, docname: str, source: list[str]) -> None:
    """Links to what has been copied lead to the copies; results have a title."""
    text = source[0]
    if docname.startswith("benchmarks/") and not text.startswith("# "):
        name = Path(docname).name
        text = f"# {name.replace('_', ' ').capitalize()}\n\n{text}"
    for folder in ELSEWHERE:
        text = re.sub(rf"\]\((?:\.\./)+{folder}/", f"](/{folder}/", text)
    source[0] = text


def show_inline(self: HTML5Translator, node: math) -> None:
    """A formula in a line, as MathML, which browsers draw without a script."""
    self.body.append(convert(node.astext()))
    raise SkipNode


def show_block(self: HTML5Translator, node: math_block) -> None:
    """A formula of its own."""
    self.body.append(convert(node.astext(), display="block"))
    raise SkipNode


def find_main_name(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, contnode: Element
) -> Element | None:
    """A main name, such as `botorch_xval.compare`, is documented in its room."""
    package, _, name = node.get("reftarget", "").rpartition(".")
    if package != "botorch_xval" or name not in botorch_xval.__all__:
        return None
    python, where, kind = env.get_domain("py"), node["refdoc"], node["reftype"]
    for target in python.objects:
        if re.fullmatch(rf"botorch_xval\.(?!ax\b)\w+\.{name}", target):
            return python.resolve_xref(
                env, where, app.builder, kind, target, node, contnode
            )
    return None


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("builder-inited", leave_defaults)
    app.connect("missing-reference", find_main_name)
    app.add_html_math_renderer("mathml", (show_inline, None), (show_block, None))
    app.connect("source-read", follow_copies)
