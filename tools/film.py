"""What a detector sees, as one short film: film.py OUT.webm MODEL SOURCE. WebM, since every browser
plays it."""
import sys
from itertools import chain
from pathlib import Path

import cv2

from ddl_nb.detector import Detector
from ddl_nb.layouts import open_source
from ddl_nb.results import annotated
from ddl_nb.running import DDLError

SECONDS = 60


def pictures(model, source):
    "Frames of the test clips as the detector sees them, and frames a second."
    detector, scene = Detector.load(model), open_source(source).scenes[0]
    clips = scene.test or scene.train
    def one(clip):
        record = detector.score(clip)
        return annotated(detector, clip, record.smoothed, record.maps(), looks=record.rang)
    return chain.from_iterable(map(one, clips)), clips[0].fps or 25


def main(out, model, source):
    (frames, fps), out = pictures(model, source), Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    writer = None
    for _, frame in zip(range(round(SECONDS * fps)), frames):
        h, w = (side // 2 * 2 for side in frame.shape[:2])         # the codec wants even sizes
        if writer is None:
            writer = cv2.VideoWriter(str(out), cv2.VideoWriter_fourcc(*"VP80"), fps, (w, h))
        writer.write(cv2.cvtColor(frame[:h, :w], cv2.COLOR_RGB2BGR))
    if writer is None or not writer.isOpened(): raise DDLError(f"{out}: the film cannot be written")
    writer.release()
    print(out)


if __name__ == "__main__":
    if len(sys.argv) != 4: sys.exit("film.py OUT.webm MODEL SOURCE")
    try: main(*sys.argv[1:])
    except DDLError as e: sys.exit(f"film.py: {e}")
