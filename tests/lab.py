"""JupyterLab on loopback, a lesson in Chromium, and an explorer in it, moved by keyboard and by mouse."""
import json, os, re, shutil, subprocess, sys, time, urllib.request
from contextlib import contextmanager
from pathlib import Path

import nbformat
from playwright.sync_api import expect, sync_playwright

ROOT = Path(__file__).parent.parent
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SCREENSHOTS = Path(__file__).parent/"screenshots"
LONG, SHORT = 180_000, 20_000                                 # milliseconds, for what runs and for what answers
FOCUS = 40                                                    # more presses of the Tab key than any cell has controls

@contextmanager
def jupyterlab(folder):
    "A server with a copy of the notebooks, whose settings and files are all in `folder`: (its address, its token, the notebooks' folder)."
    shutil.copytree(ROOT/"nbs", folder/"nbs", ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    shutil.copytree(ROOT/"results", folder/"results")         # lessons read records beside them
    settings = folder/"settings"/"@jupyterlab"/"apputils-extension"/"notification.jupyterlab-settings"
    settings.parent.mkdir(parents=True)
    settings.write_text(json.dumps({"fetchNews": "false"}))
    env = {k: v for k, v in os.environ.items() if k != "MPLBACKEND"}           # figures appear in the page
    for name in ("CONFIG_DIR", "DATA_DIR", "RUNTIME_DIR"): env[f"JUPYTER_{name}"] = str(folder/name)
    env |= dict(JUPYTERLAB_SETTINGS_DIR=str(folder/"settings"), JUPYTERLAB_WORKSPACES_DIR=str(folder/"workspaces"), IPYTHONDIR=str(folder/"ipython"))
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", "--port=0", f"--ServerApp.root_dir={folder/'nbs'}"]
    with open(folder/"log.txt", "w") as log:
        server = subprocess.Popen(command + ["--allow-root"] * (os.getuid() == 0), env=env, cwd=folder, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + 60
            while not (found := [*(folder/"RUNTIME_DIR").glob("jpserver-*.json")]) and server.poll() is None and time.monotonic() < deadline: time.sleep(.1)
            assert found, (folder/"log.txt").read_text()
            info = json.loads(found[0].read_text())
            yield info["url"], info["token"], folder/"nbs"
        finally:
            server.terminate()
            server.wait(30)

@contextmanager
def chromium():
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"] * (os.getuid() == 0))
        yield browser
        browser.close()

def excerpt(notebook, *parts, shorter):
    "A notebook of those code cells of `notebook`, in its order, that hold one of `parts`, with the replacements of `shorter`; written beside it. Returns its path."
    book = nbformat.read(notebook, 4)
    cells = [c for c in book.cells if c.cell_type == "code" and any(p in c.source for p in parts)]
    for p in parts: assert sum(p in c.source for c in cells) == 1, f"{notebook}: not one cell with {p}"
    for long, short in shorter.items():
        assert sum(long in c.source for c in cells) == 1, f"{notebook}: not one of these cells with {long}"
        for c in cells: c.source = c.source.replace(long, short)
    book.cells = cells
    path = notebook.with_name(f"{notebook.stem}_excerpt.ipynb")
    nbformat.write(book, path)
    return path

class Notebook:
    "A notebook that is open in a page of its own."
    def __init__(self, browser, lab, path):
        self.url, self.token, root = lab
        self.page, self.file = browser.new_page(viewport=dict(width=1280, height=1000)), root/path
        self.page.set_default_timeout(SHORT)
        self.page.goto(f"{self.url}lab/tree/{path}?token={self.token}&reset", timeout=LONG)
        expect(self.page.locator(".jp-StatusBar-TextItem", has_text=" | Idle")).to_be_visible(timeout=LONG)    # the kernel is there

    def close(self):
        "Keep a picture of the page, close it, and end the kernel."
        self.shot(f"{self.file.stem}_last")
        self.page.close()
        for session in self.api("GET", "sessions"): self.api("DELETE", f"sessions/{session['id']}")

    def api(self, method, path):
        request = urllib.request.Request(f"{self.url}api/{path}", method=method, headers={"Authorization": f"token {self.token}"})
        with urllib.request.urlopen(request) as answer: return json.loads(answer.read() or "null")

    def idle(self): self.page.wait_for_selector('.jp-Notebook-ExecutionIndicator[data-status="idle"]', timeout=LONG)

    def run_all(self, wait=True):
        "Run all cells from the menu, as a student does."
        for name in ("Run", "Run All Cells"): self.page.get_by_role("menuitem", name=name, exact=True).click()
        if wait: self.done()

    def done(self):
        "Wait until each code cell has its number (JupyterLab attaches cells to the page one by one), or one has failed."
        count = sum(c.cell_type == "code" for c in nbformat.read(self.file, 4).cells)
        numbered = self.page.locator(".jp-CodeCell .jp-InputPrompt", has_text=re.compile(r"\d"))
        self.until(lambda: numbered.count() == count or self.errors(), LONG)
        assert self.errors() == []
        self.idle()

    def until(self, condition, limit=SHORT):
        deadline = time.monotonic() + limit / 1000
        while not condition():
            assert time.monotonic() < deadline, f"not within {limit / 1000:.0f} seconds"
            self.page.wait_for_timeout(50)

    def running(self): return self.page.locator('.jp-Notebook-ExecutionIndicator[data-status="busy"]').count() > 0

    def cell(self, text): return self.page.locator(".jp-CodeCell").filter(has=self.page.locator(".cm-content", has_text=text)).first

    def errors(self):
        "What Python or a widget of the page complains of."
        return self.page.locator('[data-mime-type="application/vnd.jupyter.error"], .jupyter-widgets-error-widget').all_text_contents()

    def verdicts(self):
        "What the checks of the page's exercises say."
        return re.findall("^(right|wrong|not yet): ", "\n".join(self.page.locator(".jp-OutputArea-output").all_text_contents()), re.M)

    def answer(self, definition, result, check):
        "Type a function's definition, which ends with `return `, and its result; run it and the cell with `check`. Returns the verdict."
        self.cell(definition.splitlines()[0]).locator(".cm-content").click()
        self.page.keyboard.press("Control+A")
        self.page.keyboard.insert_text(definition + result)
        self.page.keyboard.press("Control+Enter")
        cell = self.cell(check)
        before = cell.locator(".jp-InputPrompt").inner_text()
        cell.locator(".cm-content").click()
        self.page.keyboard.press("Control+Enter")
        expect(cell.locator(".jp-InputPrompt")).to_have_text(re.compile(r"\[\d+\]"), timeout=LONG)
        expect(cell.locator(".jp-InputPrompt")).not_to_have_text(before, timeout=LONG)
        self.idle()
        return cell.locator(".jp-OutputArea-output").first.inner_text()

    def shot(self, name, cell=None):
        SCREENSHOTS.mkdir(exist_ok=True)
        (cell or self.page).screenshot(path=SCREENSHOTS/f"{name}.png")

class Shown:
    "The explorer below a cell."
    def __init__(self, notebook, cell):
        self.notebook, self.page, self.cell = notebook, notebook.page, cell
        self.box, self.image = cell.locator(".ddl-explorer"), cell.locator(".ddl-explorer img")
        self.box.scroll_into_view_if_needed()

    @property
    def note(self): return self.box.locator(".widget-html-content").text_content()

    def control(self, role, name):
        "A control by what a screen reader would call it."
        return self.box.get_by_role(role, name=name, exact=True)

    def picture(self):
        "The bytes of the picture, once it is there for the eye."
        self.page.wait_for_function("i => i.complete && i.naturalWidth > 100", arg=self.image.element_handle())
        return self.image.evaluate("async i => btoa(String.fromCharCode(...new Uint8Array(await (await fetch(i.src)).arrayBuffer())))")

    def changed(self, move, says=""):
        "Do something, and wait until the picture is another and the sentence holds `says` (a function: what it returns then). Returns the sentence."
        picture = self.picture()
        move()
        self.notebook.until(lambda: (says() if callable(says) else says) in self.note and self.picture() != picture)
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

    def click(self, role, name, says=""): return self.changed(self.control(role, name).click, says)

    def choose(self, name, option, says=""): return self.changed(lambda: self.control("combobox", name).select_option(option), says)

    def drag(self, name, share, says=""):
        "Drag a slider with the mouse to a share of its track; the picture must change before the button is up. `{}` in `says`: the slider's value."
        handle = self.control("slider", name)
        handle.scroll_into_view_if_needed()
        at, track = handle.bounding_box(), handle.locator("xpath=ancestor::*[contains(@class, 'noUi-target')]").bounding_box()
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
        return re.findall(r'^ *- (button|slider|combobox|checkbox|textbox|img)(?! "[^"]+")', self.box.aria_snapshot(), re.M)
