"""Trains a small network on scikit-learn's digits, converts it without data, and compares the two.

python tools/demo.py
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import contextlib
import io
import time
from typing import Any

import keras
import numpy as np
from absl import app, logging
from ai_edge_litert.interpreter import Interpreter
from keras import layers
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import spiq_tf

_ROUNDS = 200


def network() -> keras.Model:
    """A convolution, a depthwise block with a residual addition, and a classifier."""
    image = keras.Input((8, 8, 1), name="image")
    x = layers.Conv2D(32, 3, padding="same", use_bias=False)(image)
    x = shortcut = layers.ReLU(6.0)(layers.BatchNormalization()(x))
    x = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x)
    x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
    x = layers.BatchNormalization()(layers.Conv2D(32, 1, use_bias=False)(x))
    x = layers.Add()([x, shortcut])
    x = layers.Conv2D(64, 3, strides=2, padding="same", use_bias=False)(x)
    x = layers.GlobalAveragePooling2D()(layers.ReLU()(layers.BatchNormalization()(x)))
    return keras.Model(image, layers.Dense(10, name="digit")(x))


def float_file(model: keras.Model) -> bytes:
    """The float TFLite file of the model, by TensorFlow's own converter."""
    import tensorflow as tf

    fixed = keras.Input(batch_shape=(1, *model.input_shape[1:]))
    converter = tf.lite.TFLiteConverter.from_keras_model(keras.Model(fixed, model(fixed)))
    with contextlib.redirect_stdout(io.StringIO()):  # it lists every variable
        return bytes(converter.convert())


def score(content: bytes, images: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Accuracy, and the best single-thread latency of one image in milliseconds."""
    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    (source,), (target,) = interpreter.get_input_details(), interpreter.get_output_details()
    right = 0
    for image, label in zip(images, labels, strict=True):
        interpreter.set_tensor(source["index"], quantized(image[None], source))
        interpreter.invoke()
        right += int(interpreter.get_tensor(target["index"]).argmax() == label)
    seconds = []
    for _ in range(_ROUNDS):
        start = time.perf_counter()
        interpreter.invoke()
        seconds.append(time.perf_counter() - start)
    return right / len(labels), min(seconds) * 1e3


def quantized(image: np.ndarray, detail: dict[str, Any]) -> np.ndarray:
    """The image in the data type of the file's input."""
    if detail["dtype"] == np.float32:
        return image.astype(np.float32)
    scale, zero_point = detail["quantization"]
    return np.clip(np.round(image / scale) + zero_point, -128, 127).astype(np.int8)


def main(_: list[str]) -> None:
    """Trains, converts, prints."""
    logging.set_verbosity(logging.ERROR)
    keras.utils.set_random_seed(0)
    digits = load_digits()
    images = (digits.images[..., None] / 16.0).astype(np.float32)
    parts = train_test_split(images, digits.target, test_size=0.3, random_state=0, stratify=digits.target)
    train_images, test_images, train_labels, test_labels = parts
    model = network()
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(train_images, train_labels, epochs=15, batch_size=32, verbose=0)

    content = spiq_tf.convert(model, input_range=(0, 1))

    print(f"digits of scikit-learn: {len(train_labels)} images to train, {len(test_labels)} to test")
    print(f"{'':8}{'accuracy':>10}{'KiB':>8}{'ms':>9}")
    for name, file in (("float32", float_file(model)), ("int8", content)):
        accuracy, milliseconds = score(file, test_images, test_labels)
        print(f"{name:8}{accuracy:10.4f}{len(file) / 1024:8.1f}{milliseconds:9.4f}")


if __name__ == "__main__":
    app.run(main)
