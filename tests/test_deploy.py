"""The model on other machines: `ddl export`, its files scored like any model, and what is wrong with such a file said in one line."""
import json, shutil, subprocess, sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

for module in ("onnx", "onnxscript", "onnxruntime", "openvino", "nncf"): pytest.importorskip(module, reason="the extra deploy is not installed: pip install -e '.[deploy]'")
import onnx, openvino

from conftest import FRAMES, TINY, call, traced, write_dataset
from ddl_nb.data import Clip
from ddl_nb.detector import CALIBRATION, Detector, _windows

SAME = 1e-5                                                   # how far scores of the same weights may lie apart ...
NEAR = 5e-3                                                   # ... and with 8 bits; those of other weights are ten times as far away, which is tested too
LONGER = [*TINY[:4], "--epochs", "6"]                         # an untrained model returns grey for everything, and so would a broken export of it

def scores(model, source, out, *options):
    "The raw scores of all frames, by the command."
    call("score", model, source, "--out", out, *options).works()
    return pd.read_csv(out/"scores.csv").score.to_numpy()

def content(folder): return {f.relative_to(folder): f.read_bytes() if f.is_file() else None for f in folder.rglob("*")}

def header(file): return json.loads({p.key: p.value for p in onnx.load(file).metadata_props}["ddl_nb"])

def with_header(graph, file, about):
    onnx.helper.set_model_props(graph, {"ddl_nb": json.dumps(about)})
    onnx.save(graph, file)

def foreign(name="frames"):
    "A valid network that returns what it is given."
    inside, outside = (onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [None, 3, None, None, None]) for n in (name, "out"))
    graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", [name], ["out"])], "foreign", [inside], [outside])
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)

def other_weights(file, changed):
    "The same network with its largest array of weights a tenth larger."
    model = onnx.load(file)
    largest = max(model.graph.initializer, key=lambda a: a.ByteSize())
    largest.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(largest) * np.float32(1.1), largest.name))
    onnx.save(model, changed)

@pytest.fixture(scope="module")
def deployed(dataset, tmp_path_factory):
    "A model's folder with its three exports, and what the commands printed."
    folder, shown = tmp_path_factory.mktemp("deployed"), {}
    call("fit", dataset, "--out", folder, *LONGER).works()
    for f in ("checkpoint.pt", "training.csv", "run.json", "strangest.csv", "strangest.png"): (folder/f).unlink()
    shown["model.onnx"] = call("export", folder, "--to", "onnx").works().out
    with pytest.MonkeyPatch.context() as patch:
        traced(folder/"model.onnx", patch)
        shown["model.xml"] = call("export", folder/"model.safetensors", "--to", "openvino").works().out
        done = call("export", folder, "--to", "openvino", "--int8", dataset)
    assert done.code == 0 and all("Statistics collection" in line for line in done.lines), done      # NNCF's progress
    return folder, shown | {"model-int8.xml": done.out}

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


# What works ---------------------------------------------------------------------------------------------------------

def test_files_lie_beside_the_model(deployed):
    folder, shown = deployed
    assert set(content(folder)) == {Path(f) for f in ("model.safetensors", "model.onnx", "model.xml", "model.bin", "model-int8.xml", "model-int8.bin")}
    for name, text in shown.items():
        file, difference = text.splitlines()
        assert file == str(folder/name)
        assert difference.startswith("largest difference from PyTorch ") and difference.endswith("on this footage") == ("int8" in name)
        assert float(difference.split()[4]) < (NEAR if "int8" in name else SAME)
    assert (folder/"model-int8.bin").stat().st_size < .4 * (folder/"model.bin").stat().st_size

def test_files_say_nothing_of_the_machine(deployed):
    places = [str(Path(p).parent.parent).encode() for p in (__file__, torch.__file__)]
    assert [f for f, data in content(deployed[0]).items() if any(p in data for p in places)] == []

@pytest.mark.parametrize("name, program", [("model.onnx", "onnxruntime"), ("model.xml", "openvino")])
def test_scores_are_those_of_pytorch(name, program, deployed, original, expected, other, dataset, tmp_path):
    got = scores(deployed[0]/name, dataset, tmp_path, "--maps", "--video")
    assert len(got) == 2 * FRAMES and np.abs(got - expected).max() < SAME and np.abs(other - expected).max() > 1000 * SAME
    about, before = (json.loads((folder/"score.json").read_text()) for folder in (tmp_path, original))
    assert all(about[key] == before[key] for key in ("size", "channels", "scale")) and program in about["versions"]
    np.testing.assert_allclose(np.load(tmp_path/"maps"/"02.npy"), np.load(original/"maps"/"02.npy"), atol=1e-3)
    assert (tmp_path/"video"/"02.mp4").stat().st_size > 1000
    call("evaluate", tmp_path/"scores.csv", dataset).works()

def test_eight_bits_are_near(deployed, expected, other, dataset, tmp_path):
    folder, shown = deployed
    got = scores(folder/"model-int8.xml", dataset, tmp_path/"s")
    assert 0 < np.abs(got - expected).max() < NEAR and np.corrcoef(got, expected)[0, 1] > .9999
    assert np.abs(other - expected).max() > 10 * NEAR and np.corrcoef(other, expected)[0, 1] < .99      # other weights would not pass
    before, after = (scores(folder/name, dataset/"training"/"frames", tmp_path/name) for name in ("model.safetensors", "model-int8.xml"))
    assert f"{np.abs(after - before).max():.1e}" == shown["model-int8.xml"].split()[5]       # it is the difference on normal footage that was said

@pytest.mark.parametrize("name, program", [("model.safetensors", "PyTorch"), ("model.onnx", "ONNX Runtime"), ("model-int8.xml", "OpenVINO")])
def test_info(name, program, deployed):
    shown = call("info", deployed[0]/name).works().out
    original = call("info", deployed[0]).works().out
    assert shown == original.replace("PyTorch", program) and shown.count(program) == 1
    for word in ("c3dsu", "32x48", "square", "0.99: "): assert word in shown

def test_normal_clips_of_the_models_scene(deployed, two_scenes, monkeypatch, tmp_path):
    "Of a source with several scenes, those of the model's own."
    taken = []
    monkeypatch.setattr(Detector, "export", lambda self, out, clips: taken.extend(c.name for c in clips) or 0.)
    monkeypatch.setattr(Detector, "load", lambda file: Detector(None, None, None, scene="02"))
    call("export", deployed[0], "--to", "openvino", "--int8", two_scenes).works()
    assert taken == ["02_001"]

def test_windows_are_spread_over_all_footage():
    "Many short clips and a long one; each clip's frames have one grey level of their own."
    detector = Detector.__new__(Detector)
    detector.model, detector.size, detector.settings = torch.nn.Module(), (16, 16), type("S", (), {"channels": 1})
    detector.model.window = 3
    for lengths in ([4] * 1000, [2000], [5] * 30, [CALIBRATION + 2]):
        clips = [Clip(np.full((n, 16, 16, 1), i % 256, np.uint8)) for i, n in enumerate(lengths)]
        windows = _windows(clips, detector)
        assert CALIBRATION <= len(windows) <= 4 * CALIBRATION
        assert windows[0].shape == (1, 1, 3, 16, 16)
        if len(lengths) > 1: assert len({w.max() for w in windows}) >= 30

def test_ctrl_c_after_models_have_come_and_gone(deployed):
    "OpenVINO gives a thread a stack for its signals, which must not go before the thread."
    program = f"""
import gc, signal, sys
from pathlib import Path
import torch
from ddl_nb.detector import Exported
clip = torch.rand(1, 3, 8, 32, 48).numpy()
first, second = Exported(Path({str(deployed[0]/"model.xml")!r})), Exported(Path({str(deployed[0]/"model.xml")!r}))
first.run(clip); second.run(clip)
del first, second; gc.collect()
try: signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt: sys.exit(130)
"""
    result = subprocess.run([sys.executable, "-X", "faulthandler", "-c", program], capture_output=True, text=True)
    assert result.returncode == 130, result

def test_a_running_model_does_not_need_its_files_any_more(deployed, dataset, tmp_path):
    "A new export to the same place does not disturb whoever is scoring with the old one."
    for f in ("model.xml", "model.bin"): shutil.copy(deployed[0]/f, tmp_path)
    detector = Detector.load(tmp_path/"model.xml")
    (tmp_path/"model.xml").unlink()
    clip = Clip(dataset/"testing"/"frames"/"01")
    np.testing.assert_allclose(detector.score(clip).frames, Detector.load(deployed[0]/"model.safetensors").score(clip).frames, atol=SAME)


# Wrong commands -----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("options, names", [([], ["--to"]), (["--to", "tflite"], ["tflite", "onnx", "openvino"]), (["--to", "ONNX"], ["ONNX"]), (["--to", "onnx", "--int8", "DATA"], ["--int8", "openvino"]),
                                            (["--to", "onnx", "--out", "OUT.xml"], ["OUT.xml", ".onnx"]), (["--to", "openvino", "--out", "OUT.onnx"], ["OUT.onnx", ".xml"]), (["--to", "openvino", "--out", "OUT"], ["OUT", ".xml"])])
def test_misuse(options, names, deployed, dataset, tmp_path):
    before = content(deployed[0])
    call("export", deployed[0], *[str(dataset) if o == "DATA" else o.replace("OUT", str(tmp_path/"OUT")) for o in options]).fails(2, *names)
    assert content(deployed[0]) == before and not content(tmp_path)

def test_no_model(dataset, tmp_path):
    call("export", tmp_path, "--to", "onnx").fails(1, tmp_path/"model.safetensors")
    call("export", tmp_path/"x"/"model.safetensors", "--to", "onnx").fails(1, tmp_path/"x"/"model.safetensors")
    assert not content(tmp_path)

@pytest.mark.parametrize("name, to", [("model.onnx", "onnx"), ("model.onnx", "openvino"), ("model.xml", "openvino")])
def test_exported_already(name, to, deployed):
    before = content(deployed[0])
    call("export", deployed[0]/name, "--to", to).fails(1, deployed[0]/name, "model.safetensors")
    assert content(deployed[0]) == before

@pytest.mark.parametrize("what, names", [("short", [CALIBRATION, FRAMES - 2]), ("tests", ["scene square", "no normal clips", "train/"]), ("none", ["none"]), ("scenes", ["campus", "square", "01, 02"])])
def test_footage_that_does_not_do(what, names, deployed, two_scenes, tmp_path):
    "No half-made file, and the earlier export stays."
    if what in ("short", "tests"): write_dataset(tmp_path/"square", train=1)
    if what == "tests": shutil.rmtree(tmp_path/"square"/"training")
    source = {"short": tmp_path/"square", "tests": tmp_path/"square", "none": tmp_path/"none", "scenes": two_scenes}[what]
    before = content(deployed[0])
    call("export", deployed[0], "--to", "openvino", "--int8", source).fails(1, *names)
    assert content(deployed[0]) == before


# Files that are none, or not whole ----------------------------------------------------------------------------------

@pytest.mark.parametrize("kind", ["missing", "empty", "text", "cut", "nearly whole", "foreign", "newer", "no settings", "a list", "unknown setting"])
def test_onnx_file(kind, deployed, dataset, tmp_path):
    good, file = deployed[0]/"model.onnx", tmp_path/"model.onnx"
    about, data = header(good), good.read_bytes()
    def put(about): with_header(onnx.load(good), file, about)
    {"missing": lambda: None, "empty": file.touch, "text": lambda: file.write_text("a model\n" * 40), "cut": lambda: file.write_bytes(data[:len(data) // 2]), "nearly whole": lambda: file.write_bytes(data[:-3]),
     "foreign": lambda: onnx.save(foreign(), file), "newer": lambda: put(about | {"format": 99}), "no settings": lambda: put({"format": 1}), "a list": lambda: put([1, 2]),
     "unknown setting": lambda: put(about | {"settings": about["settings"] | {"colour": "blue"}})}[kind]()
    message = {"missing": "no such", "foreign": "an ONNX file, but not a model of this package", "newer": "newer version"}.get(kind, "")
    call("score", file, dataset, "--out", tmp_path/"x").fails(1, file, message)
    call("info", file).fails(1, file, message)
    assert not (tmp_path/"x").exists()

@pytest.mark.parametrize("kind", ["missing", "empty", "text", "cut", "foreign", "newer", "no bin", "other bin", "cut bin", "bin of 8 bits"])
def test_openvino_files(kind, deployed, dataset, tmp_path):
    file, weights = tmp_path/"model.xml", tmp_path/"model.bin"
    if kind != "missing":
        for f in ("model.xml", "model.bin"): shutil.copy(deployed[0]/f, tmp_path)
    if kind == "empty": file.write_bytes(b"")
    if kind == "text": file.write_text("<p>a model</p>\n" * 40)
    if kind == "cut": file.write_bytes(file.read_bytes()[:-500])
    if kind == "newer": file.write_text(file.read_text().replace("{&quot;format&quot;: 1,", "{&quot;format&quot;: 99,"))
    if kind == "no bin": weights.unlink()
    if kind == "cut bin": weights.write_bytes(weights.read_bytes()[:-500])
    if kind == "bin of 8 bits": shutil.copy(deployed[0]/"model-int8.bin", weights)
    if kind == "foreign": onnx.save(foreign(), tmp_path/"f.onnx"); openvino.save_model(openvino.Core().read_model(tmp_path/"f.onnx"), file)
    if kind == "other bin":                                   # of the same size
        size = weights.stat().st_size
        other_weights(deployed[0]/"model.onnx", tmp_path/"o.onnx"); openvino.save_model(openvino.Core().read_model(tmp_path/"o.onnx"), tmp_path/"o.xml", compress_to_fp16=False)
        shutil.move(tmp_path/"o.bin", weights)
        assert weights.stat().st_size == size
    message = {"missing": "no such", "foreign": "an OpenVINO file, but not a model of this package", "newer": "newer version", "other bin": "belongs to another model"}.get(kind, ".bin")
    call("score", file, dataset, "--out", tmp_path/"x").fails(1, file, message)
    call("info", file).fails(1, file, message)
    assert not (tmp_path/"x").exists()

@pytest.mark.parametrize("name", ["frames", "pictures"])
def test_our_header_over_another_network(name, deployed, dataset, tmp_path):
    with_header(foreign(name), tmp_path/"model.onnx", header(deployed[0]/"model.onnx"))
    call("score", tmp_path/"model.onnx", dataset, "--out", tmp_path/"x").fails(1, tmp_path/"model.onnx")
    assert not (tmp_path/"x"/"scores.csv").exists()


# An export that fails: what was there stays, and nothing half-written is added ---------------------------------------

@pytest.fixture
def place(tmp_path):
    "A folder with the exports of yesterday."
    folder = tmp_path/"place"
    folder.mkdir()
    for f in ("m.onnx", "m.xml", "m.bin"): (folder/f).write_text("of yesterday")
    return folder

WAYS = [["--to", "onnx", "--out", "m.onnx"], ["--to", "openvino", "--out", "m.xml"], ["--to", "openvino", "--int8", "DATA", "--out", "m.xml"]]

def export(model, place, dataset, options): return call("export", model, *[dataset if o == "DATA" else place/o if o.startswith("m.") else o for o in options])

@pytest.mark.parametrize("options", WAYS[:2], ids=["onnx", "openvino"])
def test_a_good_export_replaces_the_one_of_yesterday(options, quick, deployed, dataset, place):
    before, file = content(place), Path(options[-1])
    export(deployed[0], place, dataset, options).works()
    changed = {f for f in before if content(place)[f] != before[f]}
    assert set(content(place)) == set(before) and changed == ({file, Path("m.bin")} if file.suffix == ".xml" else {file})
    call("info", place/file).works()

@pytest.mark.parametrize("options, module", [(way, m) for way, own in zip(WAYS, (["onnxruntime"], ["openvino"], ["openvino", "nncf"])) for m in ("onnx", "onnxscript", *own)])
def test_missing_extra(options, module, deployed, dataset, place, monkeypatch):
    "Said before the long work, which is a trap here."
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setattr(torch.onnx, "export", lambda *_, **__: pytest.fail("the model was traced all the same"))
    before = content(place)
    export(deployed[0], place, dataset, options).fails(1, module, "pip install 'ddl_nb[deploy]'")
    assert content(place) == before

@pytest.mark.parametrize("name, module", [("model.onnx", "onnxruntime"), ("model.xml", "openvino")])
def test_running_without_the_extra(name, module, deployed, dataset, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    call("score", deployed[0]/name, dataset, "--out", tmp_path/"x").fails(1, module, "pip install 'ddl_nb[deploy]'")
    call("score", deployed[0]/"model.safetensors", dataset, "--out", tmp_path/"y").works()

@pytest.mark.parametrize("options", WAYS[:2], ids=["onnx", "openvino"])
@pytest.mark.parametrize("trouble", ["tracing", "other weights", "no memory"])
def test_export_that_fails(options, trouble, deployed, dataset, place, tmp_path, monkeypatch):
    def fail(*_, **__): raise RuntimeError("unsupported operator\nwith much detail") if trouble == "tracing" else MemoryError()
    if trouble == "other weights": other_weights(deployed[0]/"model.onnx", tmp_path/"other.onnx"); traced(tmp_path/"other.onnx", monkeypatch)
    else: monkeypatch.setattr(torch.onnx, "export", fail)
    before = content(place)
    export(deployed[0], place, dataset, options).fails(1, {"tracing": "unsupported operator", "other weights": "differs from PyTorch", "no memory": "MemoryError"}[trouble])
    assert content(place) == before

@pytest.mark.parametrize("options", WAYS[:2], ids=["onnx", "openvino"])
def test_output_under_a_file(options, quick, deployed, dataset, tmp_path):
    (tmp_path/"file").write_text("I stay.")
    export(deployed[0], tmp_path/"file", dataset, options).fails(1, tmp_path/"file"/options[-1], "written")
    assert content(tmp_path) == {Path("file"): b"I stay."}

@pytest.mark.parametrize("options, folder", [(WAYS[0], "m.onnx"), (WAYS[1], "m.xml"), (WAYS[1], "m.bin")], ids=["onnx", "xml", "bin"])
def test_a_folder_where_the_file_should_be(options, folder, quick, deployed, dataset, place):
    (place/folder).unlink(); (place/folder).mkdir()
    before = content(place)
    export(deployed[0], place, dataset, options).fails(1, place/options[-1], "folder")
    assert content(place) == before

@pytest.mark.parametrize("options, free", [(WAYS[0], 0), (WAYS[0], 100_000), (WAYS[1], 100_000), (WAYS[1], 400_000), (WAYS[1], 500_000)])
def test_full_disk(options, free, quick, deployed, dataset, small_disk):
    place, fill = small_disk
    for f in ("m.onnx", "m.xml", "m.bin"): (place/f).write_text("of yesterday")
    fill(free)
    before = content(place)
    export(deployed[0], place, dataset, options).fails(1, place/options[-1], "written")
    assert content(place) == before
