"""The built-in scene's clips are rendered once and kept;
what is kept is what would be rendered, and never in the way."""
import numpy as np
import pytest

import ddl_nb.plaza
from ddl_nb.plaza import plaza

SMALL = dict(train_clips=1, test_clips=2, frames=4, size=(48, 72))

@pytest.fixture
def kept(tmp_path, monkeypatch):
    monkeypatch.setenv("DDL_CACHE", str(tmp_path/"cache"))
    return tmp_path/"cache"

@pytest.fixture
def rendered(monkeypatch):
    "The clips that are rendered, as they are."
    film, clips = ddl_nb.plaza.film, []
    def noted(*args):
        clips.append(args)
        return film(*args)

    monkeypatch.setattr(ddl_nb.plaza, "film", noted)
    return clips

def same(a, b):
    for x, y in zip(a.train + a.test, b.train + b.test, strict=True):
        assert np.array_equal(x.array(), y.array())
    assert a.kinds == b.kinds and a.objects.equals(b.objects)
    for name, mask in a.masks.items():
        assert np.array_equal(mask.array(channels=1), b.masks[name].array(channels=1))

def test_a_clip_is_rendered_once(kept, rendered):
    first = plaza(**SMALL)
    assert len(rendered) == 3
    same(plaza(**SMALL), first)
    assert len(rendered) == 3
    plaza(**SMALL | dict(test_clips=3))
    assert len(rendered) == 4                                 # only the new one
    for other in (dict(seed=1), dict(frames=5), dict(size=(48, 80))):
        rendered.clear()
        plaza(**SMALL | other)
        assert len(rendered) == 3

def test_what_is_kept_can_be_written_to(kept):
    before = plaza(**SMALL).train[0].array()
    plaza(**SMALL).train[0].pixels[:] = 0
    assert np.array_equal(plaza(**SMALL).train[0].array(), before)

def test_a_changed_renderer_renders_again(kept, rendered, monkeypatch):
    plaza(**SMALL)
    rendered.clear()
    monkeypatch.setattr(ddl_nb.plaza.cv2, "__version__", "another")
    plaza(**SMALL)
    assert len(rendered) == 3

def test_a_damaged_clip_is_rendered_again(kept, rendered):
    first = plaza(**SMALL)
    for file in kept.rglob("output.pkl"): file.write_bytes(file.read_bytes()[:1000])
    rendered.clear()
    same(plaza(**SMALL), first)
    assert len(rendered) == 3

@pytest.mark.parametrize("free", [0, 10_000])
def test_no_room_to_keep_it(free, small_disk, rendered, monkeypatch):
    place, fill = small_disk
    fill(free)
    monkeypatch.setenv("DDL_CACHE", str(place/"cache"))
    with pytest.warns(Warning, match="No space left"):
        same(plaza(**SMALL), plaza(**SMALL))
    assert len(rendered) == 6

def test_no_place_to_keep_it(rendered, tmp_path, monkeypatch):
    (tmp_path/"file").touch()
    monkeypatch.setenv("DDL_CACHE", str(tmp_path/"file"/"cache"))
    with pytest.warns(Warning, match="Not a directory"):
        same(plaza(**SMALL), plaza(**SMALL))
    assert len(rendered) == 6
