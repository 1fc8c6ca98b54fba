"""`spiq-tf benchmark`: what it takes, the files it makes, what LiteRT runs of them, and the tables. Never how fast."""

import dataclasses
import json
import math
import os
import pickle
import signal
import time

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from keras import layers

import spiq_tf
from spiq_tf.benchmarking import files, networks, random_network
from spiq_tf.benchmarking.document import document
from spiq_tf.benchmarking.executed_parts import ExecutedParts, executed_kinds, executed_parts
from spiq_tf.benchmarking.files import Failure, NetworkFiles, files_of, float_file, stated_range, tensorflow_int8_file
from spiq_tf.benchmarking.litert_internals import RuntimeOperator
from spiq_tf.benchmarking.measuring import speeds_of
from spiq_tf.benchmarking.runnable import random_input
from spiq_tf.benchmarking.speed import FLOAT, KINDS, OURS, TENSORFLOW, FileSpeed, NetworkSpeed, Settings
from spiq_tf.benchmarking.table import Table, as_markdown, significant, tables
from spiq_tf.benchmarking.timing import RUNS_IN_A_TURN, best_in_turns, clock_for
from spiq_tf.commands import machine, worker_pool
from spiq_tf.commands.benchmark_one import Job, benchmark_job
from spiq_tf.commands.main import main
from spiq_tf.commands.worker_process import WorkerFailure
from spiq_tf.tflite.flatbuffer import FlatModel
from spiq_tf.tflite.interpreter import Interpreter
from tests.flat import RELU, FileBuilder

pytestmark = pytest.mark.fast

SETTINGS = Settings(input_range=(-1.0, 1.0), target="portable", rounds=1, threads=(1, 2))


@pytest.fixture
def run(capsys):
    """The command in this process: its exit code, and what it prints."""

    def run_command(*arguments):
        capsys.readouterr()
        code = main(["benchmark", *map(str, arguments)])
        return code, *capsys.readouterr()

    return run_command


@pytest.fixture
def jobs(monkeypatch):
    """The jobs that are done, in this process: a worker would first import TensorFlow."""
    done = []

    def run_jobs(function, waiting, **options):
        assert (options["workers"], options["memory"]) == (1, 0), "one after the other, each in a fresh process"
        for job in waiting:
            done.append(job)
            yield job, function(pickle.loads(pickle.dumps(job)))

    monkeypatch.setattr(worker_pool, "run", run_jobs)
    return done


@pytest.fixture
def results(monkeypatch):
    """What the jobs result in, by name, in place of a measurement; all jobs are kept."""
    known, kept = {}, []

    def run_jobs(function, waiting, **options):
        for job in waiting:
            kept.append(job)
            yield job, known.get(job.name, speed(job.name))

    monkeypatch.setattr(worker_pool, "run", run_jobs)
    return known, kept


def speed(name="net", float_ms=(8.0, 5.0), theirs=(4.0, 3.0), ours=(2.0, 1.5), **errors):
    """A network with these times on one thread and on two."""
    times = {FLOAT: float_ms, TENSORFLOW: theirs, OURS: ours}
    found = {
        kind: FileSpeed(error=errors[kind]) if kind in errors else FileSpeed(milliseconds=times[kind], pieces=1)
        for kind in KINDS
    }
    return NetworkSpeed(name=name, shape="8 x 8 x 3", threads=(1, 2), files=found)


def small_model():
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 3), name="image")
    return keras.Model(image, layers.Softmax()(layers.Flatten()(layers.Conv2D(4, 3)(image))))


# What LiteRT runs


def test_a_file_that_xnnpack_runs_whole():
    file = FileBuilder((1, 4, 4, 2))
    content = file.file(file.op("ADD", [0, 0], (1, 4, 4, 2))).content()
    assert executed_parts(content) == ExecutedParts(1, {})
    assert executed_parts(content).is_whole


def test_an_operator_that_xnnpack_leaves_splits_the_file():
    """TILE has no place in the delegate; what it stands between are two pieces."""
    file = FileBuilder((1, 4, 4, 2))
    added = file.op("ADD", [0, 0], (1, 4, 4, 2), fusedActivationFunction=RELU)
    tiled = file.op("TILE", [added, file.constant([1, 2, 2, 1], np.int32)], (1, 8, 8, 2))
    again = file.op("TILE", [tiled, file.constant([1, 1, 1, 2], np.int32)], (1, 8, 8, 4))
    content = file.file(file.op("MUL", [again, again], (1, 8, 8, 4))).content()
    assert executed_parts(content) == ExecutedParts(2, {"TILE": 2})
    assert not executed_parts(content).is_whole


def test_a_file_of_which_xnnpack_runs_nothing():
    file = FileBuilder((1, 4))
    content = file.file(file.op("TILE", [0, file.constant([1, 2], np.int32)], (1, 8))).content()
    assert executed_parts(content) == ExecutedParts(0, {"TILE": 1})
    assert not executed_parts(content).is_whole


def test_only_what_the_outputs_need_is_executed():
    """Tensor 1 = A(0), 2 = B(1), 3 = C(2), 4 = D(0); a delegate runs A and B in one node, which reads 0 and makes 2."""
    nodes = [("A", (0,), (1,)), ("B", (1,), (2,)), ("C", (2, 0), (3,)), ("D", (0,), (4,)), ("DELEGATE", (0,), (2,))]
    operators = [
        RuntimeOperator(index=index, kind=kind, inputs=inputs, outputs=outputs)
        for index, (kind, inputs, outputs) in enumerate(nodes)
    ]
    assert sorted(executed_kinds(operators, [3])) == ["C", "DELEGATE"]
    assert sorted(executed_kinds(operators, [3, 4])) == ["C", "D", "DELEGATE"]
    assert sorted(executed_kinds(operators[:-1], [3])) == ["A", "B", "C"]


def test_operators_that_many_paths_reach_are_visited_once():
    """2^60 paths lead from the output to the input."""
    operators = [RuntimeOperator(index=k, kind="ADD", inputs=(k, k), outputs=(k + 1,)) for k in range(60)]
    assert executed_kinds(operators, [60]) == ["ADD"] * 60


def test_an_operator_of_several_outputs_is_counted_once():
    file = FileBuilder((1, 8))
    table = schema.UnpackOptionsT(num=8, axis=1)
    parts = file.op("UNPACK", [0], *[(1,)] * 8, table=table)
    assert executed_parts(file.file(*parts).content()) == ExecutedParts(0, {"UNPACK": 1})


# The three files


def test_the_float_file_computes_the_model_of_several_inputs(random):
    """Inputs in a mapping, and an order of names unlike that of the alphabet."""
    inputs = {"z": keras.Input((4, 4, 2), name="z"), "a": keras.Input((3,), name="a")}
    pooled = layers.GlobalAveragePooling2D()(layers.Conv2D(3, 3)(inputs["z"]))
    model = keras.Model(inputs, layers.Dense(2)(layers.Concatenate()([pooled, inputs["a"]])))
    values = {x.name: random.normal(size=(1, *x.shape[1:])).astype(np.float32) for x in model.inputs}
    (found,) = Interpreter(float_file(model)).run([values[x.name] for x in model.inputs])
    np.testing.assert_allclose(found, np.asarray(model(values)), rtol=0, atol=1e-5)


def test_the_int8_file_of_tensorflow_is_full_integer():
    flat = FlatModel(tensorflow_int8_file(small_model(), (0.0, 6.0)))
    (image,) = (int(i) for i in flat.subgraph.inputs)
    assert flat.shape(image) == (1, 8, 8, 3)
    assert {flat.dtype(i) for i in flat.activations()} == {np.int8}
    assert flat.quantization(image).low == pytest.approx(0, abs=0.05)
    assert flat.quantization(image).high == pytest.approx(6, abs=0.1)


def test_the_range_of_the_inputs_is_that_of_our_file():
    model = keras.Sequential([keras.Input((8, 8, 3)), layers.Rescaling(1 / 255), layers.Conv2D(4, 3)])
    network = files_of(model, None, "portable")
    assert network.input_range == pytest.approx((0, 255), abs=0.5)
    assert set(network.files) == set(KINDS)
    assert network.shapes == ((8, 8, 3),)
    assert stated_range(network.files[TENSORFLOW]) == pytest.approx((0, 255), abs=5)


def test_a_converter_that_fails_leaves_the_others(monkeypatch, tmp_path, run, jobs):
    def fail(*arguments):
        raise RuntimeError("no kernel | for it\nand more")

    monkeypatch.setattr(files, "tensorflow_int8_file", fail)
    small_model().save(tmp_path / "net.keras")
    output = tmp_path / "out.md"
    code, out, err = run("--input_range=-1,1", "--rounds=1", f"--output={output}", tmp_path / "net.keras")
    assert code == 1
    reason = "RuntimeError: no kernel | for it and more"
    assert f"failed: {tmp_path / 'net.keras'}: TFLiteConverter: {reason}" in err
    assert "spiq_tf / float" in err
    rows = [line for line in output.read_text().splitlines() if "net.keras |" in line]
    assert len(rows) == len(machine_threads()) + 1
    assert all(" | failed | " in row for row in rows[:-1])
    assert f"| failed: {reason.replace('|', '/')} |" in rows[-1]
    assert "failed" in out


def test_a_file_of_ours_that_fails_leaves_the_others(monkeypatch):
    def fail(*arguments, **options):
        raise spiq_tf.LoweringError("no operator")

    monkeypatch.setattr(files, "convert", fail)
    found = files_of(small_model(), (-1.0, 1.0), "portable").files
    assert found[OURS] == Failure("no operator")
    assert isinstance(found[FLOAT], bytes)
    assert isinstance(found[TENSORFLOW], bytes)
    with pytest.raises(spiq_tf.InputRangeError, match="no operator; with an input range given"):
        files_of(small_model(), None, "portable")


def test_a_file_that_litert_refuses_leaves_the_others():
    content = files_of(small_model(), (-1.0, 1.0), "portable").files[OURS]
    network = NetworkFiles(
        {FLOAT: b"no file", TENSORFLOW: Failure("refused"), OURS: content}, ((8, 8, 3),), (-1.0, 1.0)
    )
    found = speeds_of(network, SETTINGS)
    assert found[FLOAT].error.startswith("LiteRT cannot run it: ")
    assert found[TENSORFLOW].error == "refused"
    assert found[OURS].error is None
    assert len(found[OURS].milliseconds) == 2
    assert all(ms > 0 for ms in found[OURS].milliseconds)


@pytest.mark.parametrize(
    ("dtype", "scale", "low", "high"),
    [(np.float32, 0.0, -3, 5), (np.int8, 0.1, -128, 127), (np.uint8, 0.1, 0, 255), (np.int32, 0.0, -3, 5)],
)
def test_random_inputs(dtype, scale, low, high, random):
    detail = {"dtype": dtype, "shape": np.array([1, 50, 40]), "quantization": (scale, 0)}
    x = random_input(detail, (-3.0, 5.0), random)
    assert (x.dtype, x.shape) == (dtype, (1, 50, 40))
    assert low <= x.min() < low + (high - low) / 8
    assert high - (high - low) / 8 <= x.max() <= high


# Times and tables


def test_the_best_time_of_turns():
    """The clock says when a run begins and ends; the first of each is no turn."""
    order, times = [], iter([0.9, 0.5, 0.8, 0.4] + [0.7] * 100)
    clock = [0.0]

    def function(name):
        def called():
            order.append(name)
            if len(order) > 2:
                clock[0] += next(times)

        return called

    best = best_in_turns([function("a"), function("b")], rounds=2, clock=lambda: clock[0])
    assert order == ["a", "b", *(["a"] * RUNS_IN_A_TURN + ["b"] * RUNS_IN_A_TURN) * 2]
    assert best == pytest.approx([0.4, 0.7])


def test_what_other_programs_take_does_not_count_on_one_thread():
    passed, own = clock_for(threads=2), clock_for(threads=1)
    start = passed(), own()
    time.sleep(0.05)
    assert passed() - start[0] >= 0.05
    assert own() - start[1] < 0.025


def test_tables_of_given_times():
    two = [speed("one"), speed("@two", ours=(32.0, 24.0))]
    first, second, runs = tables(two)
    assert first.title == "Milliseconds on 1 thread"
    assert first.head[2:] == (*KINDS, "spiq_tf / TFLiteConverter", "spiq_tf / float")
    assert first.rows[0] == ("one", "8 x 8 x 3", "8.00", "4.00", "2.00", "0.50", "0.25")
    assert first.rows[1] == ("@two", "8 x 8 x 3", "8.00", "4.00", "32.0", "8.00", "4.00")
    assert first.rows[2] == ("geometric mean", "", "", "", "", "2.00", "1.00")
    assert second.title == "Milliseconds on 2 threads"
    assert second.rows[0] == ("one", "8 x 8 x 3", "5.00", "3.00", "1.50", "0.50", "0.30")
    assert runs.rows[0] == ("one", "1", "1", "1")
    assert len(tables(two[:1])[0].rows) == 1, "no mean of one network"


def test_what_failed_in_the_tables():
    whole = NetworkSpeed(name="whole", error="x" * 101)
    one, _, runs = tables([speed("one", TFLiteConverter="no kernel"), whole])
    assert one.rows[0] == ("one", "8 x 8 x 3", "8.00", "failed", "2.00", "", "0.25")
    assert one.rows[1] == ("whole", "", "failed", "failed", "failed", "", "")
    assert one.rows[2][-2:] == ("", "0.25")
    assert runs.rows[0] == ("one", "1", "failed: no kernel", "1")
    assert runs.rows[1] == ("whole", *[f"failed: {'x' * 100}..."] * 3)


def test_pieces_and_what_stays_outside():
    file = FileSpeed(milliseconds=(1.0,), pieces=4, outside={"RELU": 2, "SOFTMAX": 1})
    network = NetworkSpeed(name="net", threads=(1,), files=dict.fromkeys(KINDS, file))
    assert tables([network])[-1].rows[0][-1] == "4; RELU 2, SOFTMAX"


def test_markdown():
    table = Table("Title", ("network", "ms"), (("a|b", "1.5"), ("c", "failed")))
    assert as_markdown(table) == "## Title\n\n| network | ms |\n|---|---:|\n| a/b | 1.5 |\n| c | failed |\n"


@pytest.mark.parametrize(
    ("value", "text"), [(0.012345, "0.0123"), (0.1, "0.100"), (1.234, "1.23"), (99.5, "99.5"), (1234.5, "1234")]
)
def test_three_significant_digits(value, text):
    assert significant(value) == text


def test_the_document_says_what_was_measured_on_what():
    text = document(
        [speed()], command="spiq-tf benchmark net", target="edgetpu", rounds=7, machine=("a processor (avx2)", 4)
    )
    for words in ("`spiq-tf benchmark net`", "a processor (avx2)", "4 cores", 'target="edgetpu"', "best of 7 rounds"):
        assert words in " ".join(text.split())
    assert text.count("\n## ") == 3


def test_the_name_of_the_processor(monkeypatch, tmp_path):
    info = tmp_path / "cpuinfo"
    info.write_text("processor\t: 0\nmodel name\t: A processor\nflags\t\t: fpu avx2 avx512_vnni sse\n")
    monkeypatch.setattr(machine, "_PROCESSOR", info)
    assert machine.processor() == "A processor (avx2, avx512_vnni)"
    monkeypatch.setattr(machine, "_PROCESSOR", tmp_path / "absent")
    assert machine.processor()


# Networks with random weights


def test_every_network_of_keras_applications_has_a_range():
    functions = {name for name, value in vars(keras.applications).items() if callable(value) and name[0].isupper()}
    assert set(networks.INPUT_RANGES) == functions
    assert set(networks.FAMILIES) <= functions
    assert set(networks.OPEN_SIDES) <= functions


def test_a_network_at_another_size():
    """A file for speed may have any weights, but its scales the ratios of a trained network's."""
    model = random_network.random_network("MobileNet", 32)
    assert model.input_shape == (None, 32, 32, 3)
    norms = [layer for layer in model.layers if isinstance(layer, layers.BatchNormalization)]
    assert all(np.max(np.abs(np.asarray(norm.moving_variance) - 1)) > 0.1 for norm in norms)
    assert {norm.momentum for norm in norms} == {0.99}


def test_a_size_that_keras_leaves_open():
    assert random_network.random_network("MobileNetV3Small").input_shape == (None, 224, 224, 3)


class LayerScale(layers.Layer):
    """As ConvNeXt has it."""

    def build(self, shape):
        self.gamma = self.add_weight(shape=(shape[-1],), initializer="zeros")

    def call(self, x):
        return x * self.gamma


def test_blocks_that_would_add_nothing_are_scaled_up():
    image = keras.Input((4, 4, 3))
    scale = LayerScale()
    model = keras.Model(image, keras.Sequential([layers.Conv2D(3, 1), scale])(image))
    random_network.keep_power(model, (0.0, 1.0))
    assert np.all(np.asarray(scale.gamma) >= 0.1)


# The command


def machine_threads():
    return sorted({1, machine.cores()})


def test_a_model_is_measured_from_end_to_end(tmp_path, run, jobs):
    small_model().save(tmp_path / "net.keras")
    paths = tmp_path / "net.keras", tmp_path / "out.json", tmp_path / "out.md"
    code, out, err = run("--input_range=-2,2", "--rounds=2", f"--json={paths[1]}", f"--output={paths[2]}", paths[0])
    assert code == 0, err
    assert jobs[0].settings.input_range == (-2.0, 2.0)
    (row,) = json.loads(paths[1].read_text())
    assert row["shape"] == "8 x 8 x 3"
    assert row["threads"] == machine_threads()
    assert set(row["files"]) == set(KINDS)
    for file in row["files"].values():
        assert file["error"] is None
        assert file["pieces"] >= 1
        assert file["kib"] > 0.5
        assert [ms > 0 and math.isfinite(ms) for ms in file["milliseconds"]] == [True] * len(row["threads"])
    assert row["files"][OURS]["outside"] == row["files"][TENSORFLOW]["outside"] == {"SOFTMAX": 1}
    text = paths[2].read_text()
    assert f"`spiq-tf benchmark --input_range=-2,2 --rounds=2 --output={paths[2]} {paths[0]}`" in text
    for heading in ("Milliseconds on 1 thread", "Pieces that XNNPACK runs"):
        assert f"## {heading}" in text
        assert heading in out
    assert "1 of 1: " in err


def test_a_file_that_is_no_model_is_a_row_with_the_error(tmp_path, run, jobs):
    (tmp_path / "bad.keras").write_bytes(b"no model")
    code, out, err = run(tmp_path / "bad.keras")
    assert code == 1
    assert "FAILED" in err
    assert "truncated" in err
    assert "failed" in out


def test_a_size_that_keras_refuses_is_an_error_of_the_network():
    job = Job(name="Xception@8", application="Xception", side=8, settings=SETTINGS, trust_code=False)
    found = benchmark_job(job)
    assert found.error.startswith("Keras cannot build it: ")
    assert found.files == {}


def test_a_process_that_dies_costs_its_network_alone(tmp_path, run, results):
    known, kept = results
    known["ResNet50@64"] = WorkerFailure("died: signal 9 (SIGKILL)")
    code, _, err = run("ResNet50@64", "MobileNet", "MobileNet", "--target=edgetpu", "--rounds=3")
    assert code == 1
    assert "failed: ResNet50@64: the process that measured it died: signal 9 (SIGKILL)" in err
    assert "2 of 2: MobileNet: spiq_tf / TFLiteConverter 0.50, spiq_tf / float 0.25" in err
    assert [(job.application, job.side) for job in kept] == [("ResNet50", 64), ("MobileNet", None)]
    assert {job.settings.target for job in kept} == {"edgetpu"}
    assert {job.settings.rounds for job in kept} == {3}
    assert kept[1].settings.input_range == (-1.0, 1.0)
    assert kept[0].settings.threads == tuple(machine_threads())


def test_all_families(run, results, tmp_path):
    _, kept = results
    output = tmp_path / "speed.md"
    assert run("--all", f"--output={output}", "--target=xnnpack")[0] == 0
    assert [job.name for job in kept] == list(networks.FAMILIES)
    assert f"`spiq-tf benchmark --all --target=xnnpack --output={output}`" in output.read_text()
    assert output.read_text().count("| MobileNetV2 |") == 3


def test_a_file_is_preferred_to_a_network_of_its_name(run, results, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "MobileNet").mkdir()
    run("MobileNet", "--trust_code_in_files")
    (job,) = results[1]
    assert (job.application, job.settings.input_range, job.trust_code) == (None, None, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "expected model files, names of networks"),
        (["LeNet"], "'LeNet' is no file, and no network of keras.applications, which are VGG16, "),
        (["MobileNet@"], "'MobileNet@' is no file"),
        (["MobileNet@big"], "a size is given as in Xception@160"),
        (["absent.keras"], "'absent.keras' is no file"),
        (["--all", "MobileNet"], "pass networks or --all, not both"),
        (["--input_range=1", "MobileNet"], "--input_range: expected LOW,HIGH, found 1"),
        (["--rounds=0", "MobileNet"], "rounds"),
        (["--target=abacus", "MobileNet"], "--target=abacus"),
        (["--output=absent/speed.md", "MobileNet"], "cannot write absent/speed.md: no such folder"),
    ],
)
def test_wrong_arguments(arguments, message, run, results):
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert results[1] == []


def test_what_was_measured_before_an_interruption_is_printed(run, monkeypatch):
    def run_jobs(function, waiting, **options):
        yield waiting[0], speed(waiting[0].name)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(600)

    monkeypatch.setattr(worker_pool, "run", run_jobs)
    code, out, err = run("MobileNet", "ResNet50")
    assert code == 143
    assert "interrupted by SIGTERM" in err
    assert "MobileNet " in out
    assert "ResNet50" not in out


def test_a_network_lists_all_that_failed():
    assert speed().errors == []
    assert speed(float="a", spiq_tf="b").errors == ["float: a", "spiq_tf: b"]
    assert NetworkSpeed(name="net", error="whole").errors == ["whole"]
    assert dataclasses.replace(speed(), threads=(1, 4)).milliseconds(OURS, threads=2) is None
