"""What `spiq_tf.quantize` returns."""

import os
from dataclasses import dataclass, field
from functools import cached_property

import keras

from spiq_tf.conformance.violation import Violation
from spiq_tf.files import write_atomically
from spiq_tf.reporting.report import Report, report_of
from spiq_tf.rescaling import RescaledModel, clone_with
from spiq_tf.tensor_info import TensorInfo
from spiq_tf.tflite.delegation import Delegation
from spiq_tf.verification.finding import Verification


@dataclass(frozen=True, eq=False, kw_only=True)
class QuantizedModel:
    """A converted model.

    Attributes:
        name: of the model.
        content: the TFLite file.
        target: the runtime or accelerator that it was made for.
        expected_db: predicted signal-to-noise ratio at the outputs, a rough guide: from 10 dB too low to 3 dB too high
            on six real networks and their images, as the outputs' own power is an estimate too. None where the method
            predicts none.
        tensors: its activations, in the order in which they are computed.
        float_operators: operators that stay float, each with the layer that it belongs to.
        fallback_layers: opaque layers, which no primitive describes: not scaled, their ranges sampled.
        uncorrected: operators without bias correction, since the mean of their input is unknown.
        violations: rules of the target that the file breaks, and what slows it there (`Violation.slows`), as
            `spiq_tf.check` lists them.
        delegation: which operators XNNPACK, LiteRT's delegate for CPUs, leaves to LiteRT's own kernels, most of which
            are slower, how much these compute, and in how many pieces it runs the others; None where the target is no
            runtime with XNNPACK.
    """

    name: str
    content: bytes = field(repr=False)
    target: str
    expected_db: float | None
    tensors: tuple[TensorInfo, ...] = field(repr=False)
    float_operators: tuple[str, ...]
    fallback_layers: tuple[str, ...]
    uncorrected: tuple[str, ...]
    violations: tuple[Violation, ...]
    delegation: Delegation | None
    _model: keras.Model = field(repr=False)
    _rewritten: RescaledModel = field(repr=False)

    @cached_property
    def rewritten_model(self) -> keras.Model:
        """The float Keras model of the same architecture whose weights hold the scales.

        Made when it is first asked for, from the structure of the model that was converted.

        Raises:
            NotCloneableError: a layer of the model cannot be rebuilt from its configuration.
        """
        return clone_with(self._model, self._rewritten)

    def report(self, verification: Verification | None = None) -> Report:
        """What the conversion decided, its fallbacks, and what was measured of its file.

        `print(result.report())` lists the fallbacks, `rich.print` shows all of it as tables; the report's methods write
        an HTML page or JSON.

        Args:
            verification: what `spiq_tf.verify(model, result)` returned; None: only predictions are reported.

        Raises:
            InvalidArgumentError: the verification is of another type, or of another file.
        """
        return report_of(
            name=self.name,
            target=self.target,
            content=self.content,
            expected_db=self.expected_db,
            tensors=self.tensors,
            float_operators=self.float_operators,
            fallback_layers=self.fallback_layers,
            uncorrected=self.uncorrected,
            delegation=self.delegation,
            verification=verification,
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the file atomically.

        Raises:
            InvalidArgumentError: the folder does not exist or cannot be written.
        """
        write_atomically(path, self.content)
