"""The benchmark programs that a phone can run: their file formats and command lines."""

import shlex
import struct
from dataclasses import dataclass
from pathlib import Path

from autoprune.core.errors import InputError
from autoprune.phone.adb import FOLDER
from autoprune.phone.delegates import ACCELERATORS

ELF_AARCH64 = 183  # e_machine of the ELF header
PATHS = ("LD_LIBRARY_PATH", "ADSP_LIBRARY_PATH")  # the latter is Qualcomm's, for its NPU


@dataclass(frozen=True)
class Tool:
    """A benchmark program.

    ``flags`` and ``warm_up`` are templates of ``{model}`` and ``{threads}``; ``warm_up``, where
    there is one, is for a process that runs before the measured one, for a program with no warm-up
    of its own worth the name. ``warmup_runs`` is what that asks for, None to read it in its log.
    ``delegates`` are those that it can be asked for, the first without being asked, each with the
    flags that ask, before the others. ``verbose`` has a warm-up say which nodes an accelerator
    took, where the measured process should not. ``logcat`` is the tag under which an Android build
    may print instead of on stdout.
    """

    name: str
    format: str
    delegates: dict[str, tuple[str, ...]]
    flags: tuple[str, ...]
    warmup_runs: int | None
    warm_up: tuple[str, ...] = ()
    verbose: tuple[str, ...] = ()
    logcat: str | None = None

    def commands(
        self, runner: str, file: str, threads: int, mask: str, delegate: str, libraries: bool
    ) -> list[str]:
        """The phone's commands of one run, the measured one last; stderr joins stdout.

        LiteRT and ExecuTorch print their results on stderr. ``libraries``: some were pushed beside
        the program, and it must find them.
        """
        place = f"{FOLDER}/{file}"
        prefix = ["env", *(f"{name}={FOLDER}" for name in PATHS)] if libraries else []
        prefix += ["taskset", mask] if mask else []
        found = []
        for template in filter(None, (self.warm_up, self.flags)):
            more = self.verbose if template is self.warm_up and delegate in ACCELERATORS else ()
            asked = [*self.delegates[delegate], *more, *template]
            flags = [flag.format(model=place, threads=threads) for flag in asked]
            found.append(shlex.join([*prefix, f"{FOLDER}/{runner}", *flags]) + " 2>&1")
        return found


# at least 200 runs and 2 s, after at least 20 runs and 1 s that do not count
BENCHMARK_MODEL = (
    *("--graph={model}", "--num_threads={threads}"),
    *("--warmup_runs=20", "--warmup_min_secs=1"),
    *("--num_runs=200", "--min_secs=2", "--max_secs=60"),
)
# -I makes up the input, -s prints the percentiles; one run alone warms it up, so a process does
PERF_TEST = ("-I", "-s", "-x", "{threads}", "-m", "duration")
# it has neither a warm-up nor a least time; a longer log would not fit in the phone's log buffer
EXECUTOR = ("--model_path={model}", "--cpu_threads={threads}", "--num_executions=200")

TOOLS = {
    tool.name: tool
    for tool in (
        Tool(
            name="tflite_benchmark_model",
            format="tflite",
            delegates={
                "xnnpack": ("--use_xnnpack=true",),
                "gpu": ("--use_gpu=true",),
                "nnapi": ("--use_nnapi=true",),
            },
            flags=BENCHMARK_MODEL,
            warmup_runs=20,
        ),
        Tool(
            name="litert_benchmark_model",
            format="tflite",
            delegates={
                "xnnpack": ("--use_cpu=true",),  # LiteRT's CPU accelerator is XNNPACK
                "gpu": ("--use_gpu=true",),
                "npu": (
                    *("--use_npu=true", f"--dispatch_library_path={FOLDER}"),
                    f"--compiler_plugin_library_path={FOLDER}",
                ),
            },
            flags=BENCHMARK_MODEL,
            warmup_runs=20,
        ),
        Tool(
            name="onnxruntime_perf_test",
            format="onnx",
            delegates={
                **{name: ("-e", name) for name in ("cpu", "xnnpack", "nnapi")},
                "npu": ("-e", "qnn", "-i", "backend_path|libQnnHtp.so"),
            },
            flags=(*PERF_TEST, "-t", "5", "{model}"),
            warmup_runs=None,
            warm_up=(*PERF_TEST, "-t", "1", "{model}"),
            verbose=("-v",),  # prints lines in each inference, too
        ),
        Tool(
            name="executor_runner",
            format="pte",
            delegates={"xnnpack": ()},  # what the export partitions for
            flags=EXECUTOR,
            warmup_runs=200,
            warm_up=EXECUTOR,
            logcat="ExecuTorch",
        ),
    )
}


def check_runner(path: Path) -> None:
    """Raise InputError unless the runner is a file, and no program of another machine."""
    try:
        with open(path, "rb") as stream:
            head = stream.read(20)
    except OSError as error:
        raise InputError(
            f"--runner: {path} cannot be read ({error.strerror}); docs/how-to/on-a-phone.md says "
            "where to get one"
        ) from None
    if head[:4] == b"\x7fELF":
        machine = struct.unpack_from("<H", head, 18)[0] if len(head) == 20 else None
        if machine != ELF_AARCH64:
            raise InputError(
                f"--runner: {path} is a program for ELF machine {machine}, expected {ELF_AARCH64} "
                "(ARM64); take the android_arm64 one"
            )
