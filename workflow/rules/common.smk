"""What all rules share: the checked configuration, the study's runs, code versions, the shell.

in:  the configuration that Snakemake has read, paths.smk
out: CONFIGFILES, DATASETS, TABLES, FIGURES, CSVS, TABLE_FILES, FIGURE_FILES, runs(), stage(),
     what_failed(), the functions of inputs and params
"""

import json
import shlex

from autoprune.core.errors import InputError

# in the order they were merged: our own first, then what --configfile names
OVERLAYS = [file for file in workflow.configfiles if file in workflow.overwrite_configfiles]
CONFIGFILES = [file for file in workflow.configfiles if file not in OVERLAYS] + OVERLAYS
# named from here: a study that is moved as a whole has nothing to do
CONFIGFILES = [
    os.path.relpath(file) if Path(file).absolute().is_relative_to(Path.cwd()) else str(file)
    for file in CONFIGFILES
]

try:
    # these look for methods, networks and sources by file: one that is no Python ends here
    from autoprune.check.failures import Failure, describe, is_stop, last_error
    from autoprune.core.labels import METHODS
    from autoprune.core.provenance import code_version, network_code
    from autoprune.core.tasks import worded
    from autoprune.data.prepare import sources
    from autoprune.publish.items import KINDS, items
    from autoprune.publish.selection import selected, with_null
    from autoprune.study import tasks
    from autoprune.study.config import (
        ablation_flags,
        check,
        followed,
        network_of,
        resolve,
        without_effect,
    )
    from autoprune.study import gpus
    from autoprune.study.grid import Run, runs_of, start_of, told
    from autoprune.study.methods import follows_dense, follows_plan, keeps_scores
    from autoprune.study.overlay import check_command, read_overlay
    from autoprune.study.scheduling import fork_stages, limit_gpus, quote_python

    quote_python()
    check_command(sys.argv[1:])
    for file in CONFIGFILES:
        read_overlay(file)  # what Snakemake has read of it may hide a key that is given twice
    check(config, CONFIGFILES)
    resolve(config)
    # found by their files, as methods are
    TABLES, FIGURES = (selected(config, kind) for kind in KINDS)
    # made for the target latency, and by all
    TIMED_TABLES, TIMED_FIGURES = (selected(config, kind, measured=True) for kind in KINDS)
    CSVS = items("evidence")
except InputError as error:
    sys.exit(f"error: {error}")
for note in without_effect(config, CONFIGFILES):
    print(note, file=sys.stderr)

PAIRS = {pair: config["pairs"][pair] for pair in config["study"]}
DATASETS = list(dict.fromkeys(pair["dataset"] for pair in PAIRS.values()))
# networks as files: formats, and multiples for widths where a method's plan has filters' scores
FORMATS = config["deploy"]["formats"]
MULTIPLES = config["deploy"]["round_widths_to"]
SCORED = [method for method in METHODS if keeps_scores(method)]
SEARCHED = with_null(config)
NULL_FILES = [f"<results>/null/{name}.csv" for name in SEARCHED]
FINDINGS = ["<results>/findings.md"] if "comparisons" in TABLES else []
TABLE_ENDINGS, FIGURE_ENDINGS = ["csv", "html", "md", "tex"], ["svg", "pdf"]
TABLE_FILES = expand("<results>/tables/{table}.{ending}", table=TABLES, ending=TABLE_ENDINGS)
FIGURE_FILES = expand("<results>/figures/{figure}.{ending}", figure=FIGURES, ending=FIGURE_ENDINGS)
SCORE = tasks.score(config, config["study"][0])  # of one kind in a study
# for workflow/report, which sees of the workflow the configuration alone
config["captions"] = {
    kind: {name: worded(item.caption, SCORE) for name, item in items(kind).items()}
    for kind in KINDS
}


def shown(wildcards, tables="tables"):
    """The table or figure that is made by a job; with ``tables="evidence"`` its CSV as it is made."""
    return items(tables if "table" in wildcards.keys() else "figures")[wildcards[0]]


def category(wildcards):
    """Where the report files a table or figure."""
    return shown(wildcards).category


def labels(wildcards):
    """What the report calls a table or figure."""
    return {"what": shown(wildcards).label, "as": next(iter(wildcards.keys()))}


def files_shown(wildcards):
    """The input files of a CSV or figure by flag, as its module declares them."""
    places = {"dataset": DATASETS, "searched": SEARCHED, "measured": MEASURED}
    return {
        flag: expand(pattern, **places) if "{" in pattern else own(pattern)
        for flag, pattern in shown(wildcards, "evidence").inputs.items()
    }


def file_flags(wildcards, input):
    """The flags of these files; apart, as Snakemake reruns for no param made from input."""
    return flags(dict(input.items()))


def options(wildcards):
    """The flags of the study's settings that a CSV takes."""
    known = {
        "reference": ["--reference", config["controls"]["reference"]],
        "margin": margin_flags(),
        "ablation": ablation_flags(config),
    }
    return [word for option in shown(wildcards, "evidence").options for word in known[option]]


def set_shell(*folders):
    """Begin jobs: a clone runs without an install, with Snakemake's own interpreter, and silently."""
    places = ":".join(map(str, [*folders, Path(sys.executable).parent]))
    shell.prefix(
        "set -euo pipefail; "
        f"export PYTHONPATH={shlex.quote(str(WORKFLOW))} FLWR_TELEMETRY_ENABLED=0 "
        f'PATH={shlex.quote(places)}:"$PATH"; '
    )


set_shell()


def runs(file, only=None, without=()):
    """Paths of one file of every run in the study: pair x method x variant x seed."""
    return [
        f"<results>/runs/{run.path}/{file}"
        for run in runs_of(config)
        if run.method not in without and (only is None or run.method in only)
    ]


def what_failed():
    """The end of a run that broke off: each failed job, its error, how to run it again."""
    found = [
        job for failed in workflow.scheduler.failed for job in getattr(failed, "jobs", [failed])
    ]
    failures = [
        Failure(
            " ".join([job.rule.name, *(f"{k}={v}" for k, v in job.wildcards_dict.items())]),
            str(next(iter(job.output), job.rule.name)),  # a target such as verify has none
            str(next(iter(job.log), "")),
        )
        for job in sorted(found, key=lambda job: (job.rule.name, str(job.output)))
    ]
    failures = [failure for failure in failures if not is_stop(last_error(failure.log))]
    if not failures:
        return ["", "Stopped before its end; the same command goes on where it was."]
    # a cluster has no number of cores
    cores = workflow.resource_settings.cores or 1
    return describe(failures, cores, [os.path.relpath(file) for file in OVERLAYS])


# what is timed on this machine: every method but dense, with the seeds to deploy
MEASURED = [
    run.path
    for run in runs_of(config)
    if run.method != "dense" and run.seed in config["seeds"][: config["deploy"]["seeds"]]
]


def manifests(run, method):
    """Manifests of a run's exports: each format, exact and, where that can be, rounded."""
    multiples = MULTIPLES if method in SCORED else []
    return expand(
        "{run}/export/{format}{rounding}/manifest.json",
        run=run,
        format=FORMATS,
        rounding=["", *(f"-r{multiple}" for multiple in multiples)],
    )


def exported_manifests():
    """Manifests of all exports of every run in the study: what a phone may have measured."""
    folders = [Path(run).parent for run in runs("run.json")]
    return [path for run in folders for path in manifests(run, run.parts[-3])]


def rounding_flags(wildcards):
    """The flags of the variants whose widths are rounded."""
    return flags({key: config["deploy"][key] for key in ("round_widths_to", "round_widths")})


def measured_manifests(wildcards):
    """The manifests of a run that is measured, all of them."""
    run = "<results>/runs/{dataset}/{model}/{method}/{variant}/seed-{seed}"
    return [path.format(**wildcards) for path in manifests(run, wildcards.method)]


def network_modules(module, names):
    """The module itself or, for that of a network that a function makes, the function's."""
    model = module.format_map({**names, "source": ""}).rpartition(".")[2]
    of_networks = module.startswith("autoprune.models.") and model in config["networks"]
    return network_code(model, network_of(config, model)) if of_networks else [module]


def network_flags(wildcards):
    """A pair's network as flags: its family or function, and its widths before pruning."""
    pair = config["pairs"][f"{wildcards.dataset}-{wildcards.model}"]
    model = network_of(config, pair["model"]) or pair["model"]
    return flags({"model": model, "widths": pair.get("widths")})


def stage(*modules):
    """A param: the version of the code a rule runs; {wildcards} and {source} are filled in."""

    def version(wildcards):
        names = {"method": "dense", **dict(wildcards.items())}
        known = [word for module in modules for word in network_modules(module, names)]
        if "dataset" in names:
            names["source"] = config["datasets"][names["dataset"]]["source"]
        return code_version(*(m.format(**names).replace("-", "_") for m in known))

    return version


def folders(name):
    """A param: the folders in which a rule's input files of that name lie."""

    def parents(wildcards, input):
        return [str(Path(path).parent) for path in input[name]]

    return parents


def flags(settings):
    """Settings as command-line words: {"crop": [5, 20], "x": true} becomes --crop 5 20 --x."""
    words = []
    for name, value in settings.items():
        if value is False or value is None:
            continue
        values = value if isinstance(value, list) else [] if value is True else [value]
        words += [f"--{name.replace('_', '-')}", *map(str, values)]
    return words


def source_flags(wildcards):
    """The flags of a data set's source and of what is done to its images."""
    dataset = config["datasets"][wildcards.dataset]
    return flags(dataset["options"] | dataset["preprocessing"])


def partition_flags(wildcards):
    """The flags that say how a data set is divided among clients."""
    return flags(config["datasets"][wildcards.dataset]["partition"])


def run_settings(wildcards):
    """All that decides a run's numbers but data, code and what it follows, as JSON."""
    return json.dumps(told(config, run_of(wildcards)))


def run_of(wildcards):
    """The run that a training job makes."""
    names = {"method": "dense", **dict(wildcards.items())}
    return Run(**names | {"seed": int(wildcards.seed)})


def gpus_wanted(wildcards):
    """GPUs that a training job asks for: 1 or 0."""
    return gpus.wanted(config, run_of(wildcards))


def check_gpus():
    """End, before anything runs, where a job of this machine needs a GPU that it has not."""
    jobs = [job for job in workflow.dag.needrun_jobs() if job.resources.get("gpu")]
    if not jobs or not workflow.local_exec:
        return
    try:
        for job in jobs:
            gpus.check(config, run_of(job.wildcards))
    except InputError as error:
        sys.exit(f"error: {error}")
    limit_gpus(workflow, gpus.visible())


def margin_flags():
    """The accuracy margin of verdicts as a flag; none where it follows from the images."""
    margin = config["claims"]["accuracy_margin"]
    return [] if margin is None else ["--margin", str(margin)]


def followed_flags(wildcards, input):
    """What a method follows; apart, as Snakemake reruns for no param made from input."""
    files = {name: input.get(name) for name in ("plan", "dense", "start")}
    return flags({name: str(file) for name, file in files.items() if file})


def reference_flags(wildcards):
    """The reference that a finished study is compared with; none where the config names none."""
    reference = config["verify"]["reference"]
    return ["--reference", reference] if reference else []


def latency_table(wildcards):
    """The file that a target in milliseconds goes by; none for other runs."""
    return told(config, run_of(wildcards)).get("latency_table", [])


def plan_followed(wildcards):
    """The plan of the autoprune run that a control is compared with; none for other methods."""
    if not follows_plan(wildcards.method):
        return []
    variant = followed(config, wildcards.method, wildcards.variant)
    run = f"{wildcards.dataset}/{wildcards.model}/autoprune/{variant}/seed-{wildcards.seed}"
    return f"<results>/runs/{run}/plan.json"


def dense_followed(wildcards):
    """The history of the dense run that says when a network is trained; none for most methods."""
    if not follows_dense(wildcards.method):
        return []
    run = f"{wildcards.dataset}/{wildcards.model}/dense/fedavg/seed-{wildcards.seed}"
    return f"<results>/runs/{run}/history.csv"


def start_file(wildcards):
    """The weights that a run begins with; none where they are drawn."""
    return start_of(config, run_of(wildcards)) or []


def readers(wildcards):
    """Cores for writing a store: what is generated needs one, files are read by as many as given."""
    return 1 if sources.generates(config["datasets"][wildcards.dataset]["source"]) else 64


def receipts(wildcards):
    """Of the files that a data set is downloaded from: each says what was found right."""
    names = config["datasets"][wildcards.dataset].get("downloads", [])
    return [f"<resources>/downloads/{name}.json" for name in names]


def source_files(wildcards):
    """The user's own files a data set is read from, so that other files make another store."""
    dataset = config["datasets"][wildcards.dataset]
    if dataset.get("downloads"):
        return []
    return sources.files_read(dataset["source"], dataset["options"])


for name in DATASETS:
    dataset = config["datasets"][name]
    places = sources.places(dataset["source"], dataset["options"])
    for key, place in {} if dataset.get("downloads") else places.items():
        if not place.exists():
            print(f"missing: data set {name}: {key} {place} does not exist", file=sys.stderr)
