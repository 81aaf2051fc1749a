"""What a run is of, as its files and its checkpoint say: settings, data, code and versions."""

import hashlib
import json
from typing import Any

from autoprune.core.errors import InputError
from autoprune.core.files import sha256_file
from autoprune.core.provenance import code_version, network_code, versions
from autoprune.data.partition import Partition
from autoprune.data.store import ClientStore
from autoprune.federation import device
from autoprune.federation.settings import Settings
from autoprune.federation.start import digest

# settings that are places of files, of whose contents there are checksums
FILES = ("output", "store", "partition", "plan", "dense", "latency-table", "start")


def open_data(settings: Settings) -> tuple[ClientStore, Partition]:
    """The run's store and partition, held against their checksums, which run.json repeats.

    Raises InputError for another data set's, and for damaged or edited ones.
    """
    store, partition = ClientStore.open(settings.store), Partition.open(settings.partition)
    if store.name != settings.dataset:
        raise InputError(
            f"dataset: found {settings.dataset!r}, the store in {settings.store} is of "
            f"{store.name!r}; name the one that it is"
        )
    store.verify()
    partition.verify(store)
    return store, partition


def stage_code(settings: Settings) -> str:
    """The code a run's numbers come from, the family and the method loaded by name included."""
    return code_version(
        "autoprune.federation.__main__",
        *network_code(settings.model, settings.network),
        f"autoprune.methods.{settings.method.replace('-', '_')}",
    )


def of_torchvision(settings: Settings) -> bool:
    """Whether numbers come from torchvision's code too."""
    return "torchvision:" in settings.network or bool(settings.augmentation)


def followed_checksums(settings: Settings) -> dict[str, str]:
    """Of the plan, of the dense run's history and of the latency table that the method goes by."""
    names = ("plan", "dense", "latency_table")
    files = {name: settings.method_settings.get(name) for name in names}
    return {f"{name}_checksum": sha256_file(file) for name, file in files.items() if file}


def provenance(settings: Settings, store: ClientStore, partition: Partition) -> dict[str, Any]:
    """The run: its settings, data, code and versions; nothing that a repeat would change."""
    return {
        "dataset": settings.dataset,
        "data_kind": store.kind,
        "stands_for": "" if settings.stands_for == "none" else settings.stands_for,
        "model": settings.model,
        "method": settings.method,
        "variant": settings.variant,
        "seed": settings.seed,
        "clients": partition.clients,
        "settings": {
            name: value for name, value in settings.run_config().items() if name not in FILES
        }
        | ({"start": digest(settings.start)} if settings.start else {}),
        **followed_checksums(settings),
        "store_checksum": store.checksum,
        "partition_checksum": partition.checksum,
        "code": stage_code(settings),
        "versions": versions(*(["torchvision"] if of_torchvision(settings) else []))
        | device.facts(settings.device),
    }


def fingerprint(settings: Settings, store: ClientStore, partition: Partition) -> str:
    """What a checkpoint is marked with: a run of other settings, data or code passes it over.

    Left out is what numbers do not depend on, and the versions: a run may go on elsewhere.
    """
    deciding = provenance(settings, store, partition) | {"pixel_range": store.pixel_range}
    del deciding["versions"], deciding["settings"]["checkpoint-every"]
    return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()
