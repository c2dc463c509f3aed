"""The packages: imports run one way, docs/architecture.md draws them, and names in files exist."""

import ast
import re
import tomllib
from collections import defaultdict
from functools import cache
from graphlib import TopologicalSorter
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from conftest import PROJECT, own_conf
from hydra.utils import get_object
from omegaconf import DictConfig, ListConfig, OmegaConf

# from the top down; a package imports from itself and from those below it
LAYERS = (
    "commands",
    "study",
    "reports",
    "benchmarks",
    "deployment",
    "sweep",
    "training",
    "budget",
    "tracking",
    "data",
    "cli",
    "stats",
    "models",
)
# private names of dependencies that have no public way; a reason stands beside each
PRIVATE = {
    "hydra._internal.hydra",
    "hydra._internal.utils",
    "joblib.externals.loky.backend.context",
    "torch.compiler._cache",
}
PRIVATE_ATTRIBUTES = {
    "_compose_config_from_defaults_list",  # of Hydra's loader
    "_trilinear",  # of torch.ops.aten
}
# in spite of their names: of named tuples, of os, and a key of configurations
PUBLIC = {"_asdict", "_replace", "_exit", "_target_"}
INSIDE_FUNCTIONS = 25  # imports that are not at the top of a file; more would hide the structure
CODE = sorted((*PROJECT.glob("experiments/**/*.py"), *PROJECT.glob("models/**/*.py")))


def module(path: Path) -> str:
    return ".".join(path.relative_to(PROJECT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module(path): path for path in CODE}


def package(name: str) -> str:
    """The layer of a module: a package of experiments, the commands, or models."""
    root, *rest = name.split(".")
    if root == "models":
        return "models"
    return rest[0] if len(rest) > 1 else "commands"


@cache
def imports(path: Path) -> list[tuple[str, int]]:
    """All modules that a file imports, each with its line if that is inside a function, else 0."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    inside = {id(node) for function in functions for node in ast.walk(function)}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            line = node.lineno if id(node) in inside else 0
            found += [(name.name, line) for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            for name in node.names:
                full = f"{node.module}.{name.name}"
                line = node.lineno if id(node) in inside else 0
                whole = full in MODULES or name.name.startswith("_")
                found.append((full if whole else node.module, line))
    return found


def edges() -> dict[str, set[str]]:
    """Which module of ours imports which."""
    return {
        name: {target for target, _ in imports(path) if target in MODULES} - {name}
        for name, path in MODULES.items()
    }


def arrows() -> set[tuple[str, str]]:
    """Which package imports which."""
    pairs = {(package(a), package(b)) for a, targets in edges().items() for b in targets}
    return {(a, b) for a, b in pairs if a != b}


def test_imports_run_down_the_list_and_never_up():
    rank = {name: place for place, name in enumerate(LAYERS)}
    assert {package(name) for name in MODULES} - {"commands"} == set(LAYERS) - {"commands"}
    upwards = [
        f"{name} imports {target}"
        for name, targets in edges().items()
        for target in targets
        if rank[package(target)] < rank[package(name)]
    ]
    assert not upwards
    commands = [name for name in MODULES if package(name) == "commands" and "." in name]
    imported = {target for targets in edges().values() for target in targets}
    assert not imported & set(commands), "nothing imports a command"


def test_no_module_imports_itself_in_a_circle():
    TopologicalSorter(edges()).prepare()  # raises CycleError, which names the circle


def test_the_drawing_agrees_with_the_imports():
    """docs/architecture.md draws every arrow that does not follow from two others."""
    text = (PROJECT / "docs" / "architecture.md").read_text(encoding="utf-8")
    drawn = set(re.findall(r"^\s*(\w+) --> (\w+)$", text, re.MULTILINE))
    below = defaultdict(set)
    for a, b in arrows():
        below[a].add(b)

    def reaches(a: str, b: str) -> bool:
        return b in below[a] or any(reaches(c, b) for c in below[a])

    needed = {(a, b) for a, b in arrows() if not any(reaches(c, b) for c in below[a] - {b})}
    assert drawn == needed


def test_few_imports_hide_inside_functions():
    hidden = [
        f"{name}, line {line}"
        for name, path in MODULES.items()
        for line in {line for _, line in imports(path) if line}
    ]
    assert len(hidden) <= INSIDE_FUNCTIONS, "\n".join(hidden)


def test_packages_have_empty_init_files_and_commands_are_short():
    for path in CODE:
        lines = path.read_text(encoding="utf-8").splitlines()
        if path.name == "__init__.py":  # the first one handles Ctrl-C while a command imports
            assert len(lines) <= (20 if path.parent.name == "experiments" else 1), path
        elif package(module(path)) == "commands":
            assert len(lines) < 100, path


def test_private_names_of_dependencies_are_few():
    hidden = {
        target
        for path in CODE
        for target, _ in imports(path)
        if re.search(r"\._|\.externals\.|\.vendor", target)
    }
    assert hidden == PRIVATE


def test_private_attributes_of_dependencies_are_few():
    """Those that no file of ours defines."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in CODE]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    used = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    private = {name for name in used if re.fullmatch(r"_[a-z]\w*", name)}
    functions = {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
    inherited = {name for name in functions if name in PRIVATE_ATTRIBUTES}
    assert (private - functions - PUBLIC) | inherited == PRIVATE_ATTRIBUTES


def test_the_table_of_packages_has_their_files():
    """In docs/architecture.md, in the order in which imports run down."""
    text = (PROJECT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)/` \|[^|]*\| ([^|]*) \|$", text, re.MULTILINE)
    table = {name: set(files.split(", ")) for name, files in rows if name in LAYERS[1:-1]}
    assert list(table) == list(LAYERS[1:-1])
    for name, files in table.items():
        there = {path.stem for path in (PROJECT / "experiments" / name).glob("*.py")}
        assert files == there - {"__init__"}


def test_tests_mirror_the_packages():
    """A test file has the name of the module that it tests, or of a theme of several."""
    themes = {
        *("cli/fuzz", "cli/mistakes", "sweep/gpus", "sweep/sweep"),
        *("training/devices", "training/fused", "training/gpu", "training/holdout"),
        *("commands", "experiments", "lightning", "steps", "terminal"),
    }
    tests = PROJECT / "tests"
    named = {
        path.relative_to(tests).as_posix().replace("test_", "")
        for folder in ("experiments", "models")
        for path in (tests / folder).rglob("test_*.py")
    }
    modules = {path.relative_to(PROJECT).as_posix() for path in CODE}
    assert named - modules == {f"experiments/{theme}.py" for theme in themes}


def targets(node) -> list[str]:
    if isinstance(node, dict | DictConfig):
        here = [value for key, value in node.items() if key == "_target_"]
        return here + [t for value in node.values() for t in targets(value)]
    if isinstance(node, list | ListConfig):
        return [t for value in node for t in targets(value)]
    return []


@pytest.mark.parametrize(
    "path", [p for p in sorted(own_conf().rglob("*.yaml")) if "_target_" in p.read_text()]
)
def test_every_target_in_conf_exists(path):
    found = targets(OmegaConf.to_container(OmegaConf.load(path)))
    for target in found:
        assert get_object(target), target


def test_direct_imports_are_declared():
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    declared = {
        re.match(r"[\w-]+", line)[0].lower().replace("_", "-") for line in project["dependencies"]
    }
    homes = packages_distributions()
    missing = set()
    for path in CODE:
        for target, _ in imports(path):
            root = target.split(".")[0]
            names = {name.lower().replace("_", "-") for name in homes.get(root, ())}
            if root not in ("experiments", "models") and names and not names & declared:
                missing.add(f"{root} ({', '.join(names)}) in {path.relative_to(PROJECT)}")
    assert not missing


def test_files_that_are_found_by_name_are_part_of_the_package():
    setuptools = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["setuptools"]
    declared = {
        f"{name.replace('.', '/')}/{file}"
        for name, files in setuptools["package-data"].items()
        for file in files
    }
    folders = (PROJECT / "experiments", PROJECT / "models")
    kinds = (".html", ".xml", ".yaml", ".cpp")
    files = [path for folder in folders for path in folder.rglob("*") if path.suffix in kinds]
    assert {path.relative_to(PROJECT).as_posix() for path in files} == declared
