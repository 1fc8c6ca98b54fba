"""What other libraries do not document is used in one file for each library; read from the package's tokens."""

import ast
import subprocess
import sys
import tokenize
from pathlib import Path

import spiq_tf

PACKAGE = Path(spiq_tf.__file__).parent
ADAPTERS = {"frontend/keras_internals.py", "frontend/keras2_internals.py", "benchmarking/litert_internals.py"}
DOCUMENTED = {"os._exit", "sys._getframe"}
"""Names of Python's library that begin with an underscore and are public all the same."""
FILES = {str(path.relative_to(PACKAGE)): path for path in sorted(PACKAGE.rglob("*.py"))}


def names_of(path):
    """The names and operators of a file, without comments and strings."""
    with path.open("rb") as file:
        kinds = (tokenize.NAME, tokenize.OP)
        return [token.string for token in tokenize.tokenize(file.readline) if token.type in kinds]


def own_private_names():
    """Private names that the package itself defines: functions, classes, attributes, variables."""
    found = set()
    for path in FILES.values():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                found.add(node.name)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                found.add(node.attr)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                found.add(node.id)
    return found


def test_the_adapters_are_there():
    assert set(FILES) > ADAPTERS


def test_modules_of_keras_are_named_in_one_file():
    for name, path in FILES.items():
        tokens = names_of(path)
        found = [k for k in range(len(tokens) - 2) if tokens[k : k + 3] == ["keras", ".", "src"]]
        assert not found, f"{name} names keras.src, which belongs in frontend/keras_internals.py"


def test_private_attributes_are_the_packages_own():
    """Of any object: what begins with an underscore and is defined nowhere in the package is another library's."""
    own = own_private_names()
    for name, path in FILES.items():
        if name in ADAPTERS:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
                known = node.attr in own or ast.unparse(node) in DOCUMENTED
                assert known, f"{name}:{node.lineno} uses {node.attr}, which spiq_tf does not define"
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("getattr", "hasattr", "setattr"):
                text = node.args[1].value if isinstance(node.args[1], ast.Constant) else ""
                foreign = text.startswith("_") and not text.startswith("__")
                assert not foreign, f"{name}:{node.lineno} uses {text!r} of another library"


def test_nothing_is_patched():
    for name, path in FILES.items():
        assert not {"mock", "patch", "monkeypatch"} & set(names_of(path)), name


OTHER_KERAS = """
import sys
import keras
from keras.src.ops import nn
from keras.src.ops.function import Function
del nn.Glu, nn.SparsePlus, keras.layers.RMSNormalization
if sys.argv[1] == "essential":
    del Function._run_through_graph
import spiq_tf
print("imported")
"""


def run_with_other_keras(what):
    command = [sys.executable, "-c", OTHER_KERAS, what]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_keras_without_some_operations_can_be_used():
    done = run_with_other_keras("some")
    assert done.stdout == "imported\n", done.stderr[-2000:]


def test_a_keras_without_what_is_needed_is_named():
    done = run_with_other_keras("essential")
    assert done.returncode != 0
    assert "lacks Functional._run_through_graph, by which spiq_tf reads models" in done.stderr
