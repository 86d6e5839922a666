"""What a detector sees, as one short film: film.py OUT.webm MODEL SOURCE. WebM, since every browser
plays it."""
import sys
from contextlib import closing
from itertools import islice
from pathlib import Path

import cv2

from ddl_nb.detector import Detector
from ddl_nb.layouts import open_source
from ddl_nb.results import annotated
from ddl_nb.running import DDLError

SECONDS = 60


def pictures(detector, clips):
    "Frames of clips as the detector sees them."
    for clip in clips:
        record = detector.score(clip)
        yield from annotated(detector, clip, record.smoothed, record.maps(), looks=record.rang)


def main(out, model, source):
    detector, scene, out = Detector.load(model), open_source(source).scenes[0], Path(out)
    clips = scene.test or scene.train
    fps, writer = clips[0].fps or 25, None
    out.parent.mkdir(parents=True, exist_ok=True)
    # Closed, since whatever still decodes at Python's end may abort it.
    with closing(pictures(detector, clips)) as frames:
        for frame in islice(frames, round(SECONDS * fps)):
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
