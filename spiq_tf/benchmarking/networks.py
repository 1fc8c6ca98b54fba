"""The names of keras.applications: known without importing Keras."""

MEAN_SUBTRACTED = (-124.0, 152.0)  # Caffe's preprocessing
SIGNED = (-1.0, 1.0)
STANDARDIZED = (-2.2, 2.7)  # PyTorch's preprocessing
PIXELS = (0.0, 255.0)  # the network preprocesses by itself

_NAMES = {
    MEAN_SUBTRACTED: "VGG16 VGG19 ResNet50 ResNet101 ResNet152",
    SIGNED: "ResNet50V2 ResNet101V2 ResNet152V2 InceptionV3 InceptionResNetV2 Xception MobileNet MobileNetV2"
    " NASNetMobile NASNetLarge",
    STANDARDIZED: "DenseNet121 DenseNet169 DenseNet201",
    PIXELS: "MobileNetV3Small MobileNetV3Large EfficientNetB0 EfficientNetB1 EfficientNetB2 EfficientNetB3"
    " EfficientNetB4 EfficientNetB5 EfficientNetB6 EfficientNetB7 EfficientNetV2B0 EfficientNetV2B1 EfficientNetV2B2"
    " EfficientNetV2B3 EfficientNetV2S EfficientNetV2M EfficientNetV2L ConvNeXtTiny ConvNeXtSmall ConvNeXtBase"
    " ConvNeXtLarge ConvNeXtXLarge",
}
INPUT_RANGES = {name: values for values, names in _NAMES.items() for name in names.split()}
"""Smallest and largest input after preprocessing outside the network, by name."""

OPEN_SIDES = {"MobileNetV3Small": 224, "MobileNetV3Large": 224}
"""The usual side of the image, where Keras has no default."""

FAMILIES = (
    "MobileNet",
    "MobileNetV2",
    "MobileNetV3Small",
    "MobileNetV3Large",
    "EfficientNetB0",
    "EfficientNetV2B0",
    "NASNetMobile",
    "DenseNet121",
    "ResNet50",
    "ResNet50V2",
    "InceptionV3",
    "InceptionResNetV2",
    "Xception",
    "ConvNeXtTiny",
    "VGG16",
)
"""One network a family, the smallest."""
