"""`ddl` as a process of its own that computes at once: it is forked from one that has imported everything, which takes longer than most tests do."""
import atexit, multiprocessing, os, signal, subprocess, sys, threading
from concurrent.futures import ThreadPoolExecutor

server = multiprocessing.get_context("forkserver")
server.set_forkserver_preload(["ddl_nb.cli", "torch._dynamo", "supervision", "trackers"])    # torch._dynamo: every first step of an optimizer imports it

def main(args, first, session, env, folder, *pipes):
    "What the process does: it takes its surroundings, runs the lines `first` and then `ddl`."
    if session: os.setsid()
    os.environ.clear(); os.environ.update(env)
    os.chdir(folder)
    for fd, pipe in enumerate(pipes, 1): os.dup2(pipe.fileno(), fd); pipe.close()
    sys.argv, sys.stdout, sys.stderr = ["ddl", *args], *(open(fd, "w", buffering=1, closefd=False) for fd in (1, 2))
    exec(first, {})
    from ddl_nb.cli import main
    try: main()
    finally: threading._shutdown(); atexit._run_exitfuncs()      # as an interpreter ends; a forked process would leave joblib's workers to themselves

class Process:
    "What subprocess.Popen is, as far as these tests use it."
    def __init__(self, args, first="", env=None, start_new_session=False):
        (out, theirs_1), (err, theirs_2) = server.Pipe(duplex=False), server.Pipe(duplex=False)
        self.args, environment = args, dict(os.environ if env is None else env)
        self.process = server.Process(target=main, args=(args, first, start_new_session, environment, os.getcwd(), theirs_1, theirs_2))
        self.process.start()
        theirs_1.close(); theirs_2.close()
        self.stdout, self.stderr = (open(os.dup(pipe.fileno()), errors="replace") for pipe in (out, err))
        self.pid = self.process.pid

    @property
    def returncode(self): return self.process.exitcode
    def poll(self): return self.returncode
    def wait(self, timeout=None):
        self.process.join(timeout)
        if self.returncode is None: raise subprocess.TimeoutExpired(self.args, timeout)
        return self.returncode
    def send_signal(self, number): os.kill(self.pid, number)
    def kill(self): self.send_signal(signal.SIGKILL)

    def communicate(self):
        with ThreadPoolExecutor() as threads: texts = list(threads.map(lambda f: f.read(), (self.stdout, self.stderr)))
        self.wait()
        return texts
