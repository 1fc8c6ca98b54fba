"""The numbers of 8 bits stand in the module of bit widths alone: elsewhere a bit width is asked, so that another one is
a value and not an edit."""

import ast
import io
import tokenize
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "spiq_tf"

NUMBERS = {127.0, 127.5, 128.0, 255.0, 256.0}

ALLOWED = {
    "metadata/description.py": "pixels: mean and std of the metadata refer to 0..255",
    "statistics/preprocessing.py": "pixels: conventions of preprocessing",
    "statistics/preprocessing_layers.py": "pixels: models that are fed 0..255",
    "benchmarking/networks.py": "pixels: networks that are fed 0..255",
    "commands/interrupts.py": "a shell's exit codes: 128 and the number of the signal",
    "targets/target.py": "limits: multipliers and ratios of scales that the runtimes' kernels hold",
    "targets/xnnpack.py": "limits: ratios of scales that the delegate's kernels hold",
    "tflite/flatbuffer.py": "the schema: operator codes above 127 do not fit the deprecated field",
    "priors.py": "a number of spatial locations",
}
"""Other modules with these numbers, each with what they mean there."""


def spelled(source):
    """Lines on which one of the numbers stands, itself or as a constant expression, 2**8 or 0xff or 1 << 7."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    lines = {t.start[0] for t in tokens if t.type == tokenize.NUMBER and _value(t.string) in NUMBERS}
    expressions = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.BinOp | ast.UnaryOp))
    return lines | {node.lineno for node in expressions if _folded(node) in NUMBERS}


def _value(text):
    value = ast.literal_eval(text)
    return abs(value) if isinstance(value, int | float) else None


def _folded(node):
    """The magnitude of an expression of numbers alone."""
    names = (ast.Name, ast.Call, ast.Attribute, ast.Subscript)
    if any(isinstance(part, names) for part in ast.walk(node)):
        return None
    try:
        value = eval(compile(ast.Expression(node), "", "eval"), {"__builtins__": {}})
    except (TypeError, ArithmeticError, ValueError, SyntaxError):
        return None
    return abs(value) if isinstance(value, int | float) else None


def modules():
    return {str(path.relative_to(PACKAGE)): path.read_text() for path in sorted(PACKAGE.rglob("*.py"))}


def test_eight_bits_stand_in_one_module():
    found = {name: spelled(source) for name, source in modules().items()}
    elsewhere = {name: sorted(lines) for name, lines in found.items() if lines and name not in ALLOWED}
    assert elsewhere == {}


@pytest.mark.parametrize("name", ALLOWED)
def test_no_exception_outlives_its_reason(name):
    assert name in modules()
    assert spelled(modules()[name])


@pytest.mark.parametrize(
    "text", ["x = 127", "x = -128", "x = 0xFF", "x = y / 127.5", "x = 2**8", "x = 1 << 7", "x = 2**8 - 1", "x = 256.0"]
)
def test_every_spelling_is_found(text):
    assert spelled(text) == {1}


@pytest.mark.parametrize("text", ["x = 'of 255'", "x = 1  # 127", "x = 2**y", "x = 2**30", "x = 12.8", '"""0..255"""'])
def test_other_numbers_and_text_are_not(text):
    assert spelled(text) == set()
