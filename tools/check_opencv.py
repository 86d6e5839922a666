"""Put the headless build of opencv-python in its place where it cannot load for want of libGL:
on a server without a screen. The version stays."""
import subprocess
import sys
from importlib.metadata import version


def pip(*args):
    subprocess.run([sys.executable, "-m", "pip", *args], check=True)


IMPORT = [sys.executable, "-c", "import cv2"]
tried = subprocess.run(IMPORT, capture_output=True, text=True)
if tried.returncode and "libGL" in tried.stderr:
    wanted = version("opencv-python")
    print("import cv2 fails here for a missing libGL: "
          f"opencv-python-headless {wanted} takes the place of opencv-python")
    pip("uninstall", "-q", "-y", "opencv-python")
    pip("install", "-q", "--no-deps", f"opencv-python-headless=={wanted}")
    subprocess.run(IMPORT, check=True)
elif tried.returncode:
    sys.exit(tried.stderr)
