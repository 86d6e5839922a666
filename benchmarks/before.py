"""Frames a second from files to frame scores by reconstruction: the default network of an earlier
commit, by its own code, and today's, each in processes of their own, in turns:
python benchmarks/before.py COMMIT.

Ped2 is used where DDL_DATA holds it, the plaza elsewhere. One thread for the network; the other
core decodes. Prints and writes results/before.json.
"""
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from ddl_nb.running import provenance, write_json

ROOT = Path(__file__).parent.parent
TIMES = 7
SCORE = """
import os, time, numpy as np, torch
torch.set_num_threads(1)
from ddl_nb.detector import Detector
from ddl_nb.layouts import open_source
from ddl_nb.plaza import plaza
from ddl_nb.training import Settings
ped2 = os.path.isdir(os.path.join(os.environ.get("DDL_DATA", "data"), "ped2"))
clip = (open_source("ped2").scenes[0] if ped2 else plaza()).test[0]
settings = Settings("recon", height=128, width=192)
detector = Detector(settings.model().eval(), settings, (128, 192))
detector.score(clip)
seconds = []
for _ in range(3):
    started = time.perf_counter()
    detector.score(clip)
    seconds.append(time.perf_counter() - started)
print(len(clip) / np.median(seconds))
"""


def frames_per_second(package):
    "Of the package in this folder, by a new process."
    env = os.environ | dict(PYTHONPATH=str(package), OMP_NUM_THREADS="1")
    done = subprocess.run([sys.executable, "-c", SCORE], cwd=package, env=env, text=True,
                          capture_output=True, check=True)
    return float(done.stdout.split()[-1])


def main(commit):
    started, rates = time.perf_counter(), dict(before=[], now=[])
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["git", "clone", "-q", ROOT, folder], check=True)
        subprocess.run(["git", "-C", folder, "checkout", "-q", commit], check=True)
        for _ in range(TIMES):
            for name, package in (("before", folder), ("now", ROOT)):
                rates[name].append(frames_per_second(package))
    ratios = np.array(rates["now"]) / rates["before"]
    before, now = map(np.median, rates.values())
    ratio = float(np.median(ratios))
    print(f"{before:.0f} frames a second before, {now:.0f} now: {ratio:.2f} times "
          f"({ratios.min():.2f} to {ratios.max():.2f})")
    run = provenance(started) | dict(command=f"python benchmarks/before.py {commit}")
    write_json(ROOT / "results" / "before.json",
               dict(commit=commit, frames_per_second=rates, ratio=ratio, run=run))


if __name__ == "__main__":
    if len(sys.argv) != 2: sys.exit(__doc__)
    main(sys.argv[1])
