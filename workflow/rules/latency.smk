"""Latency: the phone sessions handed in.

in:  <resources>/android/SESSION/{session.json,runs.csv,raw/}, manifests of the exports
out: <results>/latency/android.csv
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
