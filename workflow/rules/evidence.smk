"""Evidence: is it the method, or would anything of that size have done? Tests, null, ablations.

in:  <results>/{metrics,units}.csv, <results>/runs/.../{run,plan}.json, <results>/data/{dataset}/,
     <results>/published_counts.json, <results>/latency/, config/published.tsv
out: <results>/tables/*.csv, <results>/null/, <results>/published_nulls.csv,
     <results>/filter_survival.csv, <results>/findings.md
"""


rule tabulate:
    """A table's CSV, or a figure's, from the files and settings that its module asks for."""
    input:
        unpack(files_shown),
    output:
        "<results>/tables/{table}.csv",
    log:
        "<logs>/tabulate/{table}.log",
    benchmark:
        "<benchmarks>/tabulate/{table}.tsv"
    wildcard_constraints:
        table="|".join(CSVS),
    params:
        files=file_flags,
        options=options,
        code=stage("autoprune.evidence.tabulate", "autoprune.evidence.{table}"),
    shell:
        """
        python -m autoprune.evidence.tabulate {wildcards.table:q} \
            {params.files:q} \
            {params.options:q} \
            --csv {output:q} \
            >{log:q} 2>&1
        """


rule nulls:
    """The rule on random networks, many times over: how much it prunes with nothing learnt."""
    input:
        "<results>/data/{dataset}/store/header.json",
    output:
        "<results>/null/{dataset}-{model}.csv",
    log:
        "<logs>/nulls/{dataset}-{model}.log",
    benchmark:
        "<benchmarks>/nulls/{dataset}-{model}.tsv"
    params:
        store=subpath(input[0], parent=True),
        target=lookup(dpath="datasets/{dataset}/target", within=config),
        network=network_flags,
        k=lookup(dpath="pairs/{dataset}-{model}/autoprune/k", within=config),
        patience=lookup(dpath="pairs/{dataset}-{model}/autoprune/patience", within=config),
        cap=lookup(dpath="pairs/{dataset}-{model}/autoprune/cap", within=config),
        draws=lookup(dpath="controls/null_draws", within=config),
        code=stage("autoprune.measure.nulls", "autoprune.models.{model}"),
    shell:
        """
        python -m autoprune.measure.nulls \
            --store {params.store:q} \
            --target {params.target:q} \
            {params.network:q} \
            --k {params.k:q} \
            --patience {params.patience:q} \
            --cap {params.cap:q} \
            --draws {params.draws:q} \
            --output {output:q} \
            >{log:q} 2>&1
        """


rule published_nulls:
    """Where the sizes that the notebooks print lie among those of networks that learn nothing."""
    input:
        own("config/published.tsv"),
    output:
        "<results>/published_nulls.csv",
    log:
        "<logs>/published_nulls.log",
    benchmark:
        "<benchmarks>/published_nulls.tsv"
    params:
        draws=lookup(dpath="controls/null_draws", within=config),
        code=stage(
            "autoprune.measure.published_nulls",
            "autoprune.models.cnn",
            "autoprune.models.resnet",
            "autoprune.models.inception",
        ),
    shell:
        """
        python -m autoprune.measure.published_nulls \
            --published {input:q} \
            --draws {params.draws:q} \
            --output {output:q} \
            >{log:q} 2>&1
        """


rule filter_survival:
    """Which of the first filters are left in the end, and whether seeds agree on them."""
    input:
        run=runs("run.json", without=["dense"]),
        plan=runs("plan.json", without=["dense"]),
    output:
        "<results>/filter_survival.csv",
    log:
        "<logs>/filter_survival.log",
    benchmark:
        "<benchmarks>/filter_survival.tsv"
    params:
        runs=folders("run"),
        code=stage("autoprune.evidence.filter_survival"),
    shell:
        """
        python -m autoprune.evidence.filter_survival \
            --runs {params.runs:q} \
            --output {output:q} \
            >{log:q} 2>&1
        """


rule findings:
    """What the tables say, in sentences chosen and filled in by rule."""
    input:
        expand("<results>/tables/{table}.csv", table=["comparisons", "claims", "ablations"]),
        expand("<results>/tables/{table}.csv", table=[t for t in TABLES if t == "targets"]),
        "<results>/environment.json",
        "<results>/figures/accuracy_by_round.svg",
    output:
        "<results>/findings.md",
    log:
        "<logs>/findings.log",
    benchmark:
        "<benchmarks>/findings.tsv"
    params:
        results=subpath(input[0], ancestor=2),
        code=stage("autoprune.publish.findings"),
    shell:
        """
        python -m autoprune.publish.findings \
            --study "This study" {params.results:q} \
            --output {output:q} \
            >{log:q} 2>&1
        """
