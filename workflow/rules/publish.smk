"""Publishing: one tidy table of metrics, and from it alone the tables, the figures, the report.

in:  <results>/runs/, <results>/tables/*.csv, <results>/environment.json
out: <results>/{metrics,units}.csv, <results>/tables/*.{html,md,tex}, <results>/figures/,
     <results>/report/index.html, <results>/report.html
"""


rule metrics:
    """Gather every run's numbers into one long table, each with the file it came from."""
    input:
        history=runs("history.csv"),
        evaluation=runs("evaluation.json"),
        complexity=runs("complexity.json"),
        run=runs("run.json"),
        units=runs("units.csv"),
    output:
        metrics="<results>/metrics.csv",
        units="<results>/units.csv",
        # by which those who read them know that nothing is missing
        sums=expand("<results>/{table}.csv.sha256", table=["metrics", "units"]),
    log:
        "<logs>/metrics.log",
    benchmark:
        "<benchmarks>/metrics.tsv"
    params:
        runs=folders("run"),
        code=stage("autoprune.measure.metrics"),
    shell:
        """
        python -m autoprune.measure.metrics \
            --runs {params.runs:q} \
            --units {output.units:q} \
            --output {output.metrics:q} \
            >{log:q} 2>&1
        """


rule render_table:
    """One table for people, from its CSV: HTML, Markdown and LaTeX."""
    input:
        csv="<results>/tables/{table}.csv",
        # code versions know Python only
        page=own("workflow/autoprune/publish/templates/table.html.j2"),
    output:
        html=report(
            "<results>/tables/{table}.html",
            caption="../report/table.rst",
            category=category,
            labels=labels,
        ),
        md="<results>/tables/{table}.md",
        tex="<results>/tables/{table}.tex",
    log:
        "<logs>/render_table/{table}.log",
    benchmark:
        "<benchmarks>/render_table/{table}.tsv"
    wildcard_constraints:
        table="|".join(items("tables")),
    params:
        code=stage("autoprune.publish.render_table", "autoprune.publish.tables.{table}"),
    shell:
        """
        python -m autoprune.publish.render_table {wildcards.table:q} \
            --csv {input.csv:q} \
            --html {output.html:q} \
            --markdown {output.md:q} \
            --latex {output.tex:q} \
            >{log:q} 2>&1
        """


rule draw:
    """One figure, from the files that its module asks for."""
    input:
        unpack(files_shown),
    output:
        svg=report(
            "<results>/figures/{figure}.svg",
            caption="../report/figure.rst",
            category=category,
            labels=labels,
        ),
        pdf="<results>/figures/{figure}.pdf",
    log:
        "<logs>/draw/{figure}.log",
    benchmark:
        "<benchmarks>/draw/{figure}.tsv"
    wildcard_constraints:
        figure="|".join(items("figures")),
    params:
        files=file_flags,
        code=stage("autoprune.publish.draw", "autoprune.publish.figures.{figure}"),
    shell:
        """
        python -m autoprune.publish.draw {wildcards.figure:q} \
            {params.files:q} \
            --svg {output.svg:q} \
            --pdf {output.pdf:q} \
            >{log:q} 2>&1
        """


rule write_report:
    """One page for readers: claims, tables, figures, every run, and where each number is from."""
    input:
        metrics="<results>/metrics.csv",
        run=runs("run.json"),
        plan=runs("plan.json", without=["dense"]),
        tables=expand("<results>/tables/{table}.csv", table=[*TABLES, *TIMED_TABLES]),
        partitions=expand("<results>/data/{dataset}/partition/partition.json", dataset=DATASETS),
        stores=expand("<results>/data/{dataset}/store/header.json", dataset=DATASETS),
        figures=expand("<results>/figures/{figure}.svg", figure=[*FIGURES, *TIMED_FIGURES]),
        findings=FINDINGS,
        environment="<results>/environment.json",
        # code versions know Python only
        page=expand(
            own("workflow/autoprune/publish/templates/{file}"),
            file=["report.html.j2", "page.css", "page.js"],
        ),
    output:
        "<results>/report/index.html",
    log:
        "<logs>/write_report.log",
    benchmark:
        "<benchmarks>/write_report.tsv"
    params:
        runs=folders("run"),
        benchmarks=lookup(dpath="pathvars/benchmarks", within=config),
        code=stage(
            "autoprune.publish.report.__main__",
            *(f"autoprune.publish.tables.{table}" for table in [*TABLES, *TIMED_TABLES]),
        ),
    shell:
        """
        python -m autoprune.publish.report \
            --metrics {input.metrics:q} \
            --runs {params.runs:q} \
            --tables {input.tables:q} \
            --partitions {input.partitions:q} \
            --figures {input.figures:q} \
            --findings {input.findings:q} \
            --environment {input.environment:q} \
            --benchmarks {params.benchmarks:q} \
            --output {output:q} \
            >{log:q} 2>&1
        """


rule report:
    """Snakemake's own report: one page with tables, figures, captions and provenance."""
    input:
        TABLE_FILES,
        FIGURE_FILES,
    output:
        "<results>/report.html",
    log:
        "<logs>/report.log",
    benchmark:
        "<benchmarks>/report.tsv"
    params:
        configfiles=CONFIGFILES,
        snakefile=own("Snakefile"),
    shell:
        """
        python -m snakemake tables figures \
            --nolock \
            --cores 1 \
            --snakefile {params.snakefile:q} \
            --configfile {params.configfiles:q} \
            --report {output:q} \
            >{log:q} 2>&1
        """
