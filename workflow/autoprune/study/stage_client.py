"""What stands for `python` in a job: has the server of stages fork it, or becomes `python`.

    python -I -S stage_client.py SOCKET -m MODULE WORD ...

It takes the stage's signals and ends as the stage does. It leaves its process group to the stage,
so that a Ctrl-C reaches each once. A server that refuses, or dies, is no error: then this process
becomes `python -m MODULE WORD ...`. It imports little, as every job waits for it.
"""

import json
import os
import signal
import socket
import sys
import time
from contextlib import suppress

PASSED_ON = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT]
PASSED_ON += [signal.SIGUSR1, signal.SIGUSR2]


def main() -> None:
    """Ask the server for the module among the words; without one become the interpreter."""
    server, *words = sys.argv[1:]
    if "-m" in words[:-1]:
        at = words.index("-m")
        ask(server, words[:at], words[at + 1 :])
    os.execv(sys.executable, [sys.executable, *words])


def ask(server: str, flags: list[str], command: list[str]) -> None:
    """End as the stage that the server forks; returns where there is none."""
    ignored = [number for number in PASSED_ON if signal.getsignal(number) is signal.SIG_IGN]
    if signal.SIGINT not in ignored:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # not in a traceback
    mask = os.umask(0o077)  # which can only be read by setting it
    os.umask(mask)
    request = {
        "flags": flags,
        "command": command,
        "place": os.getcwd(),  # noqa: PTH109 - pathlib takes as long to load as all else here
        "variables": dict(os.environ),
        "ignored": ignored,
        "umask": mask,
        "group": os.getpgrp(),
        "client": [os.getpid(), os.getppid()],
    }
    body = json.dumps(request).encode()
    with socket.socket(socket.AF_UNIX) as link:
        try:
            link.connect(server)
            socket.send_fds(link, [len(body).to_bytes(8, "big")], [0, 1, 2])
            link.sendall(body)
            told = link.recv(64)
        except OSError:
            return
        if told:
            live_as_the_stage(link, told, [n for n in PASSED_ON if n not in ignored])


def live_as_the_stage(link: socket.socket, told: bytes, numbers: list[signal.Signals]) -> None:
    """Pass signals on to the stage and end as it does; returns when the server has died."""

    def pass_on(number: int, frame: object) -> None:
        with suppress(OSError):
            link.send(bytes([number]))

    group = os.getpgrp()
    if group != os.getpid():
        os.setpgid(0, 0)
    for number in numbers:
        signal.signal(number, pass_on)
    with suppress(OSError):
        while told.count(b"\n") < 2 and (more := link.recv(64)):
            told += more
    pid, *codes = map(int, told.split())
    code = codes[0] if codes else None
    if code is None:
        kill(pid)
        if group != os.getpid():
            os.setpgid(0, group)
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)
    elif code < 0:
        signal.signal(-code, signal.SIG_DFL) if -code != signal.SIGKILL else None
        os.kill(os.getpid(), -code)
    else:
        os._exit(code)


def kill(stage: int) -> None:
    """End a stage whose server has died, before another one writes the same files."""
    with suppress(ProcessLookupError):
        while True:
            os.kill(stage, signal.SIGKILL)
            time.sleep(0.01)


if __name__ == "__main__":
    main()
