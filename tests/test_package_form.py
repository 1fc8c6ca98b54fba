"""The form of the package, read from its source: what the reader of any module can rely on."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "spiq_tf"
SOURCES = {str(path.relative_to(PACKAGE)): path.read_text() for path in sorted(PACKAGE.rglob("*.py"))}
TREES = {name: ast.parse(source) for name, source in SOURCES.items()}

POSITIONAL_FIELDS = 3
"""Fields of a dataclass that may be passed by position: of more than these nobody knows the order by heart."""

MODULE_LINES = 350
LONG_MODULES = {"priors.py": "a table: each fitted number with its evidence"}

FUNCTION_LINES = 45
"""Without the docstring."""


def classes(tree):
    return [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]


def dataclass_keywords(cls):
    """The arguments of its `dataclass` decorator by name, or None where it has no such decorator."""
    for decorator in cls.decorator_list:
        function = decorator.func if isinstance(decorator, ast.Call) else decorator
        if ast.unparse(function) in ("dataclass", "dataclasses.dataclass"):
            return {k.arg: k.value for k in getattr(decorator, "keywords", ())}
    return None


def positional_fields(cls):
    """Names of the fields that the constructor of a dataclass takes by position."""
    keywords = dataclass_keywords(cls)
    if keywords is None or ast.unparse(keywords.get("kw_only", ast.Constant(False))) == "True":
        return []
    fields = [(ast.unparse(node.target), ast.unparse(node.annotation)) for node in cls.body if is_field(node)]
    annotations = [annotation for _, annotation in fields]
    end = annotations.index("KW_ONLY") if "KW_ONLY" in annotations else len(fields)
    return [name for name, _ in fields[:end]]


def is_field(node):
    return isinstance(node, ast.AnnAssign) and not ast.unparse(node.annotation).startswith("ClassVar")


def lines_of_code(function):
    """Lines of a function without its docstring."""
    first = function.body[0]
    docstring = first.end_lineno - first.lineno + 1 if ast.get_docstring(function) is not None else 0
    return function.end_lineno - function.lineno + 1 - docstring


def imported_packages(tree):
    """The first parts of the names of the modules that a module imports."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module)
    return {name.partition(".")[0] for name in names}


def test_constructors_of_many_fields_take_keywords():
    fields = {f"{name}: {cls.name}": positional_fields(cls) for name, tree in TREES.items() for cls in classes(tree)}
    assert {name: found for name, found in fields.items() if len(found) > POSITIONAL_FIELDS} == {}


def test_functions_are_short():
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    lengths = {
        f"{name}:{node.lineno}: {node.name}": lines_of_code(node)
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, functions)
    }
    assert {name: length for name, length in lengths.items() if length > FUNCTION_LINES} == {}


def test_modules_are_short():
    lengths = {name: len(source.splitlines()) for name, source in SOURCES.items()}
    assert {name for name, length in lengths.items() if length > MODULE_LINES} == set(LONG_MODULES)


def test_modules_are_named_after_what_they_hold():
    words = {word for name in SOURCES for part in Path(name).with_suffix("").parts for word in part.split("_")}
    assert not words & {"util", "utils", "helper", "helpers", "manager", "managers", "misc", "common"}


def test_one_module_imports_the_quantizer():
    found = [name for name, tree in TREES.items() if "litert_quantizer" in imported_packages(tree)]
    assert found == ["tflite/writing/litert_quantizer.py"]


@pytest.mark.parametrize(
    ("source", "fields"),
    [
        ("@dataclass\nclass A:\n    a: int\n    b: int\n    c: int\n    d: int = 0", ["a", "b", "c", "d"]),
        ("@dataclasses.dataclass(frozen=True)\nclass A:\n    a: int\n    n: ClassVar[int] = 2", ["a"]),
        ("@dataclass\nclass A:\n    a: int\n    _: KW_ONLY\n    b: int", ["a"]),
        ("@dataclass(kw_only=True)\nclass A:\n    a: int", []),
        ("class A:\n    a: int", []),
    ],
)
def test_which_fields_are_positional(source, fields):
    (cls,) = classes(ast.parse(source))
    assert positional_fields(cls) == fields


def test_a_docstring_is_no_code():
    (function,) = ast.parse('def f():\n    """Two\n    lines."""\n    return 1\n').body
    assert lines_of_code(function) == 2
