"""Where opencv-python cannot load for want of libGL (a server without a screen), put the headless build of the same version in its place."""
import subprocess
import sys
from importlib.metadata import version


def pip(*args):
    subprocess.run([sys.executable, "-m", "pip", *args], check=True)


tried = subprocess.run([sys.executable, "-c", "import cv2"], capture_output=True, text=True)
if tried.returncode and "libGL" in tried.stderr:
    wanted = version("opencv-python")
    print(f"import cv2 fails here for a missing libGL: opencv-python-headless {wanted} takes the place of opencv-python")
    pip("uninstall", "-q", "-y", "opencv-python")
    pip("install", "-q", "--no-deps", f"opencv-python-headless=={wanted}")
    subprocess.run([sys.executable, "-c", "import cv2"], check=True)
elif tried.returncode:
    sys.exit(tried.stderr)
