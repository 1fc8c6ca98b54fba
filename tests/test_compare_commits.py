"""The comparison of two commits' files, on small files that are made by hand."""

import subprocess

import commit_files
import compare_commits
import flatbuffers
import networks_to_compare
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from convert_cases import PROCESS_DIED, Converted, read_record, write_record
from file_difference import difference


def tensor(name, buffer, shape, kind=schema.TensorType.INT8, scale=0.5, zero_point=3):
    made = schema.TensorT()
    made.name, made.buffer, made.shape, made.type = name, buffer, shape, kind
    made.quantization = schema.QuantizationParametersT()
    made.quantization.scale, made.quantization.zeroPoint = [scale], [zero_point]
    return made


def code(kind, version=1):
    made = schema.OperatorCodeT()
    made.builtinCode, made.deprecatedBuiltinCode, made.version = kind, min(kind, 127), version
    return made


def operator(opcode, inputs, outputs, options=None, options_type=0):
    made = schema.OperatorT()
    made.opcodeIndex, made.inputs, made.outputs = opcode, inputs, outputs
    made.builtinOptions, made.builtinOptionsType = options, options_type
    return made


def small_model():
    """A dense layer and a RELU6: input 0, weights 1, bias 2, dense output 3, output 4."""
    dense = schema.FullyConnectedOptionsT()
    graph = schema.SubGraphT()
    graph.tensors = [
        tensor(b"image", 0, [1, 2]),
        tensor(b"weights", 1, [3, 2]),
        tensor(b"bias", 2, [3], schema.TensorType.INT32),
        tensor(b"inside", 0, [1, 3]),
        tensor(b"scores", 0, [1, 3]),
    ]
    graph.inputs, graph.outputs = [0], [4]
    graph.operators = [
        operator(0, [0, 1, 2], [3], dense, schema.BuiltinOptions.FullyConnectedOptions),
        operator(1, [3], [4]),
    ]
    model = schema.ModelT()
    model.version, model.subgraphs = 3, [graph]
    model.operatorCodes = [code(schema.BuiltinOperator.FULLY_CONNECTED), code(schema.BuiltinOperator.RELU6)]
    model.buffers = [schema.BufferT() for _ in range(3)]
    model.buffers[1].data = np.arange(6, dtype=np.int8).view(np.uint8)
    model.buffers[2].data = np.array([10, -20, 30], np.int32).view(np.uint8)
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = b"serving_default", 0
    signature.inputs, signature.outputs = [named(b"image", 0)], [named(b"scores", 4)]
    model.signatureDefs = [signature]
    return model


def named(name, index):
    made = schema.TensorMapT()
    made.name, made.tensorIndex = name, index
    return made


def packed(model):
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def change_bias(model):
    model.buffers[2].data = np.array([10, -20, 31], np.int32).view(np.uint8)


def change_weight(model):
    model.buffers[1].data = np.array([0, 1, 2, 3, 4, 7], np.int8).view(np.uint8)


def change_scale(model):
    model.subgraphs[0].tensors[3].quantization.scale = [np.nextafter(np.float32(0.5), np.float32(1))]


def change_zero_point(model):
    model.subgraphs[0].tensors[4].quantization.zeroPoint = [4]


def change_dimension(model):
    model.subgraphs[0].tensors[1].quantization.quantizedDimension = 1


def change_option(model):
    model.subgraphs[0].operators[0].builtinOptions.fusedActivationFunction = schema.ActivationFunctionType.RELU


def change_version(model):
    model.operatorCodes[0].version = 4


def change_kind(model):
    model.operatorCodes[1] = code(schema.BuiltinOperator.RELU)


def change_type(model):
    model.subgraphs[0].tensors[4].type = schema.TensorType.UINT8


def change_shape(model):
    model.subgraphs[0].tensors[3].shape = [3, 1]


def change_output(model):
    model.subgraphs[0].outputs = [3]


def change_operand(model):
    model.subgraphs[0].operators[1].inputs = [0]


def change_signature(model):
    model.signatureDefs[0].outputs[0].name = b"classes"


def change_output_name(model):
    model.subgraphs[0].tensors[4].name = b"classes"


def leave_out_bias(model):
    model.subgraphs[0].operators[0].inputs = [0, 1, -1]


def leave_out_relu(model):
    model.subgraphs[0].operators.pop()
    model.subgraphs[0].outputs = [3]


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (change_bias, "operator 0 FULLY_CONNECTED: input 2: values: 1 of 3 values, by 1 at most"),
        (change_weight, "operator 0 FULLY_CONNECTED: input 1: values: 1 of 6 values, by 2 at most"),
        (change_scale, "operator 0 FULLY_CONNECTED: output 0: scale: 0.5, then 0.50000"),
        (change_zero_point, "operator 1 RELU6: output 0: zeroPoint: 3, then 4"),
        (change_dimension, "operator 0 FULLY_CONNECTED: input 1: quantizedDimension: 0, then 1"),
        (change_option, "operator 0 FULLY_CONNECTED: fusedActivationFunction: 0, then 1"),
        (change_version, "operator 0 FULLY_CONNECTED: version: 1, then 4"),
        (change_kind, "operators: 1 RELU6, then 1 RELU"),
        (change_type, "operator 1 RELU6: output 0: type: INT8, then UINT8"),
        (change_shape, "operator 0 FULLY_CONNECTED: output 0: shape:"),
        (change_output, "output 0: name"),
        (change_operand, "operator 1 RELU6: input 0: tensor: 3, then 0"),
        (change_signature, "signature outputs:"),
        (change_output_name, "output 0: name"),
        (leave_out_bias, "operator 0 FULLY_CONNECTED: input 2: tensor: 2, then none"),
        (leave_out_relu, "operators: 1 RELU6, then none"),
    ],
)
def test_what_a_file_computes_is_compared(change, place):
    model = small_model()
    before = packed(model)
    change(model)
    after = packed(model)
    assert difference(before, after).startswith(place)
    assert difference(after, before) is not None


def reorder_buffers(model):
    model.buffers = [model.buffers[0], model.buffers[2], model.buffers[1]]
    model.subgraphs[0].tensors[1].buffer, model.subgraphs[0].tensors[2].buffer = 2, 1


def reorder_tensors(model):
    """Each index k becomes 4 - k."""
    graph = model.subgraphs[0]
    graph.tensors.reverse()
    graph.inputs, graph.outputs = [4], [0]
    for each in graph.operators:
        each.inputs, each.outputs = [4 - k for k in each.inputs], [4 - k for k in each.outputs]
    for entry in (*model.signatureDefs[0].inputs, *model.signatureDefs[0].outputs):
        entry.tensorIndex = 4 - entry.tensorIndex


def reorder_operator_codes(model):
    model.operatorCodes.reverse()
    for each in model.subgraphs[0].operators:
        each.opcodeIndex = 1 - each.opcodeIndex


def rename_inside(model):
    model.subgraphs[0].tensors[3].name = b"otherwise"
    model.description = b"made otherwise"


def add_metadata(model):
    entry = schema.MetadataT()
    entry.name, entry.buffer = b"TFLITE_METADATA", len(model.buffers)
    model.metadata = [entry]
    model.buffers.append(schema.BufferT())
    model.buffers[-1].data = np.arange(9, dtype=np.uint8)


def add_unused_tensor(model):
    model.subgraphs[0].tensors.append(tensor(b"unused", 1, [3, 2]))


@pytest.mark.parametrize(
    "change",
    [reorder_buffers, reorder_tensors, reorder_operator_codes, rename_inside, add_metadata, add_unused_tensor],
)
def test_what_a_file_does_not_compute_is_not_compared(change):
    model = small_model()
    before = packed(model)
    change(model)
    after = packed(model)
    assert after != before
    assert difference(before, after) is None


def compare(tmp_path, capsys, before, after):
    """The exit code and the output for one case with these records before and after."""
    for side, converted in (("before", before), ("after", after)):
        write_record(tmp_path / side, "layer/dense", "portable", converted)
    exit_code = compare_commits.compare_records(
        tmp_path / "before", tmp_path / "after", ["layer/dense"], ["portable"], measure=False
    )
    return exit_code, capsys.readouterr().out


def test_equal_files_end_with_0(tmp_path, capsys):
    model = small_model()
    before = Converted(packed(model), None, "weights")
    add_metadata(model)
    exit_code, printed = compare(tmp_path, capsys, before, Converted(packed(model), None, "weights"))
    assert exit_code == 0
    assert "equal: 1 files" in printed


def test_a_difference_is_a_row_and_ends_with_1(tmp_path, capsys):
    model = small_model()
    before = Converted(packed(model), None, "weights")
    change_bias(model)
    exit_code, printed = compare(tmp_path, capsys, before, Converted(packed(model), None, "weights"))
    assert exit_code == 1
    assert "| layer/dense | portable | operator 0 FULLY_CONNECTED: input 2" in printed
    assert "1 of 1 files differ" in printed


@pytest.mark.parametrize("error", [None, "ValueError: another text"])
def test_an_error_is_a_result(tmp_path, capsys, error):
    content = packed(small_model()) if error is None else None
    refused = Converted(None, "ValueError: some text", "weights")
    assert compare(tmp_path, capsys, refused, Converted(content, error, "weights"))[0] == 1
    exit_code, printed = compare(tmp_path, capsys, refused, refused)
    assert exit_code == 0
    assert "refused with one error by both" in printed


def test_a_process_that_died_is_no_result(tmp_path, capsys):
    died = Converted(None, PROCESS_DIED, "")
    assert compare(tmp_path, capsys, died, died)[0] == 1


def test_files_of_other_float_models_are_not_called_equal(tmp_path, capsys):
    content = packed(small_model())
    exit_code, printed = compare(
        tmp_path, capsys, Converted(content, None, "weights"), Converted(content, None, "others")
    )
    assert exit_code == 1
    assert "other weights" in printed


def test_equal_files_are_stored_once(tmp_path):
    converted = Converted(packed(small_model()), None, "weights")
    for target in ("portable", "xnnpack"):
        write_record(tmp_path, "layer/dense", target, converted)
        assert read_record(tmp_path, "layer/dense", target) == converted
    assert len(list((tmp_path / "files").iterdir())) == 1
    assert read_record(tmp_path, "layer/dense", "edgetpu") is None


@pytest.fixture
def repository(tmp_path):
    """A repository with one commit of a package of one file."""
    path = tmp_path / "repository"
    (path / "spiq_tf").mkdir(parents=True)
    (path / "spiq_tf" / "__init__.py").write_text("LIMIT = 127\n")
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.com"]
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"]):
        subprocess.run(["git", "-C", path, *identity, *arguments], check=True)
    return path


def test_a_commits_package_is_extracted(repository, tmp_path):
    (repository / "spiq_tf" / "__init__.py").write_text("LIMIT = 126\n")
    source = commit_files.source_of(repository, "HEAD", tmp_path / "scratch")
    assert (source.path / "spiq_tf" / "__init__.py").read_text() == "LIMIT = 127\n"
    assert source.tree is not None


def test_a_checkout_with_changes_has_no_tree_to_be_cached_by(repository, tmp_path):
    committed = commit_files.source_of(repository, "HEAD", tmp_path / "scratch").tree
    assert commit_files.source_of(repository, None, tmp_path).tree == committed
    (repository / "spiq_tf" / "new.py").write_text("")
    assert commit_files.source_of(repository, None, tmp_path) == commit_files.Source(repository, None)


def test_an_unknown_commit_is_refused(repository, tmp_path):
    with pytest.raises(commit_files.RevisionError, match="no-such-commit"):
        commit_files.source_of(repository, "no-such-commit", tmp_path / "scratch")


def test_a_case_is_the_same_model_whatever_was_built_before():
    case = networks_to_compare.cases()["random/00"]
    first = [w.copy() for w in networks_to_compare.build_fresh(case).get_weights()]
    networks_to_compare.build_fresh(networks_to_compare.cases()["network/residual"])
    for one, other in zip(first, networks_to_compare.build_fresh(case).get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
