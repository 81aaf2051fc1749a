"""Checking: what the results were made with, and whether they are the reference's.

in:  <results>/runs/.../{run,plan}.json, <results>/metrics.csv, <results>/tables/, a reference
out: <results>/environment.json; the verdict of `verify` goes to the terminal and its log
"""


rule environment:
    """Versions, processor, threads and the checkout's state that the runs were made with.

    Made anew when a run is, and then only: it belongs to the results, not to the day. The state
    of git is read and never a param: a commit makes nothing rerun.
    """
    input:
        run=runs("run.json"),
    output:
        "<results>/environment.json",
    log:
        "<logs>/environment.log",
    benchmark:
        "<benchmarks>/environment.tsv"
    params:
        runs=folders("run"),
        code=stage("autoprune.core.environment"),
    shell:
        """
        python -m autoprune.core.environment \
            --runs {params.runs:q} \
            --output {output:q} \
            >{log:q} 2>&1
        """


rule verify:
    """Compare the finished study with the configuration's reference; fails where a number moved.

    It leaves no file, nor a benchmark, and so is run whenever it is asked for.
    """
    input:
        environment="<results>/environment.json",
        metrics="<results>/metrics.csv",
        plans=runs("plan.json", without=["dense"]),
        published="<results>/published_counts.json",
        null=NULL_FILES,
        kept="<results>/filter_survival.csv",
        tables=expand("<results>/tables/{table}.csv", table=TABLES),
    log:
        "<logs>/verify.log",
    params:
        results=subpath(input.environment, parent=True),
        reference=reference_flags,
        code=stage("autoprune.check.verify"),
    shell:
        """
        python -m autoprune.check.verify \
            --results {params.results:q} \
            {params.reference:q} \
            2>&1 | tee {log:q}
        """
