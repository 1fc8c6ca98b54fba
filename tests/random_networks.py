"""Random small networks, each rebuilt from a description that can be printed.

`build(Description(...))` gives the network that a failing test names: all its weights follow from the description.
"""

from dataclasses import dataclass

import keras
import numpy as np
from keras import layers

from tests.networks import measured
from tests.random_blocks import ACTIVATIONS, BLOCKS, HEADS, Block


@dataclass(frozen=True)
class Description:
    """A network.

    Attributes:
        side: height of its images, which are one pixel wider.
        inputs: how many images it reads, through one shared convolution.
        blocks: its steps, each reading the map before.
        heads: its outputs, keys of HEADS; the first reads the last map, each further one the map before.
        seed: of the weights.
    """

    side: int = 8
    inputs: int = 1
    blocks: tuple[Block, ...] = (Block(),)
    heads: tuple[str, ...] = ("scores",)
    seed: int = 0


def build(description):
    """The network, with running statistics measured on its own inputs."""
    keras.utils.set_random_seed(description.seed)
    shape = (description.side, description.side + 1, 3)
    images = [keras.Input(shape, name=f"image{k}") for k in range(description.inputs)]
    stem = layers.Conv2D(6, 3, padding="same", name="stem")
    begun = [layers.ReLU()(stem(image)) for image in images]
    maps = [begun[0] if len(begun) == 1 else layers.Concatenate()(begun)]
    for block in description.blocks:
        maps.append(BLOCKS[block.kind](maps, block))
    outputs = [HEADS[head](maps[max(len(maps) - 1 - k, 0)]) for k, head in enumerate(description.heads)]
    return _settled(keras.Model(images, outputs), description.seed)


def _dead(gamma, beta, random):
    """Every third channel constant, far from 0: training with weight decay leaves such channels."""
    gamma[::3], beta[::3] = 0.0, random.choice([-10.0, 10.0], len(beta[::3]))
    return gamma, beta


def _extreme(gamma, beta, random):
    return random.permutation(np.geomspace(0.02, 5.0, len(gamma))), beta


def _signed(gamma, beta, random):
    return gamma * random.choice([-1.0, 1.0], len(gamma)), beta


NORMS = {
    "plain": lambda gamma, beta, random: (gamma, beta),
    "dead": _dead,
    "silent": lambda gamma, beta, random: (gamma, beta),  # every third kernel is 0, hence the running variance too
    "extreme": _extreme,
    "signed": _signed,
}


def _settled(model, seed):
    """Random biases, norms as their layers' names say, and running statistics measured on inputs."""
    random = np.random.default_rng(seed)
    for layer in model._flatten_layers(include_self=False):
        kind = layer.name.rsplit("_", 1)[0]
        if getattr(layer, "bias", None) is not None:
            layer.bias.assign(random.normal(0, 0.2, layer.bias.shape))
        if isinstance(layer, layers.BatchNormalization):
            gamma, beta = np.exp(random.normal(0, 0.5, layer.gamma.shape)), random.normal(0, 0.7, layer.beta.shape)
            gamma, beta = NORMS[kind](gamma, beta, random)
            layer.gamma.assign(gamma)
            layer.beta.assign(beta)
        elif kind == "silent" and hasattr(layer, "kernel"):
            _silence(layer)
    return measured(model, seed + 1, momenta=(0.0, 0.5, 0.5))


def _silence(layer):
    kernel = layer.kernel.numpy()
    channels = kernel if not isinstance(layer, layers.DepthwiseConv2D) else np.moveaxis(kernel, -1, -2)
    channels[..., ::3] = 0.0
    layer.kernel.assign(kernel)


_BLOCK_VALUES = {
    "kind": list(BLOCKS),
    "filters": [4, 1, 3, 8],
    "size": [3, 1, 2, 5],
    "stride": [1, 2],
    "dilation": [1, 1, 2],
    "norm": [*NORMS, "none"],
    "activation": list(ACTIVATIONS),
}
_VALUES = {"side": [8, 7, 13], "inputs": [1, 1, 2]}


def draw_description(seed):
    """The network of a seed."""
    random = np.random.default_rng(seed)

    def choose(values):
        return values[random.integers(len(values))]

    def choose_each(lists):
        return {name: choose(values) for name, values in lists.items()}

    blocks = [
        Block(**choose_each(_BLOCK_VALUES), valid=choose([False, True]), back=choose(range(4)))
        for _ in range(choose(range(1, 9)))
    ]
    heads = [choose(list(HEADS)) for _ in range(choose(range(1, 4)))]
    return Description(**choose_each(_VALUES), blocks=tuple(blocks), heads=tuple(heads), seed=choose(range(10)))
