"""One small file for each operator of the table and each limit of what XNNPACK takes of it."""

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tests.delegate import Tensor, Use, constant

MAP = (1, 8, 8, 4)
FLOATS = "float32"
SAME, VALID = schema.Padding.SAME, schema.Padding.VALID
TINY = 1e-39
"""No normal float32."""
FUSED = vars(schema.ActivationFunctionType)


def data(dtype="int8", shape=MAP, **options):
    return Tensor(shape, dtype, **options)


def unary(kind, name="", dtypes=("int8", "int8"), shape=MAP, scales=(0.05, 0.05), zeros=(0, 0), **options):
    source, output = (
        Tensor(shape, dtype, scale, zero) for dtype, scale, zero in zip(dtypes, scales, zeros, strict=True)
    )
    return Use(kind=kind, operands=[source], outputs=[output], name=name or dtypes[0], **options)


def binary(kind, name="", dtypes=("int8",) * 3, shapes=(MAP,) * 3, scales=(0.05,) * 3, **options):
    first, second, output = (Tensor(*each) for each in zip(shapes, dtypes, scales, strict=True))
    return Use(kind=kind, operands=[first, second], outputs=[output], name=name or dtypes[0], **options)


FLOAT_FUNCTIONS = {
    **dict.fromkeys(("ABS", "CEIL", "COS", "EXP", "FLOOR", "LOG", "NEG", "RELU", "RELU6", "RELU_N1_TO_1", "ROUND")),
    **dict.fromkeys(("RSQRT", "SIN", "SQRT", "SQUARE")),
    "GELU": schema.GeluOptionsT(),
    "HARD_SWISH": schema.HardSwishOptionsT(),
}
WITHOUT_INT8 = ("CEIL", "COS", "FLOOR", "ROUND", "SIN", "SQUARE")
"""LiteRT's own kernels refuse int8 too."""
INT8_VERSIONS = {"ABS": 2, "EXP": 2, "LOG": 2, "GELU": 2, "RELU": 2, "RELU6": 2, "RSQRT": 2}


def leaky(alpha, name, dtype="int8", **options):
    table = schema.LeakyReluOptionsT(alpha=alpha)
    return unary("LEAKY_RELU", name, (dtype, dtype), options=table, version=2, **options)


def softmax(dtype, beta=1.0, **options):
    end = {"scales": (0.05, 2.0**-8), "zeros": (0, -128)} if dtype == "int8" else {}
    table = schema.SoftmaxOptionsT(beta=beta)
    return unary("SOFTMAX", f"{dtype}, beta {beta}", (dtype, dtype), options=table, **end, **options)


def prelu(dtype="int8", **options):
    slopes = constant(np.ones((1, 1, 4)), dtype)
    return Use(kind="PRELU", operands=[data(dtype), slopes], outputs=[data(dtype)], name=dtype, **options)


UNARY = [
    *(unary(kind, "float32", (FLOATS, FLOATS), options=table) for kind, table in FLOAT_FUNCTIONS.items()),
    *(
        unary(kind, zeros=(-128, -128), options=table, version=INT8_VERSIONS.get(kind, 1), taken=False)
        for kind, table in FLOAT_FUNCTIONS.items()
        if kind not in WITHOUT_INT8
    ),
    unary("RELU", "seven axes", (FLOATS, FLOATS), (1, 1, 1, 2, 2, 2, 2), taken=False),
    unary("RELU", "no axis", (FLOATS, FLOATS), ()),
    unary("RELU", "an empty axis", (FLOATS, FLOATS), (1, 0), taken=False),
    unary("RELU_0_TO_1", taken=False),
    unary("RELU_0_TO_1", "float32", (FLOATS, FLOATS), taken=False),
    unary("ELU"),
    unary("ELU", "float32", (FLOATS, FLOATS)),
    unary("ELU", "six axes", shape=(1, 1, 2, 2, 2, 2)),
    unary("ELU", "seven axes", shape=(1, 1, 1, 2, 2, 2, 2), taken=False),
    unary("LOGISTIC", scales=(0.05, 2.0**-8), zeros=(0, -128), version=2),
    unary("LOGISTIC", "uint8", ("uint8", "uint8"), scales=(0.05, 2.0**-8), zeros=(128, 0)),
    unary("LOGISTIC", "float32", (FLOATS, FLOATS)),
    unary("LOGISTIC", "int16", ("int16", "int16"), scales=(2.0**-12, 2.0**-15), version=3, taken=False),
    unary("TANH", scales=(0.05, 2.0**-7), version=2),
    unary("TANH", "float32", (FLOATS, FLOATS)),
    unary("LOG_SOFTMAX", scales=(0.05, 2.0**-4), zeros=(0, 127), options=schema.LogSoftmaxOptionsT(), taken=False),
    unary("LOG_SOFTMAX", "float32", (FLOATS, FLOATS), options=schema.LogSoftmaxOptionsT(), taken=False),
    unary("L2_NORMALIZATION", scales=(0.05, 2.0**-7), options=schema.L2NormOptionsT(), version=2, taken=False),
    softmax("int8", taken=False),
    softmax("float32"),
    softmax("float32", beta=2.0, taken=False),
    leaky(0.1, "int8"),
    leaky(0.1, "float32", FLOATS),
    leaky(0.0, "slope 0", taken=False),
    leaky(0.0, "slope 0 on floats", FLOATS, taken=False),
    leaky(2.0**-8, "the smallest slope"),
    leaky(2.0**-8 * 0.99, "a smaller slope", taken=False),
    leaky(0.5, "the largest scale", scales=(128.0, 1.0)),
    leaky(0.5, "a larger scale", scales=(129.0, 1.0), taken=False),
    leaky(2.0, "the smallest scale", scales=(2.0**-8, 1.0)),
    leaky(2.0, "a smaller scale", scales=(2.0**-8 * 0.99, 1.0), taken=False),
    leaky(-100.0, "a steep negative slope"),
    leaky(-128.0, "a steeper one", taken=False),
    leaky(128.0, "a steep slope"),
    leaky(129.0, "a steeper slope", taken=False),
    prelu(taken=False),
    prelu(FLOATS),
    binary("PRELU", "computed slopes", (FLOATS,) * 3, (MAP, (1, 1, 4), MAP), taken=False),
]
CONVERSIONS = [
    unary("QUANTIZE", "int8 to int8", scales=(0.05, 0.07)),
    unary("QUANTIZE", "the largest scale", scales=(128.0, 1.0)),
    unary("QUANTIZE", "a larger scale", scales=(129.0, 1.0), taken=False),
    unary("QUANTIZE", "the smallest scale", scales=(2.0**-8, 1.0)),
    unary("QUANTIZE", "a smaller scale", scales=(2.0**-8 * 0.99, 1.0), taken=False),
    unary("QUANTIZE", "float32 to int8", (FLOATS, "int8"), scales=(None, 1000.0)),
    unary("QUANTIZE", "float32 to uint8", (FLOATS, "uint8"), zeros=(0, 128)),
    unary("QUANTIZE", "uint8 to int8", ("uint8", "int8"), zeros=(128, 0), taken=False),
    unary("QUANTIZE", "int8 to uint8", ("int8", "uint8"), zeros=(0, 128), taken=False),
    unary("QUANTIZE", "int16 to int8", ("int16", "int8"), taken=False),
    unary("DEQUANTIZE", "int8", ("int8", FLOATS), version=2),
    unary("DEQUANTIZE", "uint8", ("uint8", FLOATS), zeros=(128, 0)),
    unary("DEQUANTIZE", "int16", ("int16", FLOATS), version=3, taken=False),
    unary("CAST", dtypes=("int8", FLOATS), options=schema.CastOptionsT(inDataType=9, outDataType=0), taken=False),
    unary("SHAPE", dtypes=("int8", "int32"), shape=(4,), options=schema.ShapeOptionsT(outType=2), taken=False),
    unary("ZEROS_LIKE", "float32", (FLOATS, FLOATS), options=schema.ZerosLikeOptionsT(), taken=False),
    Use(
        kind="FILL",
        operands=[constant([2, 3]), Tensor((), FLOATS)],
        outputs=[Tensor((2, 3), FLOATS)],
        options=schema.FillOptionsT(),
        taken=False,
    ),
    Use(
        kind="BROADCAST_ARGS",
        operands=[Tensor((2,), "int32", None), Tensor((2,), "int32", None)],
        outputs=[Tensor((2,), "int32", None)],
        taken=False,
    ),
]

_BROADCAST = (MAP, (4,), MAP)
COMPARISONS = ("EQUAL", "GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL", "NOT_EQUAL")


def add(name="", kind="ADD", fused="NONE", dtypes=("int8",) * 3, **options):
    table = {"ADD": schema.AddOptionsT, "SUB": schema.SubOptionsT, "MUL": schema.MulOptionsT, "DIV": schema.DivOptionsT}
    return binary(kind, name, dtypes, options=table[kind](fusedActivationFunction=FUSED[fused]), version=2, **options)


BINARY = [
    *(
        add(name, kind, **how)
        for kind in ("ADD", "SUB")
        for name, how in {
            "int8": {},
            "float32": {"dtypes": (FLOATS,) * 3},
            "broadcast": {"shapes": _BROADCAST},
            "RELU": {"fused": "RELU"},
            "RELU6": {"fused": "RELU6"},
            "RELU_N1_TO_1": {"fused": "RELU_N1_TO_1"},
            "TANH": {"fused": "TANH", "taken": False},
            "the smallest scale": {"scales": (0.05, 2.0**-10, 1.0)},
            "a smaller scale": {"scales": (0.05, 2.0**-10 * 0.99, 1.0), "taken": False},
            "a smaller first scale": {"scales": (2.0**-10 * 0.99, 0.05, 1.0), "taken": False},
            "a large scale": {"scales": (255.9, 0.05, 1.0)},
            "a larger scale": {"scales": (256.0, 0.05, 1.0), "taken": False},
            "int16": {"dtypes": ("int16",) * 3, "scales": (2.0**-12,) * 3, "taken": False},
        }.items()
    ),
    add("int8", "MUL"),
    add("float32", "MUL", dtypes=(FLOATS,) * 3),
    add("broadcast", "MUL", shapes=_BROADCAST),
    add("RELU6", "MUL", fused="RELU6"),
    add("TANH", "MUL", fused="TANH", taken=False),
    add("the smallest scale", "MUL", scales=(2.0**-8, 2.0**-8, 1.0)),
    add("a smaller scale", "MUL", scales=(2.0**-8, 2.0**-8 * 0.99, 1.0), taken=False),
    add("a large scale", "MUL", scales=(15.99, 16.0, 1.0)),
    add("a larger scale", "MUL", scales=(16.0, 16.0, 1.0), taken=False),
    add("float32", "DIV", dtypes=(FLOATS,) * 3),
    add("a fused TANH", "DIV", dtypes=(FLOATS,) * 3, fused="TANH", taken=False),
    *(binary(kind, taken=False, version=2) for kind in ("MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE")),
    *(binary(kind, dtypes=(FLOATS,) * 3) for kind in ("MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE")),
    *(binary(kind, "float32", (FLOATS,) * 3, taken=False) for kind in ("POW", "FLOOR_DIV", "FLOOR_MOD")),
    binary("ADD_N", "float32", (FLOATS,) * 3, options=schema.AddNOptionsT(), taken=False),
    *(binary(kind, dtypes=("int8", "int8", "bool"), version=2, taken=False) for kind in COMPARISONS),
    *(binary(kind, dtypes=("bool",) * 3, scales=(None,) * 3, taken=False) for kind in ("LOGICAL_AND", "LOGICAL_OR")),
    unary("LOGICAL_NOT", dtypes=("bool", "bool"), scales=(None, None), taken=False),
    *(
        Use(kind=kind, operands=[Tensor(MAP, "bool", None), data(), data()], outputs=[data()], version=v, taken=False)
        for kind, v in (("SELECT", 2), ("SELECT_V2", 1))
    ),
]


def pool(name, kind="MAX_POOL_2D", dtype="int8", window=(2, 2), strides=(2, 2), padding=SAME, fused="NONE", **options):
    table = schema.Pool2DOptionsT(
        padding=padding,
        strideH=strides[0],
        strideW=strides[1],
        filterHeight=window[0],
        filterWidth=window[1],
        fusedActivationFunction=FUSED[fused],
    )
    sizes = [-(-8 // s) if padding == SAME else (8 - w) // s + 1 for w, s in zip(window, strides, strict=True)]
    return Use(
        kind=kind,
        operands=[data(dtype)],
        outputs=[data(dtype, (1, *sizes, 4))],
        options=table,
        version=2 if dtype == "int8" else 1,
        name=name,
        **options,
    )


def reduction(kind, name="", dtype="int8", axes=(1, 2), axis_tensor=None, **options):
    operand = constant(list(axes)) if axis_tensor is None else axis_tensor
    table = schema.ReducerOptionsT(keepDims=False)
    output = data(dtype, (1, 4))
    return Use(
        kind=kind, operands=[data(dtype), operand], outputs=[output], options=table, version=2, name=name, **options
    )


REDUCTIONS = ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN")
POOLS = [
    pool("SAME"),
    pool("VALID", padding=VALID),
    pool("float32", dtype=FLOATS),
    pool("overlapping", window=(3, 3), strides=(1, 1)),
    pool("RELU6", fused="RELU6"),
    pool("a fused TANH", fused="TANH", taken=False),
    pool("window of one", window=(1, 1), strides=(1, 1), fused="RELU"),
    pool("subsampling", window=(1, 1), taken=False),
    pool("a gap in one axis", window=(1, 2), strides=(2, 2), taken=False),
    pool("gaps", strides=(3, 3), taken=False),
    pool("int8", "AVERAGE_POOL_2D", taken=False),
    pool("float32", "AVERAGE_POOL_2D", FLOATS),
    pool("gaps, float32", "AVERAGE_POOL_2D", FLOATS, strides=(3, 3), taken=False),
    pool("a fused TANH", "AVERAGE_POOL_2D", FLOATS, fused="TANH", taken=False),
    pool("float32", "L2_POOL_2D", FLOATS, taken=False),
    *(reduction(kind, dtype, dtype) for kind in REDUCTIONS for dtype in ("int8", FLOATS)),
    *(reduction(kind, "negative axes", axes=(-3, -2)) for kind in REDUCTIONS),
    *(reduction(kind, "no axes", axis_tensor=constant([]), taken=False) for kind in REDUCTIONS),
    *(
        reduction(kind, "computed axes", axis_tensor=Tensor((2,), "int32", None), taken=False)
        for kind in ("MEAN", "REDUCE_MAX")
    ),
    *(
        Use(
            kind=kind,
            operands=[data(), constant(3)],
            outputs=[Tensor(MAP[:3], "int32", None)],
            options=table(outputType=schema.TensorType.INT32),
            version=2,
            taken=False,
        )
        for kind, table in (("ARG_MAX", schema.ArgMaxOptionsT), ("ARG_MIN", schema.ArgMinOptionsT))
    ),
    Use(
        kind="CUMSUM",
        operands=[data(FLOATS), constant(3)],
        outputs=[data(FLOATS)],
        options=schema.CumsumOptionsT(),
        taken=False,
    ),
]


def move(kind, name="", out=MAP, *more, dtype="int8", shape=MAP, options=None, version=1, output=None, **rest):
    """An operator of one tensor and constants."""
    return Use(
        kind=kind,
        operands=[data(dtype, shape), *more],
        outputs=[output or data(dtype, out)],
        options=options,
        version=version,
        name=name or dtype,
        **rest,
    )


def join(count, axis=3, dtype="int8", shape=MAP, **options):
    whole = list(shape)
    whole[axis] *= count
    table = schema.ConcatenationOptionsT(axis=axis)
    return Use(
        kind="CONCATENATION",
        operands=[data(dtype, shape) for _ in range(count)],
        outputs=[data(dtype, tuple(whole))],
        options=table,
        version=2 if dtype == "int8" else 1,
        name=f"{count} of {dtype} along {axis}",
        **options,
    )


def reshape(name, sizes, out, operand=None, **options):
    table = schema.ReshapeOptionsT(newShape=list(sizes))
    more = [] if operand is None else [operand]
    return move("RESHAPE", name, out, *more, options=table, **options)


def split(parts, dtype="int8", axis=3, **options):
    outputs = [data(dtype, (1, 8, 8, 12 // parts)) for _ in range(parts)]
    table = schema.SplitOptionsT(numSplits=parts)
    return Use(
        kind="SPLIT",
        operands=[constant(axis), data(dtype, (1, 8, 8, 12))],
        outputs=outputs,
        options=table,
        version=2 if dtype == "int8" else 1,
        name=f"{parts} of {dtype}",
        **options,
    )


def strided(name, strides=(1, 1, 1, 1), out=(1, 4, 8, 4), bounds=None, dtype="int8", begin=(0, 2, 0, 0), **options):
    table = schema.StridedSliceOptionsT(**options.pop("masks", {}))
    operands = [constant(list(begin)), constant(list(bounds or (1, 6, 8, 4))), constant(list(strides))]
    return move("STRIDED_SLICE", name, out, *operands, dtype=dtype, options=table, version=2, **options)


COMPUTED = Tensor((2,), "int32", None)
PADS = [[0, 0], [1, 2], [1, 1], [0, 0]]
MOVEMENTS = [
    join(2),
    join(5),
    join(6, taken=False),
    join(1, taken=False),
    join(3, axis=-1),
    join(5, dtype=FLOATS),
    join(6, dtype=FLOATS, taken=False),
    join(2, axis=2, shape=(1, 1, 2, 2, 2, 2)),
    move("PAD", "int8", (1, 11, 10, 4), constant(PADS), options=schema.PadOptionsT()),
    move("PAD", "float32", (1, 11, 10, 4), constant(PADS), dtype=FLOATS, options=schema.PadOptionsT()),
    move("PAD", "int64", (1, 11, 10, 4), constant(PADS, "int64"), options=schema.PadOptionsT(), taken=False, version=2),
    move("PAD", "computed", (1, 11, 10, 4), Tensor((4, 2), "int32", None), options=schema.PadOptionsT(), taken=False),
    move("PADV2", "", (1, 11, 10, 4), constant(PADS), constant(0, "int8"), options=schema.PadV2OptionsT(), taken=False),
    move("MIRROR_PAD", "", (1, 11, 10, 4), constant(PADS), options=schema.MirrorPadOptionsT(), taken=False),
    reshape("from the operand", (1, 256), (1, 256), constant([1, 256])),
    reshape("from the options", (1, 256), (1, 256)),
    reshape("float32", (1, 256), (1, 256), constant([1, 256]), dtype=FLOATS),
    reshape("one size open", (1, -1), (1, 256), constant([1, -1])),
    reshape("to one axis", (256,), (256,), constant([256])),
    reshape("to one axis of open size", (-1,), (256,), constant([-1]), taken=False),
    reshape("to one axis of open size, from the options", (-1,), (256,), taken=False),
    reshape("shape of two axes", (1, 256), (1, 256), constant([[1, 256]])),
    reshape("six axes", (1, 2, 4, 8, 2, 2), (1, 2, 4, 8, 2, 2), constant([1, 2, 4, 8, 2, 2])),
    reshape(
        "to seven axes", (1, 2, 4, 8, 2, 2, 1), (1, 2, 4, 8, 2, 2, 1), constant([1, 2, 4, 8, 2, 2, 1]), taken=False
    ),
    reshape("from seven axes", (1, 4), (1, 4), constant([1, 4]), shape=(1, 1, 1, 1, 1, 2, 2), taken=False),
    reshape("no axis", (), (), constant([]), shape=(1,)),
    reshape("computed", (1, 256), (1, 256), COMPUTED, taken=False),
    reshape("scale", (1, 256), (1, 256), constant([1, 256]), output=Tensor((1, 256), scale=0.06), taken=False),
    reshape("zero point", (1, 256), (1, 256), constant([1, 256]), output=Tensor((1, 256), zero_point=1), taken=False),
    reshape("int32", (1, 256), (1, 256), constant([1, 256]), dtype="int32", taken=False),
    *(
        move(kind, dtype, (1, 16, 16, 4), constant([16, 16]), dtype=dtype, options=table, version=v, taken=taken)
        for kind, table, dtype, v, taken in (
            ("RESIZE_BILINEAR", schema.ResizeBilinearOptionsT(), "int8", 2, True),
            ("RESIZE_BILINEAR", schema.ResizeBilinearOptionsT(alignCorners=True), FLOATS, 1, True),
            ("RESIZE_NEAREST_NEIGHBOR", schema.ResizeNearestNeighborOptionsT(), "int8", 2, False),
            ("RESIZE_NEAREST_NEIGHBOR", schema.ResizeNearestNeighborOptionsT(), FLOATS, 1, False),
        )
    ),
    move("RESIZE_BILINEAR", "computed", MAP, COMPUTED, options=schema.ResizeBilinearOptionsT(), taken=False, version=2),
    move("SLICE", "int8", (1, 4, 8, 4), constant([0, 2, 0, 0]), constant([1, 4, 8, 4]), version=2),
    move("SLICE", "int64", (1, 4, 8, 4), constant([0, 2, 0, 0], "int64"), constant([1, 4, 8, 4], "int64"), version=2),
    move("SLICE", "float32", (1, 4, 8, 4), constant([0, 2, 0, 0]), constant([1, 4, 8, 4]), dtype=FLOATS),
    move("SLICE", "to the end", (1, 6, 8, 4), constant([0, 2, 0, 0]), constant([1, -1, 8, 4]), version=2, taken=False),
    move("SLICE", "computed", (1, 4, 8, 4), Tensor((4,), "int32", None), constant([1, 4, 8, 4]), taken=False),
    split(2),
    split(4),
    split(6, taken=False),
    split(4, FLOATS),
    Use(
        kind="SPLIT_V",
        operands=[data(), constant([2, 6]), constant(2)],
        outputs=[data(shape=(1, 8, 2, 4)), data(shape=(1, 8, 6, 4))],
        options=schema.SplitVOptionsT(numSplits=2),
        version=2,
        taken=False,
    ),
    strided("int8"),
    strided("float32", dtype=FLOATS),
    strided("masks", masks={"beginMask": 1, "endMask": 12}),
    strided("a stride", (1, 2, 1, 1), (1, 2, 8, 4), taken=False),
    strided("an axis goes", masks={"shrinkAxisMask": 1}, out=(4, 8, 4), taken=False),
    strided("an axis comes", masks={"newAxisMask": 1}, out=(1, 1, 4, 8, 4), begin=(0, 0, 2, 0), taken=False),
    strided("an ellipsis", masks={"ellipsisMask": 1}, out=(1, 8, 8, 4), taken=False),
    strided("fewer axes", (1, 1), (1, 4, 8, 4), (1, 6), begin=(0, 2), taken=False),
    move("TRANSPOSE", "int8", (1, 4, 8, 8), constant([0, 3, 1, 2]), options=schema.TransposeOptionsT(), version=2),
    move(
        "TRANSPOSE", "float32", (1, 4, 8, 8), constant([0, 3, 1, 2]), dtype=FLOATS, options=schema.TransposeOptionsT()
    ),
    move("TRANSPOSE", "six axes", (1,) * 5 + (2,), constant([5, 0, 1, 2, 3, 4]), shape=(1, 1, 1, 1, 2, 1), version=6),
    move("TRANSPOSE", "computed", MAP, Tensor((4,), "int32", None), version=2, taken=False),
    move("DEPTH_TO_SPACE", "int8", (1, 16, 16, 1), options=schema.DepthToSpaceOptionsT(blockSize=2), version=2),
    move("DEPTH_TO_SPACE", "float32", (1, 16, 16, 1), dtype=FLOATS, options=schema.DepthToSpaceOptionsT(blockSize=2)),
    move("DEPTH_TO_SPACE", "block 1", options=schema.DepthToSpaceOptionsT(blockSize=1), version=2, taken=False),
    move("SPACE_TO_DEPTH", "int8", (1, 4, 4, 16), options=schema.SpaceToDepthOptionsT(blockSize=2), version=2),
    move("SPACE_TO_DEPTH", "float32", (1, 4, 4, 16), dtype=FLOATS, options=schema.SpaceToDepthOptionsT(blockSize=2)),
    move("SPACE_TO_DEPTH", "block 1", options=schema.SpaceToDepthOptionsT(blockSize=1), version=2, taken=False),
    move("EXPAND_DIMS", "", (1, 1, 8, 8, 4), constant(1), options=schema.ExpandDimsOptionsT(), taken=False),
    move("SQUEEZE", "", (8, 8, 4), options=schema.SqueezeOptionsT(squeezeDims=[0]), taken=False),
    move("GATHER", "", (1, 8, 8, 2), constant([2, 0]), options=schema.GatherOptionsT(axis=3), version=2, taken=False),
    move("GATHER_ND", "", (2, 8, 4), constant([[0, 1], [0, 3]]), options=schema.GatherNdOptionsT(), taken=False),
    move("REVERSE_V2", "", MAP, constant([1]), options=schema.ReverseV2OptionsT(), version=3, taken=False),
    move("TILE", "", (1, 16, 8, 4), constant([1, 2, 1, 1]), options=schema.TileOptionsT(), version=3, taken=False),
    move("BROADCAST_TO", "", (2, 8, 8, 4), constant([2, 8, 8, 4]), version=3, taken=False),
    Use(
        kind="PACK",
        operands=[data(), data()],
        outputs=[data(shape=(2, *MAP))],
        options=schema.PackOptionsT(valuesCount=2),
        version=2,
        taken=False,
    ),
    Use(
        kind="UNPACK",
        operands=[data(shape=(2, 8, 4))],
        outputs=[data(shape=(8, 4))] * 2,
        options=schema.UnpackOptionsT(num=2),
        version=2,
        taken=False,
    ),
    move(
        "SPACE_TO_BATCH_ND",
        "",
        (4, 4, 4, 4),
        constant([2, 2]),
        constant([[0, 0], [0, 0]]),
        options=schema.SpaceToBatchNDOptionsT(),
        version=2,
        taken=False,
    ),
    move(
        "BATCH_TO_SPACE_ND",
        "",
        (1, 16, 16, 4),
        constant([2, 2]),
        constant([[0, 0], [0, 0]]),
        shape=(4, 8, 8, 4),
        options=schema.BatchToSpaceNDOptionsT(),
        version=2,
        taken=False,
    ),
]


def weights(shape, dtype="int8", scale=0.01, **options):
    """Ones, in bytes where they are smaller."""
    stored = np.ones(shape, np.float32 if dtype == FLOATS else np.int8)
    if dtype == "int4":
        stored = stored.reshape(-1)[::2]
    return Tensor(shape, dtype, scale, value=stored, **options)


def bias(size, dtype="int8", scale=0.01 * 0.05, **options):
    kind = FLOATS if dtype == FLOATS else "int32"
    return Tensor((size,), kind, scale, value=np.zeros(size, kind), **options)


PER_CHANNEL = (0.01, 0.02, 0.03, 0.04)
BIAS_SCALES = tuple(0.05 * s for s in PER_CHANNEL)


def convolution(name, kind="CONV_2D", dtype="int8", kernel=None, added=None, fused="NONE", multiplier=1, **options):
    depthwise = kind == "DEPTHWISE_CONV_2D"
    table = schema.DepthwiseConv2DOptionsT(depthMultiplier=multiplier) if depthwise else schema.Conv2DOptionsT()
    table.strideH = table.strideW = options.pop("stride", 1)
    table.fusedActivationFunction = FUSED[fused]
    own = weights((1, 3, 3, 4) if depthwise else (4, 3, 3, 4), dtype)
    size = 8 // table.strideH
    return Use(
        kind=kind,
        operands=[data(dtype), kernel or own, added or bias(4, dtype)],
        outputs=[data(dtype, (1, size, size, 4))],
        options=table,
        version=3 if dtype == "int8" else 1,
        name=name,
        **options,
    )


def both_convolutions():
    for kind, shape, axis in (("CONV_2D", (4, 3, 3, 4), 0), ("DEPTHWISE_CONV_2D", (1, 3, 3, 4), 3)):
        dead = (*PER_CHANNEL[:3], TINY)
        yield convolution("int8", kind)
        yield convolution("float32", kind, FLOATS)
        yield convolution("stride 2", kind, stride=2)
        yield convolution(
            "a scale for each channel",
            kind,
            kernel=weights(shape, scale=PER_CHANNEL, axis=axis),
            added=bias(4, scale=BIAS_SCALES),
        )
        yield convolution("RELU6", kind, fused="RELU6")
        yield convolution("a fused TANH", kind, fused="TANH", taken=False)
        yield convolution("computed weights", kind, kernel=Tensor(shape, scale=0.01), taken=False)
        yield convolution("computed bias", kind, added=Tensor((4,), "int32", 0.01 * 0.05), taken=False)
        yield convolution("bias without scale", kind, added=bias(4, scale=None), taken=False)
        yield convolution("a tiny scale of the bias", kind, added=bias(4, scale=TINY), taken=False)
        yield convolution(
            "a tiny scale of the weights", kind, kernel=weights(shape, scale=dead, axis=axis), taken=False
        )


def dense(name, dtype="int8", kernel=None, added=None, fused="NONE", shape=(1, 8), **options):
    table = schema.FullyConnectedOptionsT(fusedActivationFunction=FUSED[fused], keepNumDims=len(shape) > 2)
    return Use(
        kind="FULLY_CONNECTED",
        operands=[
            data(dtype, shape),
            kernel or weights((4, shape[-1]), dtype),
            *([bias(4, dtype)] if added is None else added),
        ],
        outputs=[data(dtype, (*shape[:-1], 4))],
        options=table,
        version=options.pop("version", 4 if dtype == "int8" else 1),
        name=name,
        **options,
    )


def transposed(name, dtype="int8", window=2, stride=2, padding=SAME, kernel=None, added=(), fused="NONE", **options):
    size = 4 * stride if padding == SAME else 3 * stride + window
    table = schema.TransposeConvOptionsT(
        strideH=stride, strideW=stride, padding=padding, fusedActivationFunction=FUSED[fused]
    )
    shape = options.pop("shape", None) or constant([1, size, size, 4])
    return Use(
        kind="TRANSPOSE_CONV",
        operands=[shape, kernel or weights((4, window, window, 3), dtype), data(dtype, (1, 4, 4, 3)), *added],
        outputs=[data(dtype, (1, size, size, 4))],
        options=table,
        version=3 if added else 2,
        name=name,
        **options,
    )


def matmul(name, first=(1, 4, 5), second=(1, 5, 6), out=(1, 4, 6), dtype="int8", other=None, **options):
    table = schema.BatchMatMulOptionsT(adjX=options.pop("left", False), adjY=options.pop("right", False))
    return Use(
        kind="BATCH_MATMUL",
        operands=[data(dtype, first), other or data(dtype, second)],
        outputs=[data(dtype, out, scale=1.0)],
        options=table,
        version=2 if dtype == "int8" else 1,
        name=name,
        **options,
    )


LINEAR = [
    *both_convolutions(),
    convolution("groups", kernel=weights((4, 3, 3, 2))),
    convolution("int8 weights of floats", dtype=FLOATS, kernel=weights((4, 3, 3, 4))),
    convolution("int8 weights of floats", "DEPTHWISE_CONV_2D", FLOATS, kernel=weights((1, 3, 3, 4)), taken=False),
    convolution("scales along the inputs", kernel=weights((4, 3, 3, 4), scale=PER_CHANNEL, axis=3), taken=False),
    convolution(
        "asymmetric weights of a channel",
        "DEPTHWISE_CONV_2D",
        kernel=weights((1, 3, 3, 4), scale=PER_CHANNEL, axis=3, zero_point=3),
        taken=False,
    ),
    convolution("an odd multiplier", "DEPTHWISE_CONV_2D", multiplier=3, taken=False),
    dense("int8"),
    dense("float32", FLOATS),
    dense("a scale for each channel", kernel=weights((4, 8), scale=PER_CHANNEL), added=[bias(4, scale=BIAS_SCALES)]),
    dense("no bias", added=[], version=6),
    dense("bias left out", added=[None], version=6),
    dense("RELU", fused="RELU"),
    dense("a map", shape=MAP, version=5),
    dense("int4", kernel=weights((4, 8), "int4"), version=10),
    dense("int4, odd", kernel=weights((4, 7), "int4"), shape=(1, 7), version=10, taken=False),
    dense("int8 weights of floats", FLOATS, weights((4, 8)), version=3),
    dense("weights of floats without scale", FLOATS, weights((4, 8), scale=None), version=3, taken=False),
    dense("asymmetric weights", kernel=weights((4, 8), zero_point=3), taken=False),
    dense("computed weights", kernel=Tensor((4, 8), scale=0.01), taken=False),
    dense("computed weights of floats", FLOATS, Tensor((4, 8), FLOATS), taken=False),
    dense("computed bias", added=[Tensor((4,), "int32", 0.01 * 0.05)], taken=False),
    dense("a tiny scale of the bias", added=[bias(4, scale=TINY)], taken=False),
    transposed("int8"),
    transposed("float32", FLOATS),
    transposed("int8 weights of floats", FLOATS, kernel=weights((4, 2, 2, 3))),
    transposed("bias", added=[bias(4)]),
    transposed("bias left out", added=[None]),
    transposed("a tiny scale of the bias", added=[bias(4, scale=TINY)], taken=False),
    transposed("VALID", window=3, padding=VALID),
    transposed("a gap, VALID", window=1, padding=VALID),
    transposed("a gap", window=1, taken=False),
    transposed("computed weights", kernel=Tensor((4, 2, 2, 3), scale=0.01), taken=False),
    transposed("a tiny scale of the weights", kernel=weights((4, 2, 2, 3), scale=TINY), taken=False),
    transposed("a fused TANH", added=[bias(4)], fused="TANH", taken=False),
    matmul("int8"),
    matmul("float32", dtype=FLOATS),
    matmul("matrices", (4, 5), (5, 6), (4, 6)),
    matmul("broadcast", (3, 1, 4, 5), (1, 2, 5, 6), (3, 2, 4, 6)),
    matmul("fewer axes", (3, 4, 5), (5, 6), (3, 4, 6)),
    matmul("transposed", (1, 5, 4), (1, 6, 5), left=True, right=True),
    matmul("constant", other=weights((1, 5, 6))),
    matmul("asymmetric", other=Tensor((1, 5, 6), zero_point=3), taken=False),
    matmul("a scale for each column", other=weights((1, 5, 6), scale=(0.01,) * 6, axis=2), taken=False),
    matmul("int8 beside floats", dtype=FLOATS, other=weights((1, 5, 6))),
]

USES = [*UNARY, *CONVERSIONS, *BINARY, *POOLS, *MOVEMENTS, *LINEAR]
