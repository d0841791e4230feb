"""The rules of the house: who imports whom, how large things may grow, what importing costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from glmimg.cli.commands import COMMANDS, LazyCommand

PACKAGE = Path(__file__).parents[2] / "glmimg"

FLOORS = {
    "cli": 6,
    "api": 5,
    "engine": 4,
    "ar": 3,
    "dit": 3,
    "image_io": 2,
    "preset": 2,
    "sources": 2,
    "tokens": 2,
    "runtime": 2,
    "demo": 2,
    "events": 2,
    "job": 1,
    "source_ref": 1,
    "atomic": 1,
    "errors": 0,
}
"""Imports run downwards: a room imports its own floor or lower ones. The exceptions follow."""

ALLOWED_UP = {
    ("job", "tokens.grid"),  # sizes are checked where grids are defined
    ("source_ref", "tokens.grid"),
}

HEAVY = {"torch", "transformers", "diffusers", "accelerate"}
MAX_MODULE_LINES = 350
MAX_FUNCTION_LINES = 60
TABLES = {"cli/options.py"}
"""A table of options, one after the other, may be as long as there are options."""


def modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py"))


def room(dotted: str) -> str:
    return dotted.split(".")[0]


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Every (module, whether imported at top level) of a file."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
        for name in names:
            yield name, node in tree.body


def own_imports() -> Iterator[tuple[str, str]]:
    for path in modules():
        importer = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        for name, _ in imports(path):
            if name.startswith("glmimg.") and importer not in ("__main__", "__init__"):
                yield importer, name.removeprefix("glmimg.")


@pytest.mark.parametrize(("importer", "imported"), sorted(set(own_imports())))
def test_imports_run_downwards(importer: str, imported: str) -> None:
    if room(importer) == "demo" and ".train" in f".{importer}":
        return
    if (room(importer), imported) in ALLOWED_UP:
        return
    assert FLOORS[room(importer)] >= FLOORS[room(imported)], f"{importer} imports {imported}"


def test_the_stages_do_not_know_each_other() -> None:
    for importer, imported in own_imports():
        assert {room(importer), room(imported)} != {"ar", "dit"}, f"{importer} imports {imported}"


def test_stage_one_never_names_diffusers() -> None:
    for path in (PACKAGE / "ar").rglob("*.py"):
        assert not [name for name, _ in imports(path) if room(name) == "diffusers"], path


@pytest.mark.parametrize("folder", ["cli", "runtime", "sources", "tokens", "."])
def test_light_rooms_import_heavy_libraries_lazily(folder: str) -> None:
    for path in sorted((PACKAGE / folder).glob("*.py")):
        at_top = {room(name) for name, top_level in imports(path) if top_level}
        assert not at_top & HEAVY, path


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_grows_too_large(path: Path) -> None:
    source = path.read_text()
    if str(path.relative_to(PACKAGE)) not in TABLES:
        assert len(source.splitlines()) <= MAX_MODULE_LINES, path
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef) and path.parent.name != "cli":
            length = (node.end_lineno or 0) - node.lineno + 1
            assert length <= MAX_FUNCTION_LINES, f"{path}: {node.name} has {length} lines"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_module_and_public_function_says_what_it_is(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree) or not tree.body, path
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            if path.parent.name == "cli" and isinstance(node, ast.FunctionDef):
                continue
            assert ast.get_docstring(node), f"{path}: {node.name} has no docstring"


def test_only_the_console_prints() -> None:
    for path in modules():
        if "train" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            called = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id
            assert called != "print", path


@pytest.mark.parametrize(
    "arguments", [["--help"], ["t2i", "--help"], ["presets"], ["t2i", "x", "-s", "100x100"], ["t2i", "--steps", "0"]]
)
def test_light_commands_import_no_torch(arguments: list[str]) -> None:
    script = (
        "import sys, atexit\n"
        "from glmimg.cli.main import main\n"
        "atexit.register(lambda: sys.stderr.write('HEAVY:' + ','.join({'torch','diffusers'} & set(sys.modules))))\n"
        f"sys.argv = ['glmimg', *{arguments!r}]\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stderr.endswith("HEAVY:"), done.stderr


def test_help_imports_none_of_our_own_models() -> None:
    """`--help` stays fast: pydantic and yaml come with the first command that needs them."""
    script = (
        "import sys, glmimg.cli.main\nprint({'pydantic', 'yaml', 'PIL', 'numpy', 'huggingface_hub'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_a_command_imports_no_other_command() -> None:
    commands = (
        "{name for name in sys.modules if name.startswith('glmimg.cli.')} & {'glmimg.cli.' + c for c in COMMANDS}"
    )
    script = (
        "import sys, atexit\nfrom glmimg.cli.commands import COMMANDS\nfrom glmimg.cli.main import main\n"
        f"atexit.register(lambda: sys.stderr.write('COMMANDS:' + ','.join({commands})))\n"
        "sys.argv = ['glmimg', 'presets']\nmain()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stderr == "COMMANDS:glmimg.cli.presets"


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_says_what_each_page_says(name: str) -> None:
    page = LazyCommand(name, help=COMMANDS[name]).load().help
    assert " ".join(page.partition("\n\n")[0].split()) == COMMANDS[name]
