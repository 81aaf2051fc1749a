"""Latency: the phone sessions handed in, the table of phones and host, the figure.

in:  <resources>/android/SESSION/{session.json,runs.csv,raw/}, manifests of the exports,
     <results>/latency/{dataset}/ of this machine
out: <results>/latency/android.csv, <results>/{tables,figures}/latency.*
"""

# whatever lies there is a session or an error; a new or another file runs the import again
ANDROID = Path(config["pathvars"]["resources"]) / "android"
SESSIONS = sorted(map(str, ANDROID.glob("[!.]*")))
SESSION_FILES = sorted(
    str(path)
    for name in ("session.json", "runs.csv", "failed.csv", "raw/[!.]*")
    for path in ANDROID.glob(f"[!.]*/{name}")
)


rule import_latency:
    """Sessions of phone runs as one table, each run beside its network; a header for none."""
    input:
        sessions=SESSION_FILES,
        manifests=exported_manifests() if SESSIONS else [],
    output:
        "<results>/latency/android.csv",
    log:
        "<logs>/import_latency.log",
    benchmark:
        "<benchmarks>/import_latency.tsv"
    params:
        sessions=SESSIONS,
        code=stage("autoprune.phone.import_latency"),
    shell:
        """
        python -m autoprune.phone.import_latency \
            --sessions {params.sessions:q} \
            --manifests {input.manifests:q} \
            --output {output:q} \
            >{log:q} 2>&1
        """


rule tabulate_latency:
    """Latency and speed-up beside MACs: phones, and the host as a proxy, apart."""
    input:
        host=LATENCY_FILES,
        android="<results>/latency/android.csv",
    output:
        csv="<results>/tables/latency.csv",
        html=report(
            "<results>/tables/latency.html",
            caption="../report/latency.rst",
            category="Results",
            labels={"what": "latency", "as": "table"},
        ),
        md="<results>/tables/latency.md",
        tex="<results>/tables/latency.tex",
        svg=report(
            "<results>/figures/latency.svg",
            caption="../report/latency.rst",
            category="Results",
            labels={"what": "latency", "as": "figure"},
        ),
        png="<results>/figures/latency.png",
        pdf="<results>/figures/latency.pdf",
        paper=for_papers("latency"),
    log:
        "<logs>/tabulate_latency.log",
    benchmark:
        "<benchmarks>/tabulate_latency.tsv"
    params:
        code=stage("autoprune.publish.latency"),
    shell:
        """
        python -m autoprune.publish.latency \
            --host {input.host:q} \
            --android {input.android:q} \
            --csv {output.csv:q} \
            --html {output.html:q} \
            --markdown {output.md:q} \
            --latex {output.tex:q} \
            --svg {output.svg:q} \
            --png {output.png:q} \
            --pdf {output.pdf:q} \
            --paper {output.paper:q} \
            >{log:q} 2>&1
        """
