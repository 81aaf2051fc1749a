"""What a phone is and how it stands: its make, cores, heat and battery."""

import hashlib
import re
from dataclasses import dataclass
from typing import Any

from autoprune.core.errors import InputError
from autoprune.phone.adb import HELP, Adb

ABI = "arm64-v8a"
MAX_BATTERY_C = 35.0  # warmer than that, phones lower their clocks soon
PROPERTIES = {
    "manufacturer": "ro.product.manufacturer",
    "model": "ro.product.model",
    "board_platform": "ro.board.platform",
    "soc_manufacturer": "ro.soc.manufacturer",
    "soc_model": "ro.soc.model",
    "android_release": "ro.build.version.release",
    "android_sdk": "ro.build.version.sdk",
    "fingerprint": "ro.build.fingerprint",
    "abi": "ro.product.cpu.abi",
    "debuggable": "ro.debuggable",
}
CPU_FACTS = ("cpuinfo_max_freq", "scaling_governor", "scaling_max_freq")
CPUINFO = "cat /proc/cpuinfo"
THERMAL, BATTERY = "dumpsys thermalservice", "dumpsys battery"
LOW_POWER, AIRPLANE = "settings get global low_power", "settings get global airplane_mode_on"
WAKEFULNESS = "dumpsys power | grep mWakefulness="
FIXED_PERFORMANCE = "cmd power set-fixed-performance-mode-enabled {}"

CPU_LINE = re.compile(r"/cpu(\d+)/cpufreq/\w+:(.+)$")
THERMAL_STATUS = re.compile(r"^\s*Thermal Status: (\d+)\s*$", re.MULTILINE)
BATTERY_LINE = re.compile(r"^\s*([\w ]+): (\S+)\s*$", re.MULTILINE)
ALLOWED = re.compile(r"^Cpus_allowed:\s*([0-9a-fA-F,]+)\s*$", re.MULTILINE)


def getprop(name: str) -> str:
    """The command for a system property."""
    return f"getprop {name}"


def cpu_command(fact: str) -> str:
    """The command for a fact of every core; grep -H puts the core's path before it."""
    return f"grep -H . /sys/devices/system/cpu/cpu[0-9]*/cpufreq/{fact}"


def taskset_check(mask: str) -> str:
    """The command that reads a mask of cores back."""
    return f"taskset {mask} grep Cpus_allowed: /proc/self/status"


def facts(adb: Adb) -> dict[str, Any]:
    """What a session says of its phone; raises InputError for one that is no ARM64.

    The serial is hashed: it names the phone's owner. A fact the phone refuses is None.
    """
    found: dict[str, Any] = {
        key: adb.shell(getprop(name)) or None for key, name in PROPERTIES.items()
    }
    if found["abi"] != ABI:
        raise InputError(
            f"ro.product.cpu.abi: found {found['abi']}, expected {ABI}; an x86 phone or an "
            f"emulator is not what the runner is built for ({HELP})"
        )
    sdk = found["android_sdk"] or ""
    found["android_sdk"] = int(sdk) if sdk.isdecimal() else None
    parts = (found["soc_manufacturer"], found["soc_model"])
    found["soc"] = " ".join(filter(None, parts)) or found["board_platform"]
    found["serial_sha256"] = hashlib.sha256(adb.serial.encode()).hexdigest()
    lines = adb.try_shell(CPUINFO).out.decode(errors="replace").splitlines()
    # some phones list their serial there, too
    found["cpuinfo"] = [line for line in lines if not line.startswith("Serial")]
    found["cpus"] = cpus(adb)
    return found


def cpus(adb: Adb) -> list[dict[str, Any]]:
    """The cores' number, governor and clocks (kHz), as far as the phone tells."""
    found: dict[int, dict[str, Any]] = {}
    for fact in CPU_FACTS:
        for line in adb.try_shell(cpu_command(fact)).out.decode(errors="replace").splitlines():
            if match := CPU_LINE.search(line.strip()):
                value = match[2].strip()
                core = found.setdefault(int(match[1]), {})
                core[fact] = int(value) if value.isdecimal() else value
    return [{"cpu": number, **found[number]} for number in sorted(found)]


def fastest(cores: list[dict[str, Any]]) -> str:
    """Hexadecimal mask of the cores with the highest clock; empty where the phone hides them."""
    clocks = {core["cpu"]: core.get("cpuinfo_max_freq") for core in cores}
    known = {cpu: clock for cpu, clock in clocks.items() if isinstance(clock, int)}
    top = max(known.values(), default=None)
    return f"{sum(1 << cpu for cpu, clock in known.items() if clock == top):x}" if known else ""


def usable_mask(adb: Adb, mask: str) -> str:
    """The mask if a process of ours keeps it, else empty: some phones refuse."""
    if not mask:
        return ""
    done = adb.try_shell(taskset_check(mask))
    kept = ALLOWED.search(done.out.decode(errors="replace"))
    same = done.code == 0 and kept and int(kept[1].replace(",", ""), 16) == int(mask, 16)
    return mask if same else ""


@dataclass(frozen=True)
class Reading:
    """Heat and battery at one moment; None where the phone does not tell."""

    thermal_status: int | None
    battery_temp_c: float | None
    battery_percent: int | None
    powered: int | None

    @property
    def gate(self) -> bool | None:
        """Whether a run may start; None where nothing is known of the heat."""
        if self.thermal_status is None and self.battery_temp_c is None:
            return None
        warm = self.battery_temp_c is not None and self.battery_temp_c > MAX_BATTERY_C
        return not self.thermal_status and not warm

    def __str__(self) -> str:
        status, heat = self.thermal_status, self.battery_temp_c
        parts = [f"thermal status {'unknown' if status is None else status}"]
        parts += ["battery of unknown heat" if heat is None else f"battery {heat:.1f} C"]
        return ", ".join(parts)


def reading(adb: Adb) -> Reading:
    """The phone's heat and battery now."""
    return read(adb.try_shell(THERMAL).text, adb.try_shell(BATTERY).text)


def read(thermal: str, battery: str) -> Reading:
    """The same, of the outputs of dumpsys thermalservice and dumpsys battery."""
    status = THERMAL_STATUS.search(thermal)
    lines = dict(BATTERY_LINE.findall(battery))
    heat, level, scale = (_int(lines.get(key)) for key in ("temperature", "level", "scale"))
    powered = [value == "true" for key, value in lines.items() if key.endswith(" powered")]
    return Reading(
        thermal_status=int(status[1]) if status else None,
        battery_temp_c=None if heat is None else heat / 10,  # told in tenths
        battery_percent=None if level is None else round(100 * level / (scale or 100)),
        powered=int(any(powered)) if powered else None,
    )


def _int(text: str | None) -> int | None:
    return int(text) if text is not None and re.fullmatch(r"-?\d+", text) else None


def state(adb: Adb) -> dict[str, str]:
    """Airplane mode, battery saver and screen: what the protocol asks the researcher for."""
    wakefulness = adb.try_shell(WAKEFULNESS).text
    found = re.search(r"mWakefulness=(\w+)", wakefulness)
    return {
        "airplane_mode": _switch(adb.try_shell(AIRPLANE).text),
        "screen": (found[1].lower() if found else "unknown").replace("awake", "on"),
        "low_power": _switch(adb.try_shell(LOW_POWER).text),
    }


def _switch(text: str) -> str:
    return {"0": "off", "1": "on"}.get(text, "unknown")


def wishes(found: dict[str, str]) -> list[str]:
    """What the researcher should still do; the session records what was done."""
    asked = {"airplane_mode": "on", "screen": "on", "low_power": "off"}
    words = {"airplane_mode": "airplane mode", "screen": "the screen", "low_power": "battery saver"}
    return [
        f"{words[key]} is {found[key]}, the protocol asks for {value}"
        for key, value in asked.items()
        if found[key] != value
    ]
