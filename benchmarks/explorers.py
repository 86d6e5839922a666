"""From an event to the picture, for each explorer at 256x256: python benchmarks/explorers.py.

In the kernel: from a control's new value to the new JPEG, and the same with every figure drawn anew
by matplotlib and sent as PNG, in turns on the same values. In the browser, where Chromium is
installed: from the pressed key to the new picture on the page, JupyterLab and all. All on one
thread. Writes results/explorers.json.
"""
import os
import sys
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path

# before torch, and for the kernel of the browser's notebook
os.environ["OMP_NUM_THREADS"] = "1"
root = Path(__file__).parent.parent
sys.path.insert(0, str(root / "tests"))
import cv2
import nbformat
import numpy as np

from ddl_nb import explore
from ddl_nb.running import provenance, write_json

MOVES = 20


class Redrawn:
    "A `Board` that has matplotlib draw everything anew."
    def __init__(self, figure): self.figure, self.drawn = figure, []

    def clear(self):
        while self.drawn: self.drawn.pop().remove()
        return self

    @property
    def pixels(self):
        self.figure.canvas.draw()
        return np.asarray(self.figure.canvas.buffer_rgba())[..., :3]

    def picture(self, ax, picture): self.drawn.append(ax.imshow(picture, cmap="grey"))

    def line(self, ax, x=None, y=None, colour=(0, 0, 0)):
        self.drawn.append(ax.axhline(y) if x is None else ax.axvline(x))

    def curve(self, ax, x, y, colour, dash=(1, 0)): self.drawn += ax.plot(x, y)

    def point(self, ax, x, y, colour=None): self.drawn += ax.plot(x, y, "o")


SETUP = """
import torch
from ddl_nb.detector import Detector
from ddl_nb.explore import (TrainingMonitor, clip_player, dissector, loss_landscape, pseudo_bench,
                            score_explorer)
from ddl_nb.plaza import plaza
from ddl_nb.training import find_tracks
SIZE = (256, 256)
scene = plaza(train_clips=1, test_clips=2, size=SIZE)
detector = Detector.load("plaza").alone("reconstruction")
detector.size = SIZE                                          # its weights do for any size
objects = find_tracks(scene.train, SIZE)
torch.manual_seed(0)
untrained = Detector(detector.settings.model(), detector.settings, SIZE)
models = {"untrained": untrained, "trained": detector}
"""
EXPLORERS = {
    "clip_player": "clip_player(scene.train[0], objects)",
    "pseudo_bench": "pseudo_bench(detector, scene.train[0], objects)",
    "loss_landscape": "loss_landscape(models, scene.train[0], objects)",
    "score_explorer": "score_explorer(detector, scene)",
    "dissector": "dissector(detector, scene.test[0])",
}
exec(SETUP)


def values(control):
    "The MOVES values of a control that come after its own, round and round."
    if hasattr(control, "options"):
        options = [o[1] if isinstance(o, tuple) else o for o in control.options]
    elif isinstance(control.value, bool): options = [False, True]
    else:
        steps = np.arange(control.min, control.max + control.step / 2, control.step)
        options = steps.clip(None, control.max).tolist()
    after = options.index(control.value) + 1 if control.value in options else 0
    return list(islice(cycle(options), after, after + MOVES))


def moved(explorer, name, value):
    """Milliseconds from a control's new value to the first and to the last picture. None where the
    picture stays: an overlay is switched off where there is none."""
    start, shown = time.perf_counter(), []
    def note(change): shown.append((time.perf_counter() - start) * 1e3)

    explorer.image.observe(note, names="value")
    explorer.controls[name].value = value
    explorer.image.unobserve(note, names="value")
    return (shown[0], shown[-1]) if shown else None


def quantiles(times):
    return dict(median=float(np.median(times)), p95=float(np.quantile(times, .95)))


def kernel(call):
    "Control -> milliseconds to the picture, ours and matplotlib's, in turns."
    ours = eval(call)
    board, encode = explore.Board, explore.encode
    def encode_png(picture, ending): return encode(picture, ".png")

    explore.Board = Redrawn
    redrawn, rows = eval(call), {}
    for name, control in ours.controls.items():
        times, theirs = [], []
        for value in values(control):
            times.append(moved(ours, name, value))
            explore.encode = encode_png
            theirs.append(moved(redrawn, name, value))
            explore.encode = encode
        first, last = zip(*filter(None, times))
        anew = quantiles([t[0] for t in theirs if t])
        rows[name] = dict(first=quantiles(first), last=quantiles(last), moves=len(first),
                          redrawn=anew, ratio=anew["median"] / float(np.median(first)))
    explore.Board = board
    return rows


# In the page: milliseconds from a pressed key to the next picture of an explorer go to `seen`.
STOPWATCH = """() => {
    let pressed
    window.seen = []
    document.addEventListener('keydown', () => pressed = performance.now(), true)
    document.addEventListener('load', event => {
        if (!pressed || !event.target.matches('.ddl-explorer img')) return
        seen.push(performance.now() - pressed)
        pressed = null
    }, true)
}"""


def notebook_of_explorers():
    python = dict(kernelspec=dict(name="python3", display_name="python3"))
    cells = [nbformat.v4.new_code_cell(code) for code in (SETUP, *EXPLORERS.values())]
    return nbformat.v4.new_notebook(metadata=python, cells=cells)


def press_keys(shown, slider, label, explorer):
    "Milliseconds of MOVES moves of a slider."
    page = shown.page
    # one step of the threshold is less than a pixel
    key = "PageUp" if label == "threshold" else "ArrowRight"
    # the loss landscape grows on after its first picture
    sentences = 2 if explorer == "loss_landscape" else 0
    def pictures(): return page.evaluate("() => seen.length")
    def grown(): return shown.note.count("lowest near") == sentences

    slider.focus()
    page.evaluate("() => seen.length = 0")
    for k in range(MOVES):
        page.keyboard.press(key)
        shown.notebook.until(lambda: pictures() > k)
        shown.notebook.until(grown)
    return page.evaluate("() => seen")


def browser():
    """Explorer -> slider -> milliseconds from the pressed key to the first new picture that the
    page has decoded."""
    from lab import Notebook, Shown, chromium, jupyterlab
    rows = {name: {} for name in EXPLORERS}
    with (tempfile.TemporaryDirectory() as folder, chromium() as browser,
          jupyterlab(Path(folder)) as server):
        nbformat.write(notebook_of_explorers(), server[2] / "explorers.ipynb")
        notebook = Notebook(browser, server, "explorers.ipynb")
        notebook.run_all()
        notebook.page.evaluate(STOPWATCH)
        for name, call in EXPLORERS.items():
            shown = Shown(notebook, notebook.cell(call))
            for slider in shown.box.get_by_role("slider").all():
                label = slider.get_attribute("aria-label")
                rows[name][label] = quantiles(press_keys(shown, slider, label, name))
        notebook.close()
    return rows


def each(explorers):
    return [(f"{name} {control}", r) for name, rows in explorers.items()
            for control, r in rows.items()]


if __name__ == "__main__":
    started = time.perf_counter()
    cv2.setNumThreads(1)
    in_kernel = {name: kernel(call) for name, call in EXPLORERS.items()}
    for name, r in each(in_kernel):
        first, anew = r["first"], r["redrawn"]
        print(f"{name}: {first['median']:.1f} ms, 95 % {first['p95']:.1f}; "
              f"drawn anew {anew['median']:.1f}, {r['ratio']:.1f}x", flush=True)
    result = dict(size=SIZE, kernel_ms=in_kernel)
    slowest = dict(kernel=max(r["first"]["median"] for _, r in each(in_kernel)), browser=None)
    try:
        result["browser_ms"] = browser()
        for name, r in each(result["browser_ms"]):
            print(f"in the browser, {name}: {r['median']:.1f} ms, 95 % {r['p95']:.1f}", flush=True)
        slowest["browser"] = max(r["median"] for _, r in each(result["browser_ms"]))
    except ImportError: print("without playwright, so without a browser")
    run = provenance(started) | dict(command="python benchmarks/explorers.py")
    write_json(root / "results" / "explorers.json", result | dict(slowest_ms=slowest, run=run))
