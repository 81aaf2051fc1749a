"""A SuperLink and SuperNodes with TLS, node authentication and each node's own data, started here.

What it makes is a folder for the server and one for each node, each with a script that starts it:
here, in network namespaces where root allows it and on the loopback elsewhere, or, copied, on
machines of their own. docs/deployment.md shows both.
"""

import argparse
import json
import os
import shlex
import shutil
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from autoprune.core.errors import InputError, run_main
from autoprune.core.files import write_text
from autoprune.data.partition import Partition
from autoprune.data.prepare.share import write_share
from autoprune.data.store import ClientStore
from autoprune.federation.deployment import Deployment, split
from autoprune.federation.interruption import Interrupted, interruptible
from autoprune.federation.nodes import LIMIT
from autoprune.federation.submit import QUIET

ISOLATED = "192.0.2.1:9092"  # of TEST-NET-1 (RFC 5737), which is on no network
LOOPBACK = "127.0.0.1:9092"
DAYS = 365  # that the certificate holds; deploy anew after
NODE_PORT = 9094  # of the first node's own API, which its clients' processes use

LINK_SCRIPT = """exec flower-superlink --host {host} --port {port} \\
    --ssl-ca-certfile server.crt --ssl-certfile server.crt --ssl-keyfile server.key \\
    --enable-supernode-auth --database state.db --disable-runtime-dependency-installation
"""
NODE_SCRIPT = """exec flower-supernode --superlink {address} --root-certificates server.crt \\
    --auth-supernode-private-key node.key --port {port} --node-config "data='$PWD/data'"
"""


def script(command: str, **variables: str) -> str:
    """A shell script that runs a command in its own folder, with Flower's home there."""
    told = QUIET | {"FLWR_HOME": "$PWD/flwr", **variables}
    # the app comes with a run: none of ours may be found before it
    lines = ["#!/bin/sh", 'cd "$(dirname "$0")" || exit 1', "unset PYTHONPATH"]
    return "\n".join([*lines, *(f'export {key}="{told[key]}"' for key in told), command])


def prepare(folder: Path, data: Path, nodes: int, address: str, seconds: float) -> None:
    """Write the folders of server and nodes; client n goes to node n modulo ``nodes``.

    ``data`` has a folder for each data set with its store and its partition, as results/data has.
    Raises InputError for data that cannot be shared out among so many nodes.
    """
    host, port = split(address)
    found = sorted(path.parent for path in data.glob("*/partition"))
    if not found:
        raise InputError(f"{data}: no data set with a partition there; run the target data first")
    for place in found:
        store, partition = ClientStore.open(place / "store"), Partition.open(place / "partition")
        if partition.clients < nodes:
            raise InputError(f"{place}: {partition.clients} clients for {nodes} nodes; take fewer")
        for node in range(nodes):
            clients = range(node, partition.clients, nodes)
            write_share(store, partition, clients, folder / f"node-{node}" / "data" / place.name)
    link = folder / "superlink"
    write_certificate(link, host)
    command = LINK_SCRIPT.format(host=shlex.quote(host), port=port)
    write_text(link / "start.sh", script(command, **{LIMIT: f"{seconds:g}"}))
    certificate = (link / "server.crt").read_text()
    for node in range(nodes):
        own = folder / f"node-{node}"
        write_text(own / "server.crt", certificate)
        key = ec.generate_private_key(ec.SECP384R1())
        write_key(own / "node.key", key, PrivateFormat.OpenSSH)
        public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
        write_text(link / f"node-{node}.pub", public.decode() + "\n")
        start = NODE_SCRIPT.format(address=shlex.quote(address), port=NODE_PORT + node)
        write_text(own / "start.sh", script(start))
    where = json.dumps(str((link / "server.crt").absolute()))
    connection = f'address = "{address}"\nroot-certificates = {where}\n'
    text = f'[superlink]\ndefault = "autoprune"\n\n[superlink.autoprune]\n{connection}'
    write_text(folder / "flwr" / "config.toml", text)  # last: with it the folder is whole


def write_certificate(folder: Path, host: str) -> None:
    """server.crt, which signs itself, and server.key, for this name or number of the server."""
    key = ec.generate_private_key(ec.SECP384R1())
    try:
        name: x509.GeneralName = x509.IPAddress(ip_address(host))
    except ValueError:
        name = x509.DNSName(host)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "autoprune SuperLink")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))  # clocks of machines differ
        .not_valid_after(now + timedelta(days=DAYS))
        .add_extension(x509.SubjectAlternativeName([name]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA384())
    )
    write_key(folder / "server.key", key, PrivateFormat.PKCS8)
    write_text(folder / "server.crt", certificate.public_bytes(Encoding.PEM).decode())


def write_key(path: Path, key: ec.EllipticCurvePrivateKey, form: PrivateFormat) -> None:
    """A private key that only its owner may read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_bytes(key.private_bytes(Encoding.PEM, form, NoEncryption()))


def usual_address() -> str:
    """Of a network that is only in namespaces where they can be made, of the loopback elsewhere."""
    return ISOLATED if os.geteuid() == 0 and shutil.which("ip") else LOOPBACK


def start(folder: Path, command: Sequence[str]) -> int:
    """Start all on this machine, run a command or wait for Ctrl-C, end all; the exit code."""
    with suppress(Interrupted), interruptible(), Deployment(folder) as deployment:
        where = "network namespaces" if deployment.isolated else "the loopback"
        print(f"a SuperLink and {len(deployment.nodes)} SuperNodes are up, on {where}")
        if command:
            return deployment.run(command)
        home, run = shlex.quote(f"{folder.absolute()}/flwr"), deployment.inside("superlink", [""])
        print("submit runs with backend: deployment to it by")
        print(f"    export FLWR_HOME={home}\n    {' '.join(run)}COMMAND", flush=True)
        signal.pause()
    return 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="autoprune.federation.deploy", description=__doc__)
    steps = parser.add_subparsers(dest="step", required=True)
    one = steps.add_parser("prepare", help="make keys, scripts and the nodes' data")
    one.add_argument("--data", type=Path, default=Path("results/data"), help="a study's data")
    one.add_argument("--nodes", type=int, default=2, help="SuperNodes")
    one.add_argument("--address", default=usual_address(), help="HOST:PORT of the SuperLink")
    one.add_argument(
        "--reply-seconds",
        type=float,
        default=600,
        help="longest wait for a round's replies, of runs without a client_timeout",
    )
    two = steps.add_parser("start", help="start all on this machine")
    two.add_argument("command", nargs="*", help="run it there, then end all; behind --")
    for step in (one, two):
        step.add_argument("--folder", type=Path, default=Path("deployment"), help="its folder")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """The command; raises InputError."""
    args = parse(argv)
    if args.step == "start":
        sys.exit(start(args.folder, args.command))
    if args.nodes < 1 or not args.reply_seconds > 0:
        raise InputError("--nodes and --reply-seconds: expected numbers above 0")
    if args.folder.exists():
        raise InputError(f"{args.folder}: is there already; remove it or name another --folder")
    try:
        prepare(args.folder, args.data, args.nodes, args.address, args.reply_seconds)
    except BaseException:
        shutil.rmtree(args.folder, ignore_errors=True)
        raise
    print(f"{args.folder}: a SuperLink at {args.address} and {args.nodes} SuperNodes")


if __name__ == "__main__":
    run_main(main)
