"""The optional detector: torchvision's Faster R-CNN with random weights where torchvision is there,
one plain line where it is not."""
import urllib.error

import numpy as np
import pytest

from conftest import call, footage, write_images
from ddl_nb.data import Clip
from ddl_nb.running import DDLError
from ddl_nb.tracks import COLUMNS, track_objects
from ddl_nb.training import faster_rcnn, faster_rcnn_objects, find_tracks

WHY = None
try: import torchvision
except (ImportError, RuntimeError) as e:              # RuntimeError: built for another torch
    WHY = f"torchvision cannot be imported: {e}"
with_torchvision = pytest.mark.skipif(WHY is not None, reason=str(WHY))
without_torchvision = pytest.mark.skipif(WHY is None, reason="torchvision is installed")

@pytest.fixture
def images(tmp_path):
    write_images(tmp_path/"images", footage(1, 8)[0])
    return tmp_path/"images"

def fit(images):
    return call("fit", images, "--out", images.parent/"out", "--objects", "fasterrcnn",
                "--height", "32", "--latent", "8")

@without_torchvision
def test_without_torchvision_one_line_names_the_remedy(images):
    fit(images).fails(1, "torchvision", "pip install 'ddl_nb[detect]'", "--objects motion")
    assert not (images.parent/"out"/"model.safetensors").exists()

@pytest.fixture
def clip():
    texture = np.random.default_rng(0).integers(0, 256, (2, 64, 96, 3), dtype=np.uint8)
    return Clip(texture, "texture")

@pytest.fixture
def model():
    "Untrained."
    import torch
    torch.manual_seed(0)
    made = faster_rcnn(weights=None)
    # a smaller picture inside: seconds instead of half a minute
    made.transform.min_size = (128,)
    made.transform.max_size = 192
    return made

@with_torchvision
def test_boxes_lie_in_the_frame_and_can_be_tracked(clip, model):
    assert not model.training
    objects = faster_rcnn_objects(clip, model, confidence=0)
    assert list(objects) == COLUMNS and set(objects["clip"]) == {"texture"}
    assert set(objects.frame) == {0, 1} and objects.frame.is_monotonic_increasing
    x1, y1, x2, y2 = objects[COLUMNS[2:]].to_numpy().T
    assert ((0 <= x1) & (x1 < x2) & (x2 <= 96)).all()
    assert ((0 <= y1) & (y1 < y2) & (y2 <= 64)).all()
    assert x2.max() > 64 and y2.max() > 32        # source pixels: not swapped, not scaled down
    tracks = track_objects(objects)
    assert len(tracks) and list(tracks) == [*COLUMNS, "track"]
    assert (tracks.track >= 0).all()
    assert not tracks.duplicated(["frame", "track"]).any()

@with_torchvision
def test_an_empty_street(clip, model):
    nothing = faster_rcnn_objects(clip, model, confidence=1.1)
    assert list(nothing) == COLUMNS and len(nothing) == 0
    assert len(track_objects(nothing)) == 0

@with_torchvision
def test_the_documented_weights_are_asked_for(monkeypatch):
    from torchvision.models.detection import FasterRCNN_ResNet50_FPN_V2_Weights as Weights
    state, asked = faster_rcnn(weights=None).state_dict(), []
    def get_state_dict(self, **_):
        asked.append(self)
        return state

    monkeypatch.setattr(type(Weights.DEFAULT), "get_state_dict", get_state_dict)
    loaded = faster_rcnn().state_dict()
    # the detector's own, and no others for its backbone
    assert asked == [Weights.DEFAULT]
    assert all((loaded[k] == v).all() for k, v in state.items())

@with_torchvision
@pytest.mark.parametrize("error", [
    urllib.error.URLError("no route to host"),
    ConnectionResetError(104, "connection reset"),
    RuntimeError("invalid hash value"),
])
def test_weights_that_cannot_be_fetched_give_one_line(images, monkeypatch, tmp_path, error):
    def download(*_, **__): raise error

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))           # no weights of an earlier download
    monkeypatch.setattr("torch.hub.download_url_to_file", download)
    with pytest.raises(DDLError, match="could not be fetched"):
        find_tracks([Clip(images)], (32, 48), how="fasterrcnn")
    why = "the weights of Faster R-CNN could not be fetched"
    fit(images).fails(1, why, "--objects motion")
