"""Deployment: networks as ONNX files, and how fast they are on this machine (a host proxy).

in:  <results>/runs/.../{weights.safetensors,run.json}, <results>/data/{dataset}/
out: <results>/runs/.../export/, <results>/latency/, <results>/{tables,figures}/latency.*

Not part of `all`: times are never the same bytes twice. Targets: exports, latency.
"""


rule export:
    """A trained network as ONNX, float32 and int8, checked against PyTorch."""
    input:
        run="<results>/runs/{dataset}/{model}/{method}/{variant}/seed-{seed}/run.json",
        weights="<results>/runs/{dataset}/{model}/{method}/{variant}/seed-{seed}/weights.safetensors",
        store="<results>/data/{dataset}/store/header.json",
        partition="<results>/data/{dataset}/partition/partition.json",
    output:
        manifest="<results>/runs/{dataset}/{model}/{method}/{variant}/seed-{seed}/export/manifest.json",
        fp32="<results>/runs/{dataset}/{model}/{method}/{variant}/seed-{seed}/export/{dataset}-{model}-{method}-{variant}-s{seed}-fp32.onnx",
        int8="<results>/runs/{dataset}/{model}/{method}/{variant}/seed-{seed}/export/{dataset}-{model}-{method}-{variant}-s{seed}-int8.onnx",
    log:
        "<logs>/export/{dataset}/{model}/{method}/{variant}/seed-{seed}.log",
    benchmark:
        "<benchmarks>/export/{dataset}/{model}/{method}/{variant}/seed-{seed}.tsv"
    params:
        run=subpath(input.run, parent=True),
        store=subpath(input.store, parent=True),
        partition=subpath(input.partition, parent=True),
        target=lookup(dpath="datasets/{dataset}/target", within=config),
        output=subpath(output.manifest, parent=True),
        code=stage("autoprune.export", "autoprune.models.{model}"),
    shell:
        """
        python -m autoprune.export \
            --run {params.run:q} \
            --store {params.store:q} \
            --partition {params.partition:q} \
            --target {params.target:q} \
            --output {params.output:q} \
            >{log:q} 2>&1
        """


rule latency_host:
    """A network and its dense twin, timed in turn on one thread of this machine."""
    input:
        dense="<results>/runs/{dataset}/{model}/dense/fedavg/seed-{seed}/export/manifest.json",
        pruned="<results>/runs/{dataset}/{model}/{method}/{variant}/seed-{seed}/export/manifest.json",
    output:
        "<results>/latency/{dataset}/{model}/{method}/{variant}/seed-{seed}.json",
    log:
        "<logs>/latency_host/{dataset}/{model}/{method}/{variant}/seed-{seed}.log",
    benchmark:
        "<benchmarks>/latency_host/{dataset}/{model}/{method}/{variant}/seed-{seed}.tsv"
    threads: 64  # all cores there are: nothing else may run beside a measurement
    params:
        code=stage("autoprune.latency_host"),
    shell:
        """
        python -m autoprune.latency_host \
            --dense {input.dense:q} \
            --pruned {input.pruned:q} \
            --output {output:q} \
            >{log:q} 2>&1
        """


rule tabulate_latency:
    """Speed-up on the host beside the reduction of MACs."""
    input:
        LATENCY_FILES,
    output:
        csv="<results>/tables/latency.csv",
        html="<results>/tables/latency.html",
        md="<results>/tables/latency.md",
        tex="<results>/tables/latency.tex",
        svg="<results>/figures/latency.svg",
        png="<results>/figures/latency.png",
        pdf="<results>/figures/latency.pdf",
        paper=for_papers("latency"),
    log:
        "<logs>/tabulate_latency.log",
    benchmark:
        "<benchmarks>/tabulate_latency.tsv"
    params:
        code=stage("autoprune.latency"),
    shell:
        """
        python -m autoprune.latency \
            --host {input:q} \
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
