"""The house keeps to docs/architecture.md: imports point up its floors, files are short, names say one thing."""

import ast
from collections import Counter
from pathlib import Path

import fewshot_km

PACKAGE = Path(fewshot_km.__file__).parent
FLOORS = [
    "data",
    "models",
    "learners",
    "training",
    "accel",
    "learner_checks",
    "experiments",
    "reports",
    "cli",
]  # top to bottom
MODULES = sorted(PACKAGE.rglob("*.py"))
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in MODULES}
MOST_LINES = 250
MOST_PARAMETERS = 8


def floor(parts: tuple[str, ...]) -> int:
    """The floor of a module by its path below the package; what stands beside the rooms is above them all."""
    return FLOORS.index(parts[0]) if parts and parts[0] in FLOORS else -1


def imported(tree: ast.Module) -> set[tuple[str, ...]]:
    """Modules of the package that a module imports anywhere, as paths below the package."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {tuple(name.split(".")[1:]) for name in names if name.startswith("fewshot_km.")}


def test_imports_point_up() -> None:
    down = {
        f"{path.relative_to(PACKAGE)} imports {'.'.join(other)}"
        for path, tree in TREES.items()
        for own in [floor(path.relative_to(PACKAGE).parts)]
        for other in imported(tree)
        if own >= 0 and floor(other) > own
    }
    assert down == set()


def test_no_module_is_long() -> None:
    lines = {str(path.relative_to(PACKAGE)): len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    assert {name: count for name, count in lines.items() if count > MOST_LINES} == {}


def test_no_two_modules_or_classes_have_one_name() -> None:
    modules = Counter(path.stem for path in MODULES if not path.stem.startswith("__"))
    classes = Counter(node.name for tree in TREES.values() for node in tree.body if isinstance(node, ast.ClassDef))
    assert [name for names in (modules, classes) for name, count in names.items() if count > 1] == []


def test_no_signature_is_long() -> None:
    """But for options, which a command and a registered name take, and for the arrays of compiled loops."""
    long = {}
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            if not isinstance(node, ast.FunctionDef) or path.stem.endswith(("_command", "_loops")):
                continue
            if any("register" in ast.unparse(decorator) for decorator in node.decorator_list):
                continue
            names = [a.arg for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
            count = len([name for name in names if name not in ("self", "cls")])
            if count > MOST_PARAMETERS:
                long[f"{path.relative_to(PACKAGE)}:{node.name}"] = count
    assert long == {}
