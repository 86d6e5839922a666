"""`ddl` as a process of its own that computes at once: it is forked from one that has imported
everything, which takes longer than most tests do."""
import atexit, multiprocessing, os, signal, subprocess, sys, threading
from concurrent.futures import ThreadPoolExecutor

server = multiprocessing.get_context("forkserver")
# torch._dynamo: every first step of an optimizer imports it
server.set_forkserver_preload(["ddl_nb.cli", "torch._dynamo", "supervision", "trackers"])

def main(args, first, session, env, folder, *pipes):
    "What the process does: it takes its surroundings, runs the lines `first` and then `ddl`."
    if session: os.setsid()
    os.environ.clear()
    os.environ.update(env)
    os.chdir(folder)
    for fd, pipe in enumerate(pipes, 1):
        os.dup2(pipe.fileno(), fd)
        pipe.close()
    sys.argv = ["ddl", *args]
    sys.stdout, sys.stderr = (open(fd, "w", buffering=1, closefd=False) for fd in (1, 2))
    exec(first, {})
    from ddl_nb.cli import main
    try: main()
    finally:
        # as an interpreter ends; a forked process would leave joblib's workers to themselves
        threading._shutdown()
        atexit._run_exitfuncs()

class Process:
    "What subprocess.Popen is, as far as these tests use it."
    def __init__(self, args, first="", env=None, start_new_session=False):
        pipes = [server.Pipe(duplex=False) for _ in range(2)]
        theirs = [writing for _, writing in pipes]
        environment = dict(os.environ if env is None else env)
        given = args, first, start_new_session, environment, os.getcwd(), *theirs
        self.process = server.Process(target=main, args=given)
        self.process.start()
        for pipe in theirs: pipe.close()
        self.stdout, self.stderr = (open(os.dup(reading.fileno()), errors="replace")
                                    for reading, _ in pipes)
        self.args = args
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
        with ThreadPoolExecutor() as threads:
            texts = list(threads.map(lambda f: f.read(), (self.stdout, self.stderr)))
        self.wait()
        return texts
