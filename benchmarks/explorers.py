"""From an event to the picture, for each explorer at 256x256: python benchmarks/explorers.py.

In the kernel: from a control's new value to the new JPEG, and the same with every figure drawn anew by matplotlib and sent as PNG, in turns
on the same values. In the browser, where Chromium is installed: from the pressed key to the new picture on the page, JupyterLab and all.
All on one thread. Writes results/explorers.json.
"""
import os
import sys
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"                           # before torch, and for the kernel of the browser's notebook
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
    def line(self, ax, x=None, y=None, colour=(0, 0, 0)): self.drawn.append(ax.axhline(y) if x is None else ax.axvline(x))
    def curve(self, ax, x, y, colour, dash=(1, 0)): self.drawn += ax.plot(x, y)
    def point(self, ax, x, y, colour=None): self.drawn += ax.plot(x, y, "o")


SETUP = """
import torch
from ddl_nb.detector import Detector
from ddl_nb.explore import TrainingMonitor, clip_player, dissector, loss_landscape, pseudo_bench, score_explorer
from ddl_nb.plaza import plaza
from ddl_nb.training import find_tracks
SIZE = (256, 256)
scene = plaza(train_clips=1, test_clips=2, size=SIZE)
detector = Detector.load("plaza")
detector.size = SIZE                                          # its weights do for any size
objects = find_tracks(scene.train, SIZE)
torch.manual_seed(0)
models = {"untrained": Detector(detector.settings.model(), detector.settings, SIZE), "trained": detector}
"""
EXPLORERS = {"clip_player": "clip_player(scene.train[0], objects)", "pseudo_bench": "pseudo_bench(detector, scene.train[0], objects)",
             "loss_landscape": "loss_landscape(models, scene.train[0], objects)", "score_explorer": "score_explorer(detector, scene)", "dissector": "dissector(detector, scene.test[0])"}
exec(SETUP)


def values(control):
    "The MOVES values of a control that come after its own, round and round."
    if hasattr(control, "options"): options = [o[1] if isinstance(o, tuple) else o for o in control.options]
    elif isinstance(control.value, bool): options = [False, True]
    else: options = np.arange(control.min, control.max + control.step / 2, control.step).clip(None, control.max).tolist()
    after = options.index(control.value) + 1 if control.value in options else 0
    return list(islice(cycle(options), after, after + MOVES))


def moved(explorer, name, value):
    "Milliseconds from a control's new value to the first and to the last picture."
    start, shown = time.perf_counter(), []
    note = lambda change: shown.append((time.perf_counter() - start) * 1e3)
    explorer.image.observe(note, names="value")
    explorer.controls[name].value = value
    explorer.image.unobserve(note, names="value")
    return (shown[0], shown[-1]) if shown else None           # an overlay that is switched off where there is none leaves the picture as it is


def quantiles(times): return dict(median=float(np.median(times)), p95=float(np.quantile(times, .95)))


def kernel(call):
    "Control -> milliseconds to the picture, ours and matplotlib's, in turns."
    ours, board, encode = eval(call), explore.Board, explore.encode
    explore.Board = Redrawn
    redrawn, rows = eval(call), {}
    for name, control in ours.controls.items():
        times, theirs = [], []
        for value in values(control):
            times.append(moved(ours, name, value))
            explore.encode = lambda picture, ending: encode(picture, ".png")
            theirs.append(moved(redrawn, name, value))
            explore.encode = encode
        first, last = zip(*filter(None, times))
        rows[name] = dict(first=quantiles(first), last=quantiles(last), moves=len(first))
        rows[name] |= dict(redrawn=quantiles([t[0] for t in theirs if t]))
        rows[name]["ratio"] = rows[name]["redrawn"]["median"] / rows[name]["first"]["median"]
    explore.Board = board
    return rows


def browser():
    "Slider -> milliseconds from the pressed key to the first new picture that the page has decoded."
    from lab import Notebook, Shown, chromium, jupyterlab
    rows = {}
    with tempfile.TemporaryDirectory() as folder, chromium() as browser, jupyterlab(Path(folder)) as server:
        book = nbformat.v4.new_notebook(metadata=dict(kernelspec=dict(name="python3", display_name="python3")), cells=[nbformat.v4.new_code_cell(c) for c in (SETUP, *EXPLORERS.values())])
        nbformat.write(book, server[2] / "explorers.ipynb")
        notebook = Notebook(browser, server, "explorers.ipynb")
        notebook.run_all()
        notebook.page.evaluate("() => { let pressed; document.addEventListener('keydown', () => pressed = performance.now(), true); window.seen = []; document.addEventListener('load', e => { if (pressed && e.target.matches('.ddl-explorer img')) seen.push(performance.now() - pressed), pressed = null }, true) }")
        for name, call in EXPLORERS.items():
            shown = Shown(notebook, notebook.cell(call))
            for slider in shown.box.get_by_role("slider").all():
                label = slider.get_attribute("aria-label")
                slider.focus()
                notebook.page.evaluate("() => seen.length = 0")
                for k in range(MOVES):
                    notebook.page.keyboard.press("PageUp" if label == "threshold" else "ArrowRight")          # one step of the threshold is less than a pixel
                    notebook.until(lambda: notebook.page.evaluate("() => seen.length") > k)
                    notebook.until(lambda: shown.note.count("lowest near") == 2 * (name == "loss_landscape"))       # it grows on after its first picture
                rows.setdefault(name, {})[label] = quantiles(notebook.page.evaluate("() => seen"))
        notebook.close()
    return rows


if __name__ == "__main__":
    started = time.perf_counter()
    cv2.setNumThreads(1)
    result = dict(size=SIZE, kernel_ms={name: kernel(call) for name, call in EXPLORERS.items()})
    for name, rows in result["kernel_ms"].items():
        for control, r in rows.items(): print(f"{name} {control}: {r['first']['median']:.1f} ms, 95 % {r['first']['p95']:.1f}; drawn anew {r['redrawn']['median']:.1f}, {r['ratio']:.1f}x", flush=True)
    try: result["browser_ms"] = browser()
    except ImportError: print("without playwright, so without a browser")
    for name, rows in result.get("browser_ms", {}).items():
        for control, r in rows.items(): print(f"in the browser, {name} {control}: {r['median']:.1f} ms, 95 % {r['p95']:.1f}", flush=True)
    result["slowest_ms"] = dict(kernel=max(r["first"]["median"] for rows in result["kernel_ms"].values() for r in rows.values()),
                                browser=max((r["median"] for rows in result.get("browser_ms", {}).values() for r in rows.values()), default=None))
    write_json(root / "results" / "explorers.json", result | dict(run=provenance(started) | dict(command="python benchmarks/explorers.py")))
