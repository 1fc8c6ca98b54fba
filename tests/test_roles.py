"""What the graph's structure says of its layers, and that nobody asks a primitive for its class."""

import ast
from pathlib import Path

import keras
from keras import layers

import spiq_tf
from spiq_tf.frontend.capture import capture
from spiq_tf.graph.classifier_head import network_roles
from spiq_tf.primitives.role import NO_ROLE, ClassifierHead, Role

PACKAGE = Path(spiq_tf.__file__).parent


def roles_of(model):
    graph = capture(model, 1)
    roles = network_roles(graph)
    assert set(roles) == {node.output.name for node in graph.nodes}
    return roles


def test_only_the_last_convolution_makes_a_dense_output():
    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, name="hidden")(image)
    roles = roles_of(keras.Model(image, layers.Activation("sigmoid", name="mask")(layers.Conv2D(2, 1, name="last")(x))))
    assert roles == {"hidden": NO_ROLE, "last": Role(is_dense_output=True), "mask": NO_ROLE}


def test_averages_of_class_maps_are_logits_and_averages_of_features_are_not():
    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, name="features")(image)
    class_map = layers.Conv2D(10, 1, name="class_map")(x)
    features = layers.GlobalAveragePooling2D(name="features_average")(x)
    outputs = [
        layers.GlobalAveragePooling2D(name="average")(class_map),
        layers.GlobalMaxPooling2D(name="maximum")(class_map),
        layers.Dense(5, name="logits")(features),
    ]
    roles = roles_of(keras.Model(image, outputs))
    assert {name for name, role in roles.items() if role.averages_are_logits} == {"average"}
    assert roles["logits"] == Role(head=ClassifierHead(num_logits=5, is_logits=True))
    assert roles["features_average"] == NO_ROLE


def test_hidden_layers_of_the_head_lead_to_its_logits():
    image = keras.Input((8, 8, 3))
    pooled = layers.GlobalAveragePooling2D(name="pooled")(layers.Conv2D(4, 3, name="features")(image))
    hidden = layers.Dense(6, name="hidden")(pooled)
    roles = roles_of(keras.Model(image, layers.Dense(3, name="logits")(hidden)))
    assert roles["hidden"] == Role(head=ClassifierHead(num_logits=3, is_logits=False))
    assert roles["logits"] == Role(head=ClassifierHead(num_logits=3, is_logits=True, hidden_depth=1))


def test_the_graph_itself_does_not_hold_roles():
    image = keras.Input((8, 8, 3))
    graph = capture(keras.Model(image, layers.Conv2D(2, 1)(image)), 1)
    (node,) = graph.nodes
    assert node.primitive.role == NO_ROLE
    role = network_roles(graph)[node.output.name]
    assert node.primitive.in_role(role).role == role == Role(is_dense_output=True)
    assert node.primitive.role == NO_ROLE


def _class_tests(path):
    """Lines that test objects for classes of the primitives."""
    tree = ast.parse(path.read_text())
    classes = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("spiq_tf.primitives")
        for alias in node.names
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", None) in ("isinstance", "issubclass", "type"):
            names = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
            if names & classes:
                yield f"{path}:{node.lineno}"


def test_no_primitive_is_asked_for_its_class_outside_the_package(tmp_path):
    modules = [p for p in PACKAGE.rglob("*.py") if p.relative_to(PACKAGE).parts[0] != "primitives"]
    assert len(modules) > 50
    assert [line for path in modules for line in _class_tests(path)] == []
    example = tmp_path / "example.py"
    example.write_text("from spiq_tf.primitives.linear import Linear\nx = isinstance(object(), int | Linear)\n")
    assert len(list(_class_tests(example))) == 1
