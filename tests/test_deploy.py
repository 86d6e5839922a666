"""The model on other machines: `ddl export`, its files scored like any model,
and what is wrong with such a file said in one line."""
import json, shutil, subprocess, sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

for module in ("onnx", "onnxscript", "onnxruntime", "openvino", "nncf"):
    pytest.importorskip(
        module, reason="the extra deploy is not installed: pip install -e '.[deploy]'")
import onnx, openvino

from conftest import FRAMES, TINY, call, traced, write_dataset
from ddl_nb.data import Clip
from ddl_nb.detector import Detector
from ddl_nb.export import QUANTISED, _windows

# How far scores of the same weights may lie apart, and with 8 bits; those of other weights are ten
# times as far away, which is tested too.
SAME, NEAR = 1e-5, 2e-2
# An untrained model returns grey for everything, and so would a broken export of it.
LONGER = [*TINY[:4], *"--epochs 6 --excerpt 8 --kernels 3,5,7 --patch 16".split()]
REMEDY = "pip install 'ddl_nb[deploy]'"

def scores(model, source, out, *options):
    "The raw scores of all frames, by the command."
    call("score", model, source, "--out", out, *options).works()
    return pd.read_csv(out/"scores.csv").score.to_numpy()

def content(folder):
    return {f.relative_to(folder): f.read_bytes() if f.is_file() else None
            for f in folder.rglob("*")}

def largest(difference): return np.abs(difference).max()

def header(file):
    about = {p.key: p.value for p in onnx.load(file).metadata_props}
    return json.loads(about["ddl_nb"])

def with_header(graph, file, about):
    onnx.helper.set_model_props(graph, {"ddl_nb": json.dumps(about)})
    onnx.save(graph, file)

def foreign(name="frames"):
    "A valid network that returns what it is given."
    from onnx import helper
    shape = [None, 3, None, None, None]
    inside, outside = (helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, shape)
                       for n in (name, "out"))
    node = helper.make_node("Identity", [name], ["out"])
    graph = helper.make_graph([node], "foreign", [inside], [outside])
    opset = helper.make_opsetid("", 18)
    return helper.make_model(graph, opset_imports=[opset], ir_version=10)

def other_weights(file, changed):
    "The same network with its largest array of weights a tenth larger."
    model = onnx.load(file)
    array = max(model.graph.initializer, key=lambda a: a.ByteSize())
    larger = onnx.numpy_helper.to_array(array) * np.float32(1.1)
    array.CopyFrom(onnx.numpy_helper.from_array(larger, array.name))
    onnx.save(model, changed)

@pytest.fixture(scope="module")
def deployed(dataset, tmp_path_factory):
    "A model's folder with its three exports, and what the commands printed."
    folder, shown = tmp_path_factory.mktemp("deployed"), {}
    call("fit", dataset, "--out", folder, *LONGER).works()
    for f in ("checkpoint.pt", "training.csv", "run.json", "strangest.csv", "strangest.png"):
        (folder/f).unlink()
    shown["model.onnx"] = call("export", folder, "--to", "onnx").works().out
    with pytest.MonkeyPatch.context() as patch:
        traced(folder/"model.onnx", patch)
        done = call("export", folder/"model.safetensors", "--to", "openvino")
        shown["model.xml"] = done.works().out
        done = call("export", folder, "--to", "openvino", "--int8", dataset)
        shown["model-int8.xml"] = done.out
    assert done.code == 0, done
    assert all("Statistics collection" in line for line in done.lines), done   # NNCF's progress
    return folder, shown

@pytest.fixture
def quick(deployed, monkeypatch): traced(deployed[0]/"model.onnx", monkeypatch)

@pytest.fixture(scope="module")
def original(deployed, dataset, tmp_path_factory):
    "A folder with what PyTorch says."
    out = tmp_path_factory.mktemp("original")
    scores(deployed[0], dataset, out, "--maps")
    return out

@pytest.fixture(scope="module")
def expected(original): return pd.read_csv(original/"scores.csv").score.to_numpy()

@pytest.fixture(scope="module")
def other(dataset, tmp_path_factory):
    "Scores of a model that differs in its seed only."
    out = tmp_path_factory.mktemp("other")
    call("fit", dataset, "--out", out, *LONGER, "--seed", 1).works()
    return scores(out, dataset, out/"s")


# What works -----------------------------------------------------------------------------

def test_files_lie_beside_the_model(deployed):
    folder, shown = deployed
    assert {f.name for f in folder.rglob("*")} == {
        "model.safetensors", "model.onnx", "model.xml", "model.bin",
        "model-int8.xml", "model-int8.bin"}
    for name, text in shown.items():
        file, difference = text.splitlines()
        assert file == str(folder/name)
        assert difference.startswith("largest difference from PyTorch ")
        assert difference.endswith("on this footage") == ("int8" in name)
        assert float(difference.split()[4]) < (NEAR if "int8" in name else SAME)
    size, size_int8 = ((folder/f).stat().st_size for f in ("model.bin", "model-int8.bin"))
    assert size_int8 < .4 * size

def test_files_say_nothing_of_the_machine(deployed):
    places = [str(Path(p).parent.parent).encode() for p in (__file__, torch.__file__)]
    for file, data in content(deployed[0]).items():
        assert not any(p in data for p in places), file

RUN_BY = [("model.onnx", "onnxruntime"), ("model.xml", "openvino")]

@pytest.mark.parametrize("name, module", RUN_BY)
def test_scores_are_those_of_pytorch(
        name, module, deployed, original, expected, other, dataset, tmp_path):
    got = scores(deployed[0]/name, dataset, tmp_path, "--maps", "--video")
    assert len(got) == 2 * FRAMES and largest(got - expected) < SAME
    assert largest(other - expected) > 1000 * SAME
    about, before = (json.loads((f/"score.json").read_text()) for f in (tmp_path, original))
    (scene, now), = about["scenes"].items()
    for key in ("size", "channels", "scale"): assert now[key] == before["scenes"][scene][key]
    assert module in about["versions"]
    maps, maps_before = (np.load(f/"maps"/"02.npy") for f in (tmp_path, original))
    np.testing.assert_allclose(maps, maps_before, atol=1e-3)
    assert (tmp_path/"video"/"02.mp4").stat().st_size > 1000
    call("evaluate", tmp_path/"scores.csv", dataset).works()

def test_eight_bits_are_near(deployed, expected, other, dataset, tmp_path):
    folder, shown = deployed
    got = scores(folder/"model-int8.xml", dataset, tmp_path/"s")
    assert 0 < largest(got - expected) < NEAR
    assert np.corrcoef(got, expected)[0, 1] > .9999
    # other weights would not pass
    assert largest(other - expected) > 10 * NEAR
    assert np.corrcoef(other, expected)[0, 1] < .999

def test_export_says_the_difference_on_normal_footage(deployed, dataset, tmp_path):
    folder, shown = deployed
    normal = dataset/"training"/"frames"
    before, after = (scores(folder/name, normal, tmp_path/name)
                     for name in ("model.safetensors", "model-int8.xml"))
    assert f"{largest(after - before):.1e}" == shown["model-int8.xml"].split()[5]

@pytest.mark.parametrize("name, program", [
    ("model.safetensors", "PyTorch"),
    ("model.onnx", "ONNX Runtime"),
    ("model-int8.xml", "OpenVINO"),
])
def test_info(name, program, deployed):
    shown = call("info", deployed[0]/name).works().out
    original = call("info", deployed[0]).works().out
    assert shown == original.replace("PyTorch", program) and shown.count(program) == 1
    for word in ("c3dsu", "32x48", "square", "q99: "): assert word in shown

def test_normal_clips_of_the_models_scene(deployed, two_scenes, monkeypatch, tmp_path):
    "Of a source with several scenes, those of the model's own."
    taken = []
    def export(detector, out, clips):
        taken.extend(c.name for c in clips)
        return 0.

    def load(file): return Detector(None, None, None, scene="02")

    monkeypatch.setattr("ddl_nb.cli.export_model", export)
    monkeypatch.setattr(Detector, "load", load)
    call("export", deployed[0], "--to", "openvino", "--int8", two_scenes).works()
    assert taken == ["02_001"]

def test_windows_are_spread_over_all_footage():
    "Many short clips and a long one; each clip's frames have one grey level of their own."
    detector = Detector.__new__(Detector)
    detector.model = SimpleNamespace(window=3)
    detector.settings = SimpleNamespace(channels=1)
    detector.size = (16, 16)
    for lengths in ([4] * 1000, [2000], [5] * 30, [QUANTISED + 2]):
        clips = [Clip(np.full((n, 16, 16, 1), i % 256, np.uint8))
                 for i, n in enumerate(lengths)]
        windows = _windows(clips, detector)
        assert QUANTISED <= len(windows) <= 4 * QUANTISED
        assert windows[0].shape == (1, 1, 3, 16, 16)
        if len(lengths) > 1: assert len({w.max() for w in windows}) >= 30

def test_ctrl_c_after_models_have_come_and_gone(deployed):
    "OpenVINO gives a thread a stack for its signals, which must not go before the thread."
    program = f"""
import gc, signal, sys
from pathlib import Path
import torch
from ddl_nb.scoring import Exported
file = Path({str(deployed[0]/"model.xml")!r})
clip = torch.rand(1, 3, 8, 32, 48).numpy()
first, second = Exported(file), Exported(file)
first.run(clip)
second.run(clip)
del first, second
gc.collect()
try: signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt: sys.exit(130)
"""
    command = [sys.executable, "-X", "faulthandler", "-c", program]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 130, result

def test_a_running_model_does_not_need_its_files_any_more(deployed, dataset, tmp_path):
    "A new export to the same place does not disturb whoever is scoring with the old one."
    for f in ("model.xml", "model.bin"): shutil.copy(deployed[0]/f, tmp_path)
    detector = Detector.load(tmp_path/"model.xml")
    (tmp_path/"model.xml").unlink()
    clip = Clip(dataset/"testing"/"frames"/"01")
    want = Detector.load(deployed[0]/"model.safetensors").score(clip).frames
    np.testing.assert_allclose(detector.score(clip).frames, want, atol=SAME)


# Wrong commands -------------------------------------------------------------------------

@pytest.mark.parametrize("options, names", [
    ("", ["--to"]),
    ("--to tflite", ["tflite", "onnx", "openvino"]),
    ("--to ONNX", ["ONNX"]),
    ("--to onnx --int8 DATA", ["--int8", "openvino"]),
    ("--to onnx --out OUT.xml", ["OUT.xml", ".onnx"]),
    ("--to openvino --out OUT.onnx", ["OUT.onnx", ".xml"]),
    ("--to openvino --out OUT", ["OUT", ".xml"]),
])
def test_misuse(options, names, deployed, dataset, tmp_path):
    before = content(deployed[0])
    places = {"DATA": str(dataset), "OUT": str(tmp_path/"OUT")}
    for name, place in places.items(): options = options.replace(name, place)
    call("export", deployed[0], *options.split()).fails(2, *names)
    assert content(deployed[0]) == before and not content(tmp_path)

def test_no_model(dataset, tmp_path):
    call("export", tmp_path, "--to", "onnx").fails(1, tmp_path/"model.safetensors")
    model = tmp_path/"x"/"model.safetensors"
    call("export", model, "--to", "onnx").fails(1, model)
    assert not content(tmp_path)

@pytest.mark.parametrize("name, to", [
    ("model.onnx", "onnx"), ("model.onnx", "openvino"), ("model.xml", "openvino"),
])
def test_exported_already(name, to, deployed):
    before = content(deployed[0])
    model = deployed[0]/name
    call("export", model, "--to", to).fails(1, model, "model.safetensors")
    assert content(deployed[0]) == before

@pytest.mark.parametrize("what, names", [
    ("short", [QUANTISED, FRAMES - 2]),
    ("tests", ["scene square", "no normal clips", "train/"]),
    ("none", ["none"]),
    ("scenes", ["campus", "square", "01, 02"]),
])
def test_footage_that_does_not_do(what, names, deployed, two_scenes, tmp_path):
    "No half-made file, and the earlier export stays."
    source = tmp_path/"none"
    if what == "scenes": source = two_scenes
    if what in ("short", "tests"): source = write_dataset(tmp_path/"square", train=1)
    if what == "tests": shutil.rmtree(source/"training")
    before = content(deployed[0])
    call("export", deployed[0], "--to", "openvino", "--int8", source).fails(1, *names)
    assert content(deployed[0]) == before


# Files that are none, or not whole ------------------------------------------------------

def check_refused(file, message, dataset, tmp_path):
    "By score and by info, in a line with this message."
    call("score", file, dataset, "--out", tmp_path/"x").fails(1, file, message)
    call("info", file).fails(1, file, message)
    assert not (tmp_path/"x").exists()

@pytest.mark.parametrize("kind, message", [
    ("missing", "no such"), ("empty", ""), ("text", ""), ("cut", ""), ("nearly whole", ""),
    ("foreign", "an ONNX file, but not a model of this package"),
])
def test_onnx_file_that_is_none_or_not_whole(kind, message, deployed, dataset, tmp_path):
    file = tmp_path/"model.onnx"
    good = (deployed[0]/"model.onnx").read_bytes()
    if kind == "empty": file.touch()
    if kind == "text": file.write_text("a model\n" * 40)
    if kind == "cut": file.write_bytes(good[:len(good) // 2])
    if kind == "nearly whole": file.write_bytes(good[:-3])
    if kind == "foreign": onnx.save(foreign(), file)
    check_refused(file, message, dataset, tmp_path)

@pytest.mark.parametrize("kind, message", [
    ("newer", "newer version"), ("no settings", ""), ("a list", ""), ("unknown setting", ""),
])
def test_onnx_file_with_another_header(kind, message, deployed, dataset, tmp_path):
    good, file = deployed[0]/"model.onnx", tmp_path/"model.onnx"
    about = header(good)
    if kind == "newer": about["format"] = 99
    if kind == "no settings": about = {"format": 1}
    if kind == "a list": about = [1, 2]
    if kind == "unknown setting": about["settings"]["colour"] = "blue"
    with_header(onnx.load(good), file, about)
    check_refused(file, message, dataset, tmp_path)

def to_openvino(onnx_file, file):
    model = openvino.Core().read_model(onnx_file)
    openvino.save_model(model, file, compress_to_fp16=False)

@pytest.fixture
def yesterdays(deployed, tmp_path):
    "A copy of the OpenVINO export: its .xml and its .bin."
    for f in ("model.xml", "model.bin"): shutil.copy(deployed[0]/f, tmp_path)
    return tmp_path/"model.xml", tmp_path/"model.bin"

@pytest.mark.parametrize("kind, message", [
    ("missing", "no such"), ("empty", ".bin"), ("text", ".bin"), ("cut", ".bin"),
    ("newer", "newer version"),
    ("foreign", "an OpenVINO file, but not a model of this package"),
])
def test_openvino_xml(kind, message, yesterdays, dataset, tmp_path):
    file, weights = yesterdays
    if kind == "missing":
        file.unlink()
        weights.unlink()
    if kind == "empty": file.write_bytes(b"")
    if kind == "text": file.write_text("<p>a model</p>\n" * 40)
    if kind == "cut": file.write_bytes(file.read_bytes()[:-500])
    if kind == "newer":
        old, new = "{&quot;format&quot;: 2,", "{&quot;format&quot;: 99,"
        file.write_text(file.read_text().replace(old, new))
    if kind == "foreign":
        onnx.save(foreign(), tmp_path/"f.onnx")
        to_openvino(tmp_path/"f.onnx", file)
    check_refused(file, message, dataset, tmp_path)

@pytest.mark.parametrize("kind", ["no bin", "cut bin", "bin of 8 bits"])
def test_openvino_bin(kind, yesterdays, deployed, dataset, tmp_path):
    file, weights = yesterdays
    if kind == "no bin": weights.unlink()
    if kind == "cut bin": weights.write_bytes(weights.read_bytes()[:-500])
    if kind == "bin of 8 bits": shutil.copy(deployed[0]/"model-int8.bin", weights)
    check_refused(file, ".bin", dataset, tmp_path)

def test_openvino_bin_of_another_model(yesterdays, deployed, dataset, tmp_path):
    "Of the same size."
    file, weights = yesterdays
    size = weights.stat().st_size
    other_weights(deployed[0]/"model.onnx", tmp_path/"o.onnx")
    to_openvino(tmp_path/"o.onnx", tmp_path/"o.xml")
    shutil.move(tmp_path/"o.bin", weights)
    assert weights.stat().st_size == size
    check_refused(file, "belongs to another model", dataset, tmp_path)

@pytest.mark.parametrize("name", ["frames", "pictures"])
def test_our_header_over_another_network(name, deployed, dataset, tmp_path):
    file = tmp_path/"model.onnx"
    with_header(foreign(name), file, header(deployed[0]/"model.onnx"))
    call("score", file, dataset, "--out", tmp_path/"x").fails(1, file)
    assert not (tmp_path/"x"/"scores.csv").exists()


# An export that fails: what was there stays, and nothing half-written is added ----------

EXPORTS = ("m.onnx", "m.xml", "m.bin")
TARGETS = {"onnx": "m.onnx", "openvino": "m.xml"}     # target -> the file that is asked for

def write_exports_of_yesterday(folder):
    for f in EXPORTS: (folder/f).write_text("of yesterday")

@pytest.fixture
def place(tmp_path):
    "A folder with the exports of yesterday."
    folder = tmp_path/"place"
    folder.mkdir()
    write_exports_of_yesterday(folder)
    return folder

@pytest.fixture
def export(deployed):
    "Exports the model to a target, to its file in `folder`."
    def export_to(target, folder, *options):
        file = folder/TARGETS[target]
        return call("export", deployed[0], "--to", target, *options, "--out", file)
    return export_to

@pytest.mark.parametrize("target, files", [
    ("onnx", {"m.onnx"}), ("openvino", {"m.xml", "m.bin"}),
])
def test_a_good_export_replaces_the_one_of_yesterday(target, files, quick, export, place):
    before = content(place)
    export(target, place).works()
    after = content(place)
    assert set(after) == set(before)
    assert {f.name for f in before if after[f] != before[f]} == files
    call("info", place/TARGETS[target]).works()

@pytest.mark.parametrize("target, int8, module", [
    *[("onnx", False, m) for m in ("onnx", "onnxscript", "onnxruntime")],
    *[("openvino", False, m) for m in ("onnx", "onnxscript", "openvino")],
    *[("openvino", True, m) for m in ("onnx", "onnxscript", "openvino", "nncf")],
])
def test_missing_extra(target, int8, module, export, dataset, place, monkeypatch):
    "Said before the long work, which is a trap here."
    def trace(*_, **__): pytest.fail("the model was traced all the same")

    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setattr(torch.onnx, "export", trace)
    before = content(place)
    options = ["--int8", dataset] if int8 else []
    export(target, place, *options).fails(1, module, REMEDY)
    assert content(place) == before

@pytest.mark.parametrize("name, module", RUN_BY)
def test_running_without_the_extra(name, module, deployed, dataset, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    result = call("score", deployed[0]/name, dataset, "--out", tmp_path/"x")
    result.fails(1, module, REMEDY)
    call("score", deployed[0]/"model.safetensors", dataset, "--out", tmp_path/"y").works()

@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("error, message", [
    (RuntimeError("unsupported operator\nwith much detail"), "unsupported operator"),
    (MemoryError(), "MemoryError"),
], ids=["tracing", "no memory"])
def test_export_that_fails(target, error, message, export, place, monkeypatch):
    def trace(*_, **__): raise error

    monkeypatch.setattr(torch.onnx, "export", trace)
    before = content(place)
    export(target, place).fails(1, message)
    assert content(place) == before

@pytest.mark.parametrize("target", TARGETS)
def test_export_that_gives_other_scores(
        target, export, deployed, place, tmp_path, monkeypatch):
    other_weights(deployed[0]/"model.onnx", tmp_path/"other.onnx")
    traced(tmp_path/"other.onnx", monkeypatch)
    before = content(place)
    export(target, place).fails(1, "differs from PyTorch")
    assert content(place) == before

@pytest.mark.parametrize("target", TARGETS)
def test_output_under_a_file(target, quick, export, tmp_path):
    file = tmp_path/"file"
    file.write_text("I stay.")
    export(target, file).fails(1, file/TARGETS[target], "written")
    assert content(tmp_path) == {Path("file"): b"I stay."}

@pytest.mark.parametrize("target, folder", [
    ("onnx", "m.onnx"), ("openvino", "m.xml"), ("openvino", "m.bin"),
])
def test_a_folder_where_the_file_should_be(target, folder, quick, export, place):
    (place/folder).unlink()
    (place/folder).mkdir()
    before = content(place)
    export(target, place).fails(1, place/TARGETS[target], "folder")
    assert content(place) == before

@pytest.mark.parametrize("target, free", [
    ("onnx", 0), ("onnx", 100_000),
    ("openvino", 100_000), ("openvino", 400_000), ("openvino", 500_000),
])
def test_full_disk(target, free, quick, export, small_disk):
    place, fill = small_disk
    write_exports_of_yesterday(place)
    fill(free)
    before = content(place)
    export(target, place).fails(1, place/TARGETS[target], "written")
    assert content(place) == before
