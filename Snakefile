"""The study of arXiv 2411.01759 as a map: data -> dense and pruned training -> counts -> claims.

    snakemake --cores 8 all                                     the study of config/config.yaml
    snakemake --cores 8 all --configfile config/paper.yaml      at the paper's scale
    snakemake --cores 2 figures                                 one stage and what it needs

config/ says what to run, profiles/ how. config/README.md explains every key.
"""

from snakemake.utils import min_version

# 9.19 takes no cache for a rule of several outputs, and no profile.yaml before
min_version("9.20")


include: "workflow/rules/paths.smk"


# of the folder in which the study runs, where it has one
configfile: "config/config.yaml" if os.path.exists("config/config.yaml") else own("config/config.yaml")


# built from envs/Dockerfile, used only with `--software-deployment-method apptainer`
container: "envs/autoprune.sif"


report: "workflow/report/workflow.rst"


wildcard_constraints:
    dataset="[a-z0-9_]+",
    model="[a-z0-9_]+",
    method="[a-z0-9-]+",
    variant="[a-z0-9.-]+",
    seed="[0-9]+",


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/measure.smk"
include: "workflow/rules/deploy.smk"
include: "workflow/rules/latency.smk"
include: "workflow/rules/evidence.smk"
include: "workflow/rules/publish.smk"
include: "workflow/rules/check.smk"


onstart:
    check_gpus()
    # Snakemake 9.27 limits jobs a second by a timer for each look for work, which ends in another:
    # after a hundred jobs it looks a hundred times a second. A cluster may want the limit.
    if workflow.local_exec:
        workflow.scheduler.job_rate_limiter = None
    fork_stages(workflow, set_shell)


onerror:
    print("\n".join(what_failed()), file=sys.stderr)


rule data:
    """Client stores and partitions of every data set in the study."""
    input:
        expand("<results>/data/{dataset}/partition/partition.json", dataset=DATASETS),


rule baselines:
    """The dense federated runs."""
    input:
        runs("history.csv", only=["dense"]),


rule pruned:
    """The runs of every other method."""
    input:
        runs("history.csv", without=["dense"]),


rule complexity:
    """Parameters, MACs and FLOPs of every final network and of the paper's."""
    input:
        runs("complexity.json"),
        "<results>/published_counts.json",


rule exports:
    """Every trained network as files for devices, with a manifest: all seeds, all formats."""
    input:
        exported_manifests(),


rule latency:
    """How fast the pruned networks of the first seeds are on this machine: a host proxy."""
    input:
        expand("<results>/tables/{table}.{ending}", table=TIMED_TABLES, ending=TABLE_ENDINGS),
        expand("<results>/figures/{figure}.{ending}", figure=TIMED_FIGURES, ending=FIGURE_ENDINGS),


rule tables:
    """Results, claims and partitions, each as csv, html, markdown and LaTeX."""
    input:
        TABLE_FILES,


rule figures:
    """Every figure as svg and pdf."""
    input:
        FIGURE_FILES,


rule report_page:
    """The page for readers: claims, tables, figures, every run, and where each number is from."""
    input:
        "<results>/report/index.html",


rule all:
    """Everything: tables, figures, findings, latency, both reports, what they were made with."""
    default_target: True
    input:
        TABLE_FILES,
        FIGURE_FILES,
        FINDINGS,
        rules.latency.input,
        "<results>/report/index.html",
        "<results>/report.html",
        "<results>/environment.json",
