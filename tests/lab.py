"""JupyterLab on loopback, a lesson in Chromium, and an explorer in it,
moved by keyboard and by mouse."""
import json, os, re, shutil, subprocess, sys, time, urllib.request
from contextlib import contextmanager
from pathlib import Path

import nbformat
from playwright.sync_api import expect, sync_playwright

ROOT = Path(__file__).parent.parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, BROWSERS)), None)
SCREENSHOTS = Path(__file__).parent/"screenshots"
LONG, SHORT = 180_000, 20_000        # milliseconds, for what runs and for what answers
FOCUS = 60                           # presses of the Tab key that reach a control; links count, too

def copy_notebooks(folder):
    checkpoints = shutil.ignore_patterns(".ipynb_checkpoints")
    shutil.copytree(ROOT/"nbs", folder/"nbs", ignore=checkpoints)
    shutil.copytree(ROOT/"results", folder/"results")        # lessons read records beside them

def ask_for_no_news(settings):
    file = settings/"@jupyterlab"/"apputils-extension"/"notification.jupyterlab-settings"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"fetchNews": "false"}))

def surroundings(folder):
    "The environment of a server that keeps everything in `folder`."
    env = dict(os.environ)
    env.pop("MPLBACKEND", None)                               # figures appear in the page
    for name in ("CONFIG_DIR", "DATA_DIR", "RUNTIME_DIR"):
        env[f"JUPYTER_{name}"] = str(folder/name)
    env["JUPYTERLAB_SETTINGS_DIR"] = str(folder/"settings")
    env["JUPYTERLAB_WORKSPACES_DIR"] = str(folder/"workspaces")
    env["IPYTHONDIR"] = str(folder/"ipython")
    return env

def root_too(option): return [option] * (os.getuid() == 0)

def server_info(server, folder):
    "What a server writes of itself when it is ready; it fails if it ends or takes a minute."
    deadline = time.monotonic() + 60
    found = []
    while not found and server.poll() is None and time.monotonic() < deadline:
        time.sleep(.1)
        found = list((folder/"RUNTIME_DIR").glob("jpserver-*.json"))
    assert found, (folder/"log.txt").read_text()
    return json.loads(found[0].read_text())

@contextmanager
def jupyterlab(folder):
    """A server with a copy of the notebooks, whose settings and files are all in `folder`:
    (its address, its token, the notebooks' folder)."""
    copy_notebooks(folder)
    ask_for_no_news(folder/"settings")
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", "--port=0",
               f"--ServerApp.root_dir={folder/'nbs'}", *root_too("--allow-root")]
    with open(folder/"log.txt", "w") as log:
        server = subprocess.Popen(command, env=surroundings(folder), cwd=folder,
                                  stdout=log, stderr=log)
        try:
            info = server_info(server, folder)
            yield info["url"], info["token"], folder/"nbs"
        finally:
            server.terminate()
            server.wait(30)

@contextmanager
def chromium():
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=root_too("--no-sandbox"))
        yield browser
        browser.close()

def excerpt(notebook, *parts, shorter):
    """A notebook of those code cells of `notebook`, in its order, that hold one of `parts`,
    with the replacements of `shorter`; written beside it. Returns its path."""
    book = nbformat.read(notebook, 4)
    code = [c for c in book.cells if c.cell_type == "code"]
    book.cells = [c for c in code if any(p in c.source for p in parts)]
    def count(text): return sum(text in c.source for c in book.cells)

    for p in parts: assert count(p) == 1, f"{notebook}: not one cell with {p}"
    for long, short in shorter.items():
        assert count(long) == 1, f"{notebook}: not one of these cells with {long}"
        for c in book.cells: c.source = c.source.replace(long, short)
    path = notebook.with_name(f"{notebook.stem}_excerpt.ipynb")
    nbformat.write(book, path)
    return path

INDICATOR = '.jp-Notebook-ExecutionIndicator[data-status="{}"]'

class Notebook:
    "A notebook that is open in a page of its own."
    def __init__(self, browser, lab, path):
        self.url, self.token, root = lab
        self.file = root/path
        self.page = browser.new_page(viewport=dict(width=1280, height=1000))
        self.page.set_default_timeout(SHORT)
        self.page.goto(f"{self.url}lab/tree/{path}?token={self.token}&reset", timeout=LONG)
        idle = self.page.locator(".jp-StatusBar-TextItem", has_text=" | Idle")
        expect(idle).to_be_visible(timeout=LONG)              # the kernel is there

    def close(self):
        "Keep a picture of the page, close it, and end the kernel."
        self.shot(f"{self.file.stem}_last")
        self.page.close()
        for session in self.api("GET", "sessions"):
            self.api("DELETE", f"sessions/{session['id']}")

    def api(self, method, path):
        headers = {"Authorization": f"token {self.token}"}
        request = urllib.request.Request(f"{self.url}api/{path}", method=method, headers=headers)
        with urllib.request.urlopen(request) as answer: return json.loads(answer.read() or "null")

    def idle(self):
        "Wait until nothing runs."
        self.page.wait_for_selector(INDICATOR.format("idle"), timeout=LONG)

    def run_all(self, wait=True):
        "Run all cells from the menu, as a student does."
        for name in ("Run", "Run All Cells"):
            self.page.get_by_role("menuitem", name=name, exact=True).click()
        if wait: self.done()

    def done(self):
        """Wait until each code cell has its number (JupyterLab attaches cells to the page one by
        one), or one has failed."""
        count = sum(c.cell_type == "code" for c in nbformat.read(self.file, 4).cells)
        prompts = ".jp-CodeCell .jp-InputPrompt"
        numbered = self.page.locator(prompts, has_text=re.compile(r"\d"))
        self.until(lambda: numbered.count() == count or self.errors(), LONG)
        assert self.errors() == []
        self.idle()

    def until(self, condition, limit=SHORT):
        deadline = time.monotonic() + limit / 1000
        while not condition():
            assert time.monotonic() < deadline, f"not within {limit / 1000:.0f} seconds"
            self.page.wait_for_timeout(50)

    def running(self): return self.page.locator(INDICATOR.format("busy")).count() > 0

    def cell(self, text):
        "The first code cell that holds this text."
        source = self.page.locator(".cm-content", has_text=text)
        return self.page.locator(".jp-CodeCell").filter(has=source).first

    def errors(self):
        "What Python or a widget of the page complains of."
        complaints = ('[data-mime-type="application/vnd.jupyter.error"], '
                      '.jupyter-widgets-error-widget')
        return self.page.locator(complaints).all_text_contents()

    def verdicts(self):
        "What the checks of the page's exercises say."
        outputs = self.page.locator(".jp-OutputArea-output").all_text_contents()
        return re.findall("^(right|wrong|not yet): ", "\n".join(outputs), re.M)

    def answer(self, definition, result, check):
        """Type a function's definition, which ends with `return `, and its result; run it and the
        cell with `check`. Returns the verdict."""
        self.cell(definition.splitlines()[0]).locator(".cm-content").click()
        self.page.keyboard.press("Control+A")
        self.page.keyboard.insert_text(definition + result)
        self.page.keyboard.press("Control+Enter")
        cell = self.cell(check)
        prompt = cell.locator(".jp-InputPrompt")
        before = prompt.inner_text()
        cell.locator(".cm-content").click()
        self.page.keyboard.press("Control+Enter")
        expect(prompt).to_have_text(re.compile(r"\[\d+\]"), timeout=LONG)
        expect(prompt).not_to_have_text(before, timeout=LONG)
        self.idle()
        return cell.locator(".jp-OutputArea-output").first.inner_text()

    def shot(self, name, cell=None):
        SCREENSHOTS.mkdir(exist_ok=True)
        (cell or self.page).screenshot(path=SCREENSHOTS/f"{name}.png")

# the bytes of an image in the page, as text
BYTES = """async image => {
    const answer = await fetch(image.src)
    const bytes = new Uint8Array(await answer.arrayBuffer())
    return btoa(Array.from(bytes, b => String.fromCharCode(b)).join(""))
}"""

class Shown:
    "The explorer below a cell."
    def __init__(self, notebook, cell):
        self.notebook, self.page, self.cell = notebook, notebook.page, cell
        self.box = cell.locator(".ddl-explorer")
        self.image = self.box.locator("img")
        self.box.scroll_into_view_if_needed()

    @property
    def note(self): return self.box.locator(".widget-html-content").text_content()

    def control(self, role, name):
        "A control by what a screen reader would call it."
        return self.box.get_by_role(role, name=name, exact=True)

    def picture(self):
        "The bytes of the picture, once it is there for the eye."
        self.page.wait_for_function("i => i.complete && i.naturalWidth > 100",
                                    arg=self.image.element_handle())
        return self.image.evaluate(BYTES)

    def changed(self, move, says=""):
        """Do something, and wait until the picture is another and the sentence holds `says`
        (a function: what it returns then). Returns the sentence."""
        picture = self.picture()
        def has_changed():
            words = says() if callable(says) else says
            return words in self.note and self.picture() != picture

        move()
        self.notebook.until(has_changed)
        return self.note

    def reach(self, control):
        "Come to a control with the Tab key, from the cell it is in."
        self.cell.locator(".jp-InputPrompt").click()
        for _ in range(FOCUS):
            self.page.keyboard.press("Tab")
            if control.evaluate("c => c === document.activeElement"): return
        raise AssertionError(f"{FOCUS} times Tab does not lead to {control}")

    def press(self, role, name, *keys, says=""):
        "Come to a control with the Tab key and press keys on it; it must keep the focus."
        control = self.control(role, name)
        self.reach(control)
        def keyboard():
            for key in keys: self.page.keyboard.press(key)
        said = self.changed(keyboard, says)
        assert control.evaluate("c => c === document.activeElement"), f"{name} has lost the focus"
        return said

    def click(self, role, name, says=""):
        return self.changed(self.control(role, name).click, says)

    def choose(self, name, option, says=""):
        control = self.control("combobox", name)
        return self.changed(lambda: control.select_option(option), says)

    def drag(self, name, share, says=""):
        """Drag a slider with the mouse to a share of its track; the picture must change before the
        button is up. `{}` in `says`: the slider's value."""
        handle = self.control("slider", name)
        handle.scroll_into_view_if_needed()
        at = handle.bounding_box()
        slider = handle.locator("xpath=ancestor::*[contains(@class, 'noUi-target')]")
        track = slider.bounding_box()
        y = at["y"] + at["height"] / 2
        def mouse():
            self.page.mouse.move(at["x"] + at["width"] / 2, y)
            self.page.mouse.down()
            self.page.mouse.move(track["x"] + track["width"] * share, y, steps=5)
        said = self.changed(mouse, lambda: says.format(self.typed(name)))
        self.page.mouse.up()
        return said

    def typed(self, name):
        "What stands beside a slider."
        return self.control("textbox", f"{name}, typed").inner_text()

    def nameless(self):
        "Roles of all controls and pictures to which a screen reader would give no name."
        nameless = r'^ *- (button|slider|combobox|checkbox|textbox|img)(?! "[^"]+")'
        return re.findall(nameless, self.box.aria_snapshot(), re.M)
