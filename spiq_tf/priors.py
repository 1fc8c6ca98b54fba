"""The priors: every number that was fitted to networks, in one place.

A prior is a number that neither a specification nor a derivation gives: it was chosen because the files of trained
networks came out more accurate with it. Limits that are derived or specified stand where they are used.

All priors were set one at a time, with all others at the values below, on 12 to 27 networks: they interact, and none is
the best of all combinations. `tools/prior_sensitivity.py` moves each by a fifth; docs/priors.md holds what that costs.
What was tried and left out stands in docs/accuracy.md.

The numbers are read while a model is converted (`priors.SAMPLE_GAP.value`), so that `scaled` can vary them.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import KW_ONLY, dataclass
from types import MappingProxyType


@dataclass(frozen=True, eq=False)
class Prior:
    """One fitted number.

    Attributes:
        default: what a conversion uses; an integer where only integers make sense.
        unit: what it counts or multiplies.
        evidence: why it has this value, and what was measured; "None." where nothing was.
        held_fixed: what stayed as it was when it was set.
        maximum: what it cannot exceed, however it is varied: 1 for a share or a correlation.
    """

    default: float
    unit: str
    evidence: str
    _: KW_ONLY
    held_fixed: str = "all other priors at their present values"
    maximum: float = math.inf

    @property
    def value(self) -> float:
        """The default, unless `scaled` is in force; an integer where the default is one."""
        factor = _FACTORS.get().get(self)
        if factor is None:
            return self.default
        varied = round(self.default * factor) if isinstance(self.default, int) else self.default * factor
        return min(varied, self.maximum)


_FACTORS: ContextVar[Mapping[Prior, float]] = ContextVar("factors of priors", default=MappingProxyType({}))


@contextmanager
def factors(by_prior: Mapping[Prior, float]) -> Iterator[None]:
    """Multiplies priors while the context is open, in this thread alone; integers are rounded. For measurements.

    Args:
        by_prior: the factor of each prior; those left out keep their value. It is asked whenever a prior is read.
    """
    token = _FACTORS.set(by_prior)
    try:
        yield
    finally:
        _FACTORS.reset(token)


def scaled(name: str, factor: float) -> AbstractContextManager[None]:
    """As `factors`, of the one prior of that name in this module ("SAMPLE_GAP").

    Raises:
        KeyError: there is no such prior.
    """
    return factors({PRIORS[name]: factor})


# ---- how much farther real inputs reach than the samples: one quantity for each kind of sample -----------------------

SAMPLE_GAP = Prior(
    1.75,
    "deviation or range on real images over that on synthetic ones",
    "Images differ more than synthetic ones do: averages over whole feature maps and class scores by 1.1 to 2.6, in"
    " twenty networks. Over 27 networks 2 clips none and gives scores 1.5 times the room that they need; 1.7 gains"
    " 0.3 dB and an agreement of 0.006 on the average, 1.5 clips the scores of six by 1 to 2 dB.",
)
DECODER_SAMPLE_GAP = Prior(
    1.35,
    "range on real images over that on synthetic ones, of a decoder's feature maps",
    "ESPNet 19.2 -> 20.2 dB, five others 0.3 to 1.2 better. With 1.2 or 1.5 some are worse. Elsewhere sparse images"
    " reach farther: networks from image to image lose up to 10 dB on text, a ResNet 4.",
)
OPAQUE_SAMPLE_GAP = Prior(
    1.5,
    "range on real images over that on synthetic ones, of intermediates of opaque layers",
    "Samples do not show the ends of a range. No measurement.",
)
OPAQUE_SAMPLE_GAP_FEW_VALUES = Prior(
    2.5,
    "the same, of intermediates with few values an example",
    "Samples show the ends of a range less where one image gives a few values, an average. No measurement.",
)
WHITE_NOISE_SAMPLE_GAP = Prior(
    1.25,
    "range on real inputs over that on uniform noise, of an operator without a range rule",
    "A few samples do not show the ends of a range. No measurement.",
)
MAX_STEEP_OVERSHOOT = Prior(
    4.0,
    "predicted over observed reach of a function that grows faster than its argument",
    "A SiLU is predicted to reach twice as far as synthetic images show, an exponential fifty times.",
)
MIN_SAMPLED_DEVIATION = Prior(
    1 / 3,
    "sampled deviation over that in closed form",
    "The closed form is 0.5 to 2.7 times the real deviation; synthetic images may leave every feature dead.",
)
LOW_CONTRAST = Prior(
    0.25,
    "deviation of every second drawn input of an opaque layer over the predicted deviation",
    "Moments are rather too large than too small, and a reciprocal of a norm must not be clipped. No measurement.",
)
MIN_POSITIVE_SAMPLE = Prior(
    0.5,
    "smallest drawn input of an opaque layer over the smallest sampled value, where all of them are positive",
    "What is positive on all synthetic images stays so. No measurement.",
)

# ---- when a sample is large enough to be believed --------------------------------------------------------------------

MIN_LOCATIONS = Prior(32, "spatial locations of all samples together, for moments", "None.")
MIN_LOCATIONS_FOR_RANGE = Prior(
    1024, "spatial locations of all samples together, for the observed range of a sum", "None."
)
MIN_LOCATIONS_FOR_FUNCTION_RANGE = Prior(
    256, "spatial locations of all samples together, for the observed range of an elementwise function", "None."
)
MIN_CHANNELS_FOR_SIGN = Prior(
    4,
    "channels that must all be non-negative on all samples for a tensor to be taken for non-negative",
    "Synthetic images look alike to a trained network, so that their number says little. No measurement.",
)
MIN_VALUES_FOR_GAP = Prior(1024, "values of one example, below which OPAQUE_SAMPLE_GAP_FEW_VALUES counts", "None.")

# ---- synthetic images, and what is assumed of real ones --------------------------------------------------------------

IMAGE_CHANNEL_CORRELATION = Prior(
    0.9,
    "correlation of an image's three channels",
    "Hyvarinen, Hurri and Hoyer, Natural Image Statistics, 2009, section 5.1.",
    maximum=1.0,
)
PIXEL_CORRELATION = Prior(
    0.95,
    "correlation of neighboring pixels",
    "Hyvarinen, Hurri and Hoyer, Natural Image Statistics, 2009, section 5.6.",
    maximum=1.0,
)
BRIGHTNESS_VARIANCE = Prior(
    0.2,
    "variance of the means of images over the variance within an image",
    "0.4 in CIFAR-10, with which files come out the same. What averages an image, inside a GroupNormalization, is"
    " clipped where samples know nothing of it.",
)
PIXEL_MEAN = Prior(0.45, "mean of pixels in [0, 1], where a Rescaling alone is known", "Near ImageNet's.")
INPUT_RANGE_SIGMAS = Prior(
    4.0,
    "width of an input's range in deviations, where the range alone is known",
    "The deviation of ImageNet's pixels is a 4.4th of their range. No measurement.",
)
FEATURE_SIGMAS = Prior(
    6.0,
    "deviations to either side of the mean that inputs reach which a Normalization describes, and no pixels",
    "None.",
)
MAX_CONVENTION_MISFIT = Prior(
    1.5, "misfit of an input convention to the first BatchNorm beyond which it explains nothing", "None."
)
MIN_CONVENTION_DEVIANCE = Prior(
    9.0, "by how much the runner-up's deviance, the sum of squared misfits, must be larger", "None."
)
FIRST_NORM_TRUST = Prior(
    0.1,
    "deviation of each equation for the input's mean, in deviations of the BatchNorm's output",
    "Running means state the input's mean within a tenth of a deviation. No measurement.",
)

# ---- how many deviations a distribution reaches ----------------------------------------------------------------------

NEAR_SIGMAS = Prior(
    4.0,
    "deviations within which a Gaussian of a channel's moments is believed",
    "Of a Gaussian's values 1 in 16 000 lies beyond. Functions are evaluated there and at FAR_SIGMAS, a divisor"
    " reaches so near to 0, observed ranges are not narrower, and channels that are seldomer positive (1 in 30 000)"
    " are taken for such: of those a Gaussian knows nothing.",
)
FAR_SIGMAS = Prior(
    8.0,
    "deviations within which all values lie; not the width of a tensor's range, which the search chooses",
    "Functions must be finite there, and between NEAR_SIGMAS and there the reach of a function is taken for a"
    " straight line. Tensors that the file does not materialize are given that range. No measurement.",
)
OBJECTNESS_SIGMAS = Prior(
    3.0,
    "deviations below 0 of the mean of a channel of scores that is seldom positive",
    "Class scores of locations lie at most 2.3 deviations below 0 in six networks, those of objects 4 to 10 in two.",
)
MET_BOUND_SIGMAS = Prior(2.0, "deviations from the mean within which a bound is often met", "None.")
LOWER_CLIPPING_SIGMAS = Prior(
    5.0, "deviations below the mean at which the lower end of an addend is clipped before a ReLU", "None."
)

# ---- tails -----------------------------------------------------------------------------------------------------------

COMMON_KURTOSIS = Prior(
    1.0,
    "excess kurtosis of a sum in a trained network whose contrast exponent is 1",
    "Where its deviation grows in proportion to the contrast of the image, its terms grow and shrink together. The"
    " median over a network's convolutions is 0.3 to 3 in ten networks, more in DS-CNN.",
)
POOLED_KURTOSIS = Prior(
    0.7,
    "excess kurtosis that averages over whole feature maps have besides that of the map",
    "Few images show what a feature stands for. Before the classifiers of twelve networks it was -0.4 to 4.4, where"
    " that of the tails of the maps was 0.4 to 1.6.",
)
NORMALIZED_KURTOSIS = Prior(
    0.25,
    "excess kurtosis of what is normalized location by location",
    "-0.6 to 0.1 after each LayerNormalization of three networks.",
)
ALIGNED_KURTOSIS = Prior(
    0.1,
    "excess kurtosis of an aligned output of a classifier head",
    "The alignment is a generous guess, which needs no heavy tail besides.",
)
UNANCHORED_KURTOSIS = Prior(
    0.2,
    "excess kurtosis for each linear primitive since a BatchNorm stated moments",
    "Propagated deviations are off by about an eighth at each; a Gaussian whose deviation is uncertain by a factor of"
    " e^d has an excess kurtosis of 3 (e^(4 d^2) - 1). Ten networks whose BatchNorms were folded, or that never had"
    " any, gained 0.5 dB on the average and 4 dB where they were worst, those that are best lost 1 to 2; others have"
    " no such tensors.",
)
MAX_UNANCHORED_DEPTH = Prior(10, "linear primitives for which UNANCHORED_KURTOSIS is added up", "None.")
TAIL_EXPONENT = Prior(
    0.7,
    "exponent of the stretched exponential of a tail",
    "Read off the BatchNorm outputs of six trained networks, between 4 and 12 deviations (a Gaussian's would be"
    " 10^-10 at 6, where theirs is 10^-2 to 10^-5).",
    held_fixed="set together with TAIL_STEEPNESS and TAIL_STEEPNESS_EXPONENT",
)
TAIL_STEEPNESS = Prior(
    3.5,
    "rate of the stretched exponential of a tail of excess kurtosis 1",
    "See TAIL_EXPONENT.",
    held_fixed="set together with TAIL_EXPONENT and TAIL_STEEPNESS_EXPONENT",
)
TAIL_STEEPNESS_EXPONENT = Prior(
    0.35,
    "power of the excess kurtosis with which that rate falls",
    "See TAIL_EXPONENT.",
    held_fixed="set together with TAIL_EXPONENT and TAIL_STEEPNESS",
)
RARE_TAIL_POWER = Prior(
    2e-5,
    "power of the second term of a tail, over the channel's variance",
    "Far too small to matter where a channel is often active, it keeps room for the channels that hardly ever fire"
    " and of which the moments say little.",
    held_fixed="set together with RARE_TAIL_SIGMAS",
)
RARE_TAIL_SIGMAS = Prior(
    8.0,
    "deviations over which the second term of a tail falls by a factor of e",
    "See RARE_TAIL_POWER.",
    held_fixed="set together with RARE_TAIL_POWER",
)

# ---- how moments pass a primitive ------------------------------------------------------------------------------------

CONTRAST_RETENTION = Prior(
    0.9,
    "share of the inputs' squared contrast exponent that passes a linear layer of one tap",
    "With both retentions six networks whose values lie in the bend of a SiLU or a hard swish, or that have no"
    " BatchNorm, gain 0.4 to 2.7 dB; of sixteen others one loses 1 dB and none of the rest more than 0.4.",
    held_fixed="set together with SPATIAL_CONTRAST_RETENTION",
    maximum=1.0,
)
SPATIAL_CONTRAST_RETENTION = Prior(
    0.4,
    "the same of a layer that sums over locations, which differ in contrast",
    "See CONTRAST_RETENTION.",
    held_fixed="set together with CONTRAST_RETENTION",
)
OPAQUE_CONTRAST_EXPONENT = Prior(
    0.5,
    "contrast exponent of an opaque layer without a kernel",
    "Between that of what normalizes, which takes contrast out (0), and of what does not (1).",
)
POOLED_VARIANCE_EXPONENT = Prior(
    -0.3,
    "power of the number of locations that is left of the variance of an average over them",
    "Averages over whole feature maps of 16 to 125 locations kept size^-0.23 to size^-0.36 of it in an EfficientNet,"
    " a MobileNetV2, a ResNet and a DS-CNN, size^-0.55 in another ResNet.",
)
MAX_POOL_INDEPENDENCE = Prior(
    0.5,
    "power of the number of locations that count as independent in a maximum over them",
    "Neighbors are correlated, as in averages.",
)
OPAQUE_COMMON_VARIANCE = Prior(
    0.5,
    "share of the variance that an image's locations have in common, in inputs drawn for an opaque layer",
    "An average over the locations keeps that share. No measurement.",
)
FEATURES_PER_LOGIT = Prior(
    32, "features for each logit beyond which more are taken to add nothing", "More than any of eleven classifiers has."
)
HIDDEN_ALIGNMENT = Prior(
    0.8,
    "power of the alignment that a hidden layer of a classifier head has",
    "0.4 to 0.9 in three classifiers. Of several in a row the later have less: networks that are trained to regress"
    " have next to none.",
)
MIN_HIDDEN_RANK = Prior(
    8, "directions in which a hidden layer of a classifier head varies at least", "Be there one logit to make or two."
)

# ---- how noise passes, and what it weighs ----------------------------------------------------------------------------

NOISE_CORRELATION = Prior(
    0.6,
    "correlation of the noise of neighboring locations once a convolution has mixed them",
    "With it the tensors of MobileNetV2, ResNet-20, ResNet-8 and DS-CNN are ranked by the noise that they pass on,"
    " injected by hand, with Spearman correlations of 0.6 to 0.9; independent noise ranks them with -0.2 to 0.99.",
)
CORRELATED_LOCATIONS = Prior(3, "locations in each direction that share correlated noise", "None.")
SUM_PRESERVING_NOISE = Prior(
    0.35,
    "share of a spatial kernel's weight noise that is left when its rounding errors sum to 0",
    "Neighbors are alike. No measurement.",
)
MIN_CLIPPING_GAIN = Prior(
    0.01,
    "noise gain of clipping, over the mean of the tensor's channels",
    "A channel that is dead after a ReLU has no gain; this keeps it from being clipped until it comes alive.",
)
MIN_LOWER_CLIPPING_PASSED = Prior(
    0.05, "share of the clipping of an addend's lower end that passes the ReLU", "Tails are heavier than a Gaussian's."
)
EQUAL_SCALE_NOISE = Prior(
    0.95,
    "predicted noise with equal scales over that without, at most",
    "Taken at 1, CSP blocks lost 0.4 dB, and no network gained.",
)

PRIORS: Mapping[str, Prior] = MappingProxyType(
    {name: value for name, value in tuple(globals().items()) if isinstance(value, Prior)}
)
"""All priors by name, in the order above."""
