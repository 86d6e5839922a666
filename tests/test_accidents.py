"""What happens to cameras, clocks and files in a year: a watch and its kin go on, and what they
write down is so."""
import json, time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ddl_nb import watch as watching
from ddl_nb.detector import Detector, Scale
from ddl_nb.training import Settings
from ddl_nb.watch import Frame, file_name, watch

DAY = 86400.


# A world without waiting ----------------------------------------------------------------

class Bright:
    "A model to which whatever is bright is strange: it expects black."
    window, channels, device = 1, 3, torch.device("cpu")
    def step(self, x, past=None): return torch.zeros_like(x), past

SETTINGS = Settings("recon", window=1, height=16)
BRIGHT = Detector(Bright(), SETTINGS, (16, 24), Scale(.1, .2, .3, .5, .5, map=1.))

def picture(i, strange=False, size=(16, 24)):
    "Dark with noise; strange with a white square."
    frame = np.random.default_rng(i).integers(0, 20, (*size, 3), dtype=np.uint8)
    if strange: frame[:, :size[1] // 2] = 255
    return frame

class World:
    "Two clocks, one that never jumps and one on the wall, and a screen."
    def __init__(self, patch):
        self.now, self.ahead, self.start, self.said = 1000., 0., time.time(), []
        self.status, self.longest_ring = None, 0
        clock = dict(monotonic=lambda: self.now, time=self.date)
        patch.setattr(watching, "time", SimpleNamespace(**vars(time) | clock))

    def date(self): return self.start + self.now - 1000 + self.ahead
    def say(self, message): self.said.append(message)
    def show(self, status): self.status = status
    def close(self): pass

class Played:
    "A camera of 25 frames a second that plays a script: pictures, seconds of nothing, None."
    name, fps, skipped, footage = "yard", None, 0, ()
    def __init__(self, world, script): self.world, self.script = world, script
    def frames(self, stop):
        for item in self.script:
            if isinstance(item, float): self.world.now += item
            elif item is None: yield None
            else:
                self.world.now += .04
                yield Frame(item, self.world.now, self.world.now)

@pytest.fixture
def world(monkeypatch): return World(monkeypatch)

def played(world, script, out, patch, **options):
    "Watch the script; returns the events."
    patch.setattr(watching, "watched_source", lambda *_: Played(world, script))
    watch(BRIGHT, "yard", out, screen=world, **options)
    return [json.loads(line) for line in (out/"events.jsonl").read_text().splitlines()]


# Clocks ---------------------------------------------------------------------------------

@pytest.mark.parametrize("jump", [-3600., 400 * DAY, -50 * 365 * DAY])
@pytest.mark.parametrize("when", [120, 140])        # between two events, and within one
def test_a_clock_that_jumps(jump, when, world, tmp_path, monkeypatch):
    (tmp_path/"events").mkdir()
    old, new = file_name(world.date() - 3 * DAY), file_name(world.date() - DAY)
    for name in (old, new): (tmp_path/"events"/f"{name}.jpg").touch()

    def script():
        for i in range(600):
            if i == when: world.ahead = jump
            yield picture(i, i % 100 in range(30, 60))

    events = played(world, script(), tmp_path, monkeypatch, before=1, after=1, keep_days=2)
    assert [e["seconds"] for e in events] == pytest.approx([29 / 25] * 6, abs=.01)
    assert all(e["start"] <= e["peak"] <= e["end"] for e in events)
    left = {f.name for f in (tmp_path/"events").iterdir()}
    own = {Path(e[key]).name for e in events for key in ("snapshot", "clip")}
    assert len(own) == 12 and left == own | {f"{new}.jpg"}

def test_days_pass_for_a_watch(world, tmp_path, monkeypatch):
    "What it wrote itself becomes old, too, whatever the clock on the wall says."
    def script():
        for day in range(6):
            world.ahead -= DAY + 4                     # it stands still
            for i in range(100): yield picture(i, i in range(30, 60))
            yield DAY
            yield None

    events = played(world, script(), tmp_path, monkeypatch, keep_days=2)
    assert len(events) == 6
    own = [Path(e["clip"]).name for e in events]
    assert sorted(f.name for f in (tmp_path/"events").glob("*.mp4")) == sorted(own[-2:])
