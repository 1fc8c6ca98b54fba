"""The rules that a full-integer int8 file must keep to; each looks at one thing and yields what breaks it."""

from collections.abc import Callable, Iterator
from typing import TypeAlias

from spiq_tf.conformance import delegate_rules, quantization_rules, structure_rules
from spiq_tf.conformance.violation import Violation
from spiq_tf.targets import Target
from spiq_tf.tflite.flatbuffer import FlatModel

Rule: TypeAlias = Callable[[FlatModel, Target], Iterator[Violation]]

RULES: tuple[Rule, ...] = (
    structure_rules.mapped_operators,
    structure_rules.integer_operators,
    structure_rules.static_shapes,
    structure_rules.ranks,
    quantization_rules.activation_types,
    quantization_rules.activations,
    quantization_rules.weights,
    quantization_rules.constants,
    quantization_rules.biases,
    quantization_rules.multipliers,
    quantization_rules.shared_scales,
    quantization_rules.fixed_outputs,
    structure_rules.fused_activations,
    structure_rules.slopes,
    delegate_rules.one_delegated_piece,
)
"""In the order in which violations are listed."""
