"""Keep the record of a run: python tools/record.py NAME FIT_FOLDER SCORE_FOLDER writes results/NAME.json."""
import json
import sys
from pathlib import Path

name, fit, score = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
parts = {"fit": fit / "run.json", "score": score / "score.json", "report": score / "report.json"}
record = {key: json.loads(path.read_text()) for key, path in parts.items()}
(Path(__file__).parent.parent / "results" / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")
