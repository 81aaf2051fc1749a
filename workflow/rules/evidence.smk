"""Evidence: is it the method, or would anything of that size have done? Tests, null, ablations.

in:  <results>/{metrics,units}.csv, <results>/runs/.../{run,plan}.json, <results>/data/{dataset}/store/,
     <results>/published_counts.json, <results>/latency/android.csv, config/published.tsv
out: <results>/tables/{results,claims,comparisons,ablations}.csv, <results>/null/,
     <results>/published_nulls.csv, <results>/filter_survival.csv, <results>/findings.md and the figures
     of CONTROL_FIGURES
"""


rule results:
    """Dense against pruned: accuracy, parameters, MACs, FLOPs, communication."""
    input:
        "<results>/metrics.csv",
    output:
        "<results>/tables/results.csv",
    log:
        "<logs>/results.log",
    benchmark:
        "<benchmarks>/results.tsv"
    params:
        code=stage("autoprune.evidence.results"),
    shell:
        """
        python -m autoprune.evidence.results \
            --metrics {input:q} \
            --csv {output:q} \
            >{log:q} 2>&1
        """


rule claims:
    """Each published number beside ours, with an interval and a verdict."""
    input:
        metrics="<results>/metrics.csv",
        counts="<results>/published_counts.json",
        published="config/published.tsv",
        units="<results>/units.csv",
        nulls="<results>/published_nulls.csv",
        android="<results>/latency/android.csv",
    output:
        "<results>/tables/claims.csv",
    log:
        "<logs>/claims.log",
    benchmark:
        "<benchmarks>/claims.tsv"
    params:
        reference=lookup(dpath="controls/reference", within=config),
        margin=margin_flags("--accuracy-margin"),
        ablations=ablation_flags(config),
        code=stage("autoprune.evidence.claims"),
    shell:
        """
        python -m autoprune.evidence.claims \
            --metrics {input.metrics:q} \
            --published {input.published:q} \
            --counts {input.counts:q} \
            --units {input.units:q} \
            --null-published {input.nulls:q} \
            --android {input.android:q} \
            --reference {params.reference:q} \
            {params.margin:q} \
            {params.ablations:q} \
            --csv {output:q} \
            >{log:q} 2>&1
        """


rule comparisons:
    """Every method against the paper's, at equal rounds, training rounds and bytes."""
    input:
        metrics="<results>/metrics.csv",
        units="<results>/units.csv",
    output:
        "<results>/tables/comparisons.csv",
    log:
        "<logs>/comparisons.log",
    benchmark:
        "<benchmarks>/comparisons.tsv"
    params:
        reference=lookup(dpath="controls/reference", within=config),
        margin=margin_flags("--margin"),
        code=stage("autoprune.evidence.comparisons"),
    shell:
        """
        python -m autoprune.evidence.comparisons \
            --metrics {input.metrics:q} \
            --units {input.units:q} \
            --reference {params.reference:q} \
            {params.margin:q} \
            --csv {output:q} \
            >{log:q} 2>&1
        """


rule ablations:
    """What the accidents of the notebooks do, one change at a time."""
    input:
        "<results>/metrics.csv",
    output:
        "<results>/tables/ablations.csv",
    log:
        "<logs>/ablations.log",
    benchmark:
        "<benchmarks>/ablations.tsv"
    params:
        ablations=ablation_flags(config),
        code=stage("autoprune.evidence.ablations"),
    shell:
        """
        python -m autoprune.evidence.ablations \
            --metrics {input:q} \
            {params.ablations:q} \
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
        widths=lookup(dpath="pairs/{dataset}-{model}/widths", within=config),
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
            --model {wildcards.model:q} \
            --widths {params.widths:q} \
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
        "config/published.tsv",
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


rule draw_controls:
    """One figure of the controls."""
    input:
        metrics="<results>/metrics.csv",
        null=NULL_FILES,
        kept="<results>/filter_survival.csv",
    output:
        svg=report(
            "<results>/figures/{figure}.svg",
            caption="../report/figure.rst",
            category="Controls",
            labels={"what": "{figure}", "as": "figure"},
        ),
        png="<results>/figures/{figure}.png",
        pdf="<results>/figures/{figure}.pdf",
        paper=for_papers("{figure}"),
    log:
        "<logs>/draw_controls/{figure}.log",
    benchmark:
        "<benchmarks>/draw_controls/{figure}.tsv"
    wildcard_constraints:
        figure="|".join(CONTROL_FIGURES),
    params:
        code=stage(
            "autoprune.publish.draw_controls",
            *sorted({f"autoprune.models.{pair['model']}" for pair in PAIRS.values()}),
        ),
    shell:
        """
        python -m autoprune.publish.draw_controls {wildcards.figure:q} \
            --metrics {input.metrics:q} \
            --null {input.null:q} \
            --kept {input.kept:q} \
            --svg {output.svg:q} \
            --png {output.png:q} \
            --pdf {output.pdf:q} \
            --paper {output.paper:q} \
            >{log:q} 2>&1
        """


rule findings:
    """What the tables say, in sentences chosen and filled in by rule."""
    input:
        expand("<results>/tables/{table}.csv", table=["comparisons", "claims", "ablations"]),
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
