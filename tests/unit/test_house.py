"""The rules of the house: who imports whom, how large things may grow, what importing costs."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from glmimg.choice import Ideas, ModelChoice, Output, Sources
from glmimg.cli.commands import COMMANDS, LazyCommand
from glmimg.engine.batch.settings import Cluster, Schedule
from glmimg.engine.http.settings import Serving
from glmimg.job import Painting, Sampling, Scene
from glmimg.knob import knobs
from tests.generate import keywords

PACKAGE = Path(__file__).parents[2] / "glmimg"

FLOORS = {
    "cli": 9,
    "api": 8,
    "engine": 7,
    "ar": 6,
    "dit": 6,
    "config": 8,
    "ideas": 5,
    "events": 5,
    "image_io": 5,
    "sources": 5,
    "tokens": 5,
    "unfinished": 5,
    "runtime": 5,
    "demo": 5,
    "preset": 4,
    "enhance": 4,
    "choice": 3,
    "keywords": 3,
    "request": 3,
    "job": 2,
    "atomic": 1,
    "grid": 1,
    "history": 2,
    "home": 1,
    "knob": 1,
    "pictures": 1,
    "files": 1,
    "metadata": 1,
    "settings_file": 1,
    "prompts": 1,
    "stencil": 2,
    "errors": 0,
    "text": 0,
}
"""Imports run downwards: a room imports its own floor or lower ones."""

HEAVY = {"torch", "transformers", "diffusers", "accelerate"}
MAX_MODULE_LINES = 350
MAX_FUNCTION_LINES = 60
MAX_PACKAGE_LINES = 25_560
"""To come down to 13,000."""
MAX_OWN_PARAMETERS = 7
COMMON_WORDS = {
    *("prompt", "size", "seed", "steps", "temperature", "top_p", "top_k", "scheduler", "cache", "drop", "guidance"),
    *("negative", "events", "mask", "enhance", "fetch"),
    *("model", "revision", "device", "dtype", "memory", "quantize", "lora", "compile", "attention"),
    *(
        "image",
        "source",
        "fit",
        "background",
        "out",
        "force",
        "quiet",
        "verbose",
        "round",
        "engine",
        "address",
        "gallery",
        "http",
        "as_json",
        "history",
        "literal",
        "sweep",
        "sheet",
        "yes",
        "events",
        "show",
        "open",
        "mcp",
    ),
}
"""Knobs whose names are words of the field or of English, which stand in many files for themselves."""


MORE_HOMES = {"dit_seed": 12}
"""The second seed is part of file names, ledgers and pages of the first edition."""


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
    assert FLOORS[room(importer)] >= FLOORS[room(imported)], f"{importer} imports {imported}"


def test_no_two_files_import_each_other_by_any_way() -> None:
    """Imports inside functions and for type checkers count too."""
    graph: dict[str, set[str]] = {}
    names = {".".join(path.relative_to(PACKAGE).with_suffix("").parts) for path in modules()}
    for importer, imported in own_imports():
        graph.setdefault(importer, set()).update({imported} & names)
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " -> ".join([*way[way.index(name) :], name])
        if name not in done:
            for each in sorted(graph.get(name, ())):
                visit(each, (*way, name))
            done.add(name)

    for name in sorted(graph):
        visit(name, ())


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_library_is_tampered_with(path: Path) -> None:
    """Nothing is put into `sys.modules` or in front of imports, and no name inside another library is replaced."""
    tree = ast.parse(path.read_text())
    foreign = {
        (alias.asname or alias.name).split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        and not (getattr(node, "module", None) or "").startswith("glmimg")
        for alias in node.names
        if not alias.name.startswith("glmimg")
    }
    for node in ast.walk(tree):
        targets = node.targets if isinstance(node, ast.Assign | ast.Delete) else []
        targets = [each for target in targets for each in (target.elts if isinstance(target, ast.Tuple) else [target])]
        for target in targets:
            text = ast.unparse(target)
            assert not text.startswith(("sys.modules", "sys.meta_path", "sys.path")), f"{path}: {text}"
            if isinstance(target, ast.Attribute):
                assert text.split(".")[0] not in foreign, f"{path}: {text} is another library's"
        if isinstance(node, ast.Call):
            text = ast.unparse(node.func)
            tampering = r"sys\.(modules|meta_path|path)\.(update|setdefault|pop|append|insert|clear)"
            assert not re.fullmatch(tampering, text), f"{path}: {text}"
            if text == "setattr" and ast.unparse(node.args[0]) != "sys":  # the standard streams are one's own
                assert ast.unparse(node.args[0]).split(".")[0] not in foreign, f"{path}: {ast.unparse(node)}"


def test_pictures_have_one_way_in() -> None:
    """Pillow's own `open` takes formats that start programs."""
    for path in modules():
        if "train" in path.parts or path.name == "pictures.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            assert called not in ("Image.open", "pillow.open", "PIL.Image.open"), path


def test_the_package_stays_small() -> None:
    """Generated files and the demo's training apart."""
    counted = [path for path in modules() if "train" not in path.parts and path.name != "keywords.py"]
    assert sum(len(path.read_text().splitlines()) for path in counted) <= MAX_PACKAGE_LINES


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
    assert len(source.splitlines()) <= MAX_MODULE_LINES, path
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef):
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


LIGHT = ("--help", "t2i --help", "presets", "capabilities --json", "t2i x -s 100x100", "t2i --steps 0")


@pytest.mark.parametrize("arguments", LIGHT)
def test_light_commands_import_no_torch(arguments: str) -> None:
    script = (
        "import sys, atexit\n"
        "from glmimg.cli.main import main\n"
        "atexit.register(lambda: sys.stderr.write('HEAVY:' + ','.join({'torch','diffusers'} & set(sys.modules))))\n"
        f"sys.argv = ['glmimg', *{arguments.split()!r}]\n"
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


def commands() -> list[tuple[str, ast.FunctionDef]]:
    """Every function of the command line that `takes` knobs."""
    return [
        (path.name, node)
        for path in modules()
        if path.parent.name == "cli"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
        and any(isinstance(each, ast.Call) and ast.unparse(each.func) == "takes" for each in node.decorator_list)
    ]


@pytest.mark.parametrize(("file", "command"), commands(), ids=lambda each: getattr(each, "name", str(each)))
def test_a_command_has_few_parameters_of_its_own(file: str, command: ast.FunctionDef) -> None:
    assert command.args.args[0].arg == "request", file
    assert len(command.args.args) - 1 <= MAX_OWN_PARAMETERS, file


def test_a_knob_is_at_home_in_few_files() -> None:
    files = {path: path.read_text() for path in modules() if "train" not in path.parts and path.name != "keywords.py"}
    for model in (Scene, Sampling, Painting, Ideas, ModelChoice, Sources, Output, Schedule, Cluster, Serving):
        for declared in knobs(model):
            if declared.name not in COMMON_WORDS:
                named = [str(path.relative_to(PACKAGE)) for path, text in files.items() if declared.name in text]
                assert len(named) <= MORE_HOMES.get(declared.name, 4), (declared.name, named)


def test_the_keywords_are_those_of_the_knobs() -> None:
    assert (PACKAGE / "keywords.py").read_text() == keywords(), "Run python -m tests.generate"
