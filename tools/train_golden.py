"""Trains the networks of the accuracy table on scikit-learn's digits, and writes them to tests/golden.

python tools/train_golden.py [--only=residual]

After it the table is of other networks: renew it by `python tools/accuracy_table.py --renew`.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from absl import app, flags
from keras import layers

from spiq_tf.commands.command import Command

CHECKOUT = Path(__file__).resolve().parents[1]


def residual() -> Any:
    """ReLU and additions, as in ResNet."""
    image = keras.Input((16, 16, 1), name="image")
    x = _conv_norm(image, 16, activation=layers.ReLU())
    for filters, stride in ((16, 1), (24, 2), (32, 2)):
        y = _conv_norm(x, filters, strides=stride, activation=layers.ReLU())
        y = _conv_norm(y, filters)
        shortcut = x if stride == 1 else _conv_norm(x, filters, 1, strides=stride)
        x = layers.ReLU()(layers.Add()([y, shortcut]))
    x = layers.Dropout(0.2)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(image, layers.Dense(10, name="digit")(x), name="residual")


def separable() -> Any:
    """Depthwise convolutions, ReLU6 and linear bottlenecks, as in MobileNetV2."""
    image = keras.Input((16, 16, 1), name="image")
    x = _conv_norm(image, 16, activation=layers.ReLU(6.0))
    for filters, stride in ((16, 1), (24, 2), (24, 1), (32, 2)):
        y = _conv_norm(x, 3 * x.shape[-1], 1, activation=layers.ReLU(6.0))
        y = layers.DepthwiseConv2D(3, strides=stride, padding="same", use_bias=False)(y)
        y = layers.ReLU(6.0)(layers.BatchNormalization()(y))
        y = _conv_norm(y, filters, 1)
        x = layers.Add()([x, y]) if x.shape == y.shape else y
    x = _conv_norm(x, 64, 1, activation=layers.ReLU(6.0))
    x = layers.Dropout(0.2)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(image, layers.Dense(10, name="digit")(x), name="separable")


def unet() -> Any:
    """SiLU, PReLU, concatenation and upsampling: the class of each pixel of a noisy image."""
    image = keras.Input((16, 16, 1), name="image")
    full = _twice(image, 12)
    half = _twice(layers.MaxPooling2D()(full), 20)
    x = _twice(layers.MaxPooling2D()(half), 32)
    x = _twice(layers.MaxPooling2D()(x), 32)
    x = layers.UpSampling2D(2)(x)
    x = _conv_norm(layers.UpSampling2D(2)(x), 20, activation=layers.PReLU(shared_axes=[1, 2]))
    x = _conv_norm(layers.Concatenate()([x, half]), 20, activation=layers.PReLU(shared_axes=[1, 2]))
    x = layers.UpSampling2D(2, interpolation="bilinear")(x)
    x = _conv_norm(layers.Concatenate()([x, full]), 16, activation=layers.PReLU(shared_axes=[1, 2]))
    return keras.Model(image, layers.Conv2D(11, 1, name="classes")(x), name="unet")


NETWORKS = {"residual": residual, "separable": separable, "unet": unet}


def define_flags(values: flags.FlagValues) -> None:
    """Defines the flags of the tool."""
    flags.DEFINE_list("only", [], "Names of networks; all by default.", flag_values=values)
    flags.DEFINE_integer("epochs", 60, "Passes over the training images.", flag_values=values, lower_bound=1)


def run(arguments: Sequence[str], options: flags.FlagValues) -> int:
    """Trains and writes."""
    from tests import golden_data

    if arguments:
        raise app.UsageError(f"expected flags only, found {arguments[0]!r}")
    unknown = [name for name in options.only if name not in NETWORKS]
    if unknown:
        raise app.UsageError(f"--only: expected some of {', '.join(NETWORKS)}, found {unknown[0]!r}")
    keras.config.disable_interactive_logging()
    for name in options.only or NETWORKS:
        keras.utils.set_random_seed(1)
        keras.backend.clear_session()
        model = NETWORKS[name]()
        images, labels = golden_data.strokes() if name == "unet" else golden_data.digits()
        _train(model, images[: golden_data.TRAINING], labels[: golden_data.TRAINING], options.epochs)
        classes = model.predict(images[golden_data.TRAINING :]).argmax(axis=-1)
        accuracy = np.mean(classes == labels[golden_data.TRAINING :])
        path = CHECKOUT / "tests" / "golden" / f"{name}.keras"
        _without_optimizer(name, model).save(path)
        print(
            f"{name}: accuracy {accuracy:.4f}, {model.count_params()} weights, {path.stat().st_size} bytes", flush=True
        )
    return 0


def _train(model: Any, images: Any, labels: Any, epochs: int) -> None:
    size = 32
    steps = epochs * -(-len(images) // size)
    rate = keras.optimizers.schedules.CosineDecay(1e-4, steps, warmup_target=4e-3, warmup_steps=steps // 10)
    model.compile(
        keras.optimizers.AdamW(rate, weight_decay=1e-3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    model.fit(images, labels, batch_size=size, epochs=epochs, verbose=0)


def _without_optimizer(name: str, trained: Any) -> Any:
    keras.backend.clear_session()
    model = NETWORKS[name]()
    model.set_weights(trained.get_weights())
    return model


def _conv_norm(x: Any, filters: int, size: int = 3, activation: Any = None, **options: Any) -> Any:
    x = layers.Conv2D(filters, size, padding="same", use_bias=False, **options)(x)
    x = layers.BatchNormalization(momentum=0.9)(x)
    return x if activation is None else activation(x)


def _twice(x: Any, filters: int) -> Any:
    for _ in range(2):
        x = _conv_norm(x, filters, activation=layers.Activation("silu"))
    return x


if __name__ == "__main__":
    sys.path.insert(1, str(CHECKOUT))  # for the tests' data
    command = Command(name="train_golden.py", description=__doc__, define_flags=define_flags, run=run)
    sys.exit(command.main(sys.argv[1:]))
