"""An adb without a phone: the phones and their state are in the JSON file $FAKE_ADB_STATE.

Files are really pushed, into the folder ``root`` of the state, and their SHA-256 is real. Every
call is written to ``calls.jsonl`` there. A command that it does not know ends with exit code 97, so
a new call of the harness cannot pass unseen.

A session makes hundreds of calls, and an interpreter takes longer to start than to answer one: as
of the real adb, a server answers, and the program is a client, of a few lines of Perl.
"""

# importing pathlib takes longer than a call
# ruff: noqa: PTH101, PTH103, PTH110, PTH119, PTH202

import contextlib
import hashlib
import io
import json
import os
import re
import select
import socket
import sys
import traceback


def read(path):
    with open(path, encoding="utf-8") as stream:
        return stream.read()


def write(path, text, mode="w"):
    with open(path, mode, encoding="utf-8") as stream:
        stream.write(text)


# the call's: each is answered by a process of its own
STATE, ROOT = {}, ""
GONE = ""  # a file that is there once the connection is lost
CLIENT = None  # of a call by the server
COUNT = (
    "count=20 first={0} curr={0} min={0} max={0} avg={0} std=0 p5={0} median={0} p95={0}\n"
    "\nINFO: count=200 first={0} curr={0} min={1} max={2} avg={0} std=3 p5={1} median={0} p95={2}\n"
)
TFLITE = (
    "INFO: STARTING!\nINFO: Num threads: [{threads}]\nINFO: Graph: [{graph}]\n"
    "{delegates}INFO: {count}\n"
)
REPLACING = "INFO: Replacing {} out of {} node(s) with delegate ({}) node, yielding 1\n"
BLOCK = (
    "INFO: [benchmark_litert_model.h:89] \n========== BENCHMARK RESULTS ==========\n"
    "INFO: [benchmark_litert_model.h:99] Inference (avg):      {ms:.2f} ms (200 runs)\n"
    "INFO: [benchmark_litert_model.h:138] ======================================\n"
)
TIMINGS = "INFO: Inference timings in us: Init: 9, First inference: 9, Warmup (avg): 9, "
RUNNER = r"(/data/\S+/(?:benchmark_model|\w+_perf_test|executor_runner)) (.*) 2>&1"
NAMES = ("Min", "Max", "P50", "P90", "P95", "P99", "P999")
ORT = "".join(f"{name} Latency: {{s}} s\n" for name in NAMES)


def fail(code, text):
    print(text, file=sys.stderr)
    sys.exit(code)


def turn(name):
    """How often this was asked for before; kept between calls."""
    path = f"{ROOT}/turn-{name}"
    before = int(read(path)) if os.path.exists(path) else 0
    write(path, str(before + 1))
    return before


def now(name, default):
    """A value of the state; of a list the next one each time, the last one in the end."""
    value = STATE.get(name, default)
    return value[min(turn(name), len(value) - 1)] if isinstance(value, list) else value


def place(path):
    return ROOT + path.strip("'")


def log_of(runner, graph, flags):
    """What the benchmark prints of a model: the time follows from its size."""
    found = re.search(r"--(?:num|cpu)_threads=(\d+)|-x (\d+)", flags)
    threads = STATE.get("threads") or next(filter(None, found.groups()))
    us = 100 + os.path.getsize(place(graph)) // int(threads) + turn("noise") % 5
    graph = STATE.get("graph") or graph
    if runner == "onnxruntime_perf_test":
        head = f"Setting intra_op_num_threads to {threads}\nTotal inference requests: 250\n"
        if " -v " in flags and (took := STATE.get("delegated", 7)) is not None:
            head += "".join(
                f"[V:onnxruntime:, session_state.cc:1153] Node(s) placed on [{name}]. "
                f"Number of nodes: {number}\n"
                for name, number in (("CPUExecutionProvider", 8 - took), ("NnapiExecution", took))
                if number
            )
        return f"{head}Average inference time cost total: {us / 1e3} ms\n{ORT.format(s=us / 1e6)}"
    if runner == "executor_runner":
        head = "11-24 13:20:57.778 24964 24964 I ExecuTorch: "
        lines = [f"Model file {graph} is loaded."]
        lines += [f"Iteration {n} of 200: {us / 1e3:.6f} ms" for n in range(1, 201)]
        lines += [f"Model executed successfully 200 time(s) in {us / 1e3 * 200:.6f} ms."]
        return "--------- beginning of main\n" + "".join(f"{head}{line}\n" for line in lines)
    count = COUNT.format(us, us - 9, us + 9)
    asked = next((name for name in ("gpu", "nnapi", "npu") if f"--use_{name}=true" in flags), "")
    names = {"gpu": "LITERT_CL", "nnapi": "TfLiteNnapiDelegate", "npu": "DispatchDelegate"}
    took = STATE.get("delegated", 7) if asked else 0  # of 8 nodes; 0 is a delegate that failed
    delegates = REPLACING.format(took, 8, names[asked]) if took else ""
    if not took or took < 7:
        delegates += REPLACING.format(7 - took, 8 - took, "TfLiteXNNPackDelegate")
    text = TFLITE.format(threads=threads, graph=graph, delegates=delegates, count=count)
    if STATE.get("litert", "--use_cpu=true" in flags):
        return text + BLOCK.format(ms=us / 1e3)
    return text + f"{TIMINGS}Inference (avg): {us}\n"


def benchmark(runner, flags):
    """Run a pushed benchmark program on a pushed model."""
    graph = re.search(r"(/data/\S+\.(?:tflite|onnx|pte))", flags)[1]
    if not os.access(place(runner), os.X_OK) or not os.path.exists(place(graph)):
        fail(126, f"/system/bin/sh: {runner}: can't execute")
    name, text = os.path.basename(runner), log_of(os.path.basename(runner), graph, flags)
    number = turn("run")
    wait(STATE.get("run_seconds", 0))
    if number == STATE.get("lose_at_run"):
        sys.stdout.write(text[:40])
        if STATE.get("stays_away", True):
            write(GONE, "")
        fail(255, "error: closed")
    if re.search(STATE.get("crash", "^$"), graph):
        print("INFO: STARTING!\nSegmentation fault")
        sys.exit(139)
    if re.search(STATE.get("cut", "^$"), graph):
        text = text[: len(text) // 2]
    if name == "executor_runner":
        write(f"{ROOT}/logcat", text, "a")
    else:
        sys.stdout.write(text)


def wait(seconds):
    """Take some seconds, unless the client is killed meanwhile."""
    if select.select([CLIENT] if CLIENT else [], [], [], seconds)[0]:
        os._exit(1)


def shell(command):
    taskset = re.fullmatch(r"taskset ([0-9a-f]+) (.*)", command)
    if taskset and STATE.get("taskset") == "refused":
        fail(1, "taskset: failed to set affinity: Operation not permitted")
    command = taskset[2] if taskset else command
    if match := re.fullmatch(
        r"env((?: \w+=/data/local/tmp/autoprune)+) (taskset \S+ )?(.*)", command
    ):
        command = match[3]
    if match := re.fullmatch(r"getprop (\S+)", command):
        print(STATE["props"].get(match[1], ""))
    elif command == "cat /proc/cpuinfo":
        print("processor\t: 0\nCPU part\t: 0xd05\n\nSerial\t\t: 0123456789abcdef")
    elif match := re.fullmatch(r"grep -H \. (/sys\S+)cpu\[0-9\]\*/cpufreq/(\w+)", command):
        for cpu, khz in enumerate(STATE["khz"]):
            value = "schedutil" if match[2] == "scaling_governor" else khz
            print(f"{match[1]}cpu{cpu}/cpufreq/{match[2]}:{value}")
        if not STATE["khz"]:
            fail(2, "grep: /sys: Permission denied")
    elif command == "grep Cpus_allowed: /proc/self/status":
        print(f"Cpus_allowed:\t{taskset[1] if taskset else 'ff'}")
    elif command == "dumpsys thermalservice":
        print(f"IsStatusOverride: false\nThermal Status: {now('thermal', 0)}\nCached temperatures:")
        print("\tTemperature{mValue=31.5, mType=3, mName=skin, mStatus=0}")
    elif command == "dumpsys battery":
        print("Current Battery Service state:\n  AC powered: false\n  USB powered: true")
        print(
            f"  level: 80\n  scale: 100\n  temperature: {now('temperature', 300)}\n  technology: x"
        )
    elif match := re.fullmatch(r"settings get global (low_power|airplane_mode_on)", command):
        print(STATE.get(match[1], "null"))
    elif command == "dumpsys power | grep mWakefulness=":
        print(f"  mWakefulness={STATE.get('screen', 'Awake')}")
    elif match := re.fullmatch(r"mkdir -p (\S+)", command):
        os.makedirs(place(match[1]), exist_ok=True)
    elif match := re.fullmatch(r"chmod 755 (\S+)", command):
        os.chmod(place(match[1]), 0o755)
    elif match := re.fullmatch(r"sha256sum (\S+)", command):
        with open(place(match[1]), "rb") as stream:
            print(hashlib.file_digest(stream, "sha256").hexdigest(), "", match[1])
    elif re.fullmatch(r"cmd power set-fixed-performance-mode-enabled (true|false)", command):
        write(f"{ROOT}/fixed", command.split()[-1])
    elif command == "logcat -c":
        write(f"{ROOT}/logcat", "")
    elif command == "logcat -d -s ExecuTorch":
        sys.stdout.write(read(f"{ROOT}/logcat"))
    elif match := re.fullmatch(RUNNER, command):
        benchmark(match[1], match[2])
    else:
        fail(97, f"fake adb: unknown command on the phone: {command}")


def main(args):
    write(f"{ROOT}/calls.jsonl", json.dumps(args) + "\n", "a")
    phones = {} if os.path.exists(GONE) else STATE["phones"]
    if args == ["version"]:
        print("Android Debug Bridge version 1.0.41\nVersion 0.0.0-fake\nInstalled as nothing")
    elif args == ["devices"]:
        rows = "".join(f"{serial}\t{state}\n" for serial, state in phones.items())
        print(f"* daemon started successfully\nList of devices attached\n{rows}")
    elif args[:1] != ["-s"] or len(args) < 3:
        fail(97, f"fake adb: unknown call {args}")
    elif args[1] not in phones:
        fail(1, f"error: device '{args[1]}' not found")
    elif args[2:] == ["get-state"]:
        print(phones[args[1]])
    elif args[2] == "push" and len(args) == 5:
        with open(args[3], "rb") as source, open(place(args[4]), "wb") as copy:
            data = source.read()
            damaged = re.search(STATE.get("damaged", "^$"), args[4])
            copy.write(b"x" * len(data) if damaged else data)
    elif args[2] == "shell" and len(args) == 4:
        shell(args[3])
    else:
        fail(97, f"fake adb: unknown call {args}")


def answer(path, args):
    """A call, with the phones of a state file; exits otherwise than 0 by SystemExit."""
    global STATE, ROOT, GONE
    STATE = json.loads(read(path))
    ROOT = STATE["root"]
    GONE = f"{ROOT}/gone"
    main(args)


def program(place):
    """The text of a program that has its calls answered by the server at a socket."""
    return f"""#!/usr/bin/perl
socket(S, 1, 1, 0) && connect(S, pack("Sa*", 1, "{place}")) or die "no server";
syswrite S, pack("N/a*", join("\\0", $ENV{{FAKE_ADB_STATE}}, readlink("/proc/self/cwd"), @ARGV));
local $/;
($code, $size, $said) = split /\\n/, <S>, 3;
print substr($said, 0, $size);
print STDERR substr($said, $size);
exit $code;
"""


def serve(listener):
    """Answer each call in a fork, until standard input ends."""
    while listener in select.select([listener, 0], [], [])[0]:
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        link, _ = listener.accept()
        if os.fork() == 0:
            global CLIENT
            CLIENT = link
            with link.makefile("rb") as stream:
                request = stream.read(int.from_bytes(stream.read(4), "big"))
            path, place, *args = request.decode().split("\0")
            os.chdir(place)
            out, err, code = io.StringIO(), io.StringIO(), 0
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                try:
                    answer(path, args)
                except SystemExit as end:
                    code = end.code
                except Exception:
                    traceback.print_exc()
                    code = 1
            said = out.getvalue().encode()
            link.sendall(b"%d\n%d\n%b" % (code, len(said), said) + err.getvalue().encode())
            os._exit(0)
        link.close()


if __name__ == "__main__":
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(sys.argv[1])
        listener.listen()
        print("listening", flush=True)
        serve(listener)
