"""Deployment: networks as files for devices, and how fast they are on this machine (a host proxy).

in:  <results>/runs/.../{weights.safetensors,run.json,plan.json}, <results>/data/{dataset}/
out: <results>/runs/.../export/{format}/ and, with widths rounded to k, {format}-r{k}/,
     <results>/latency/{dataset}/

Times are never the same bytes twice; the exports are.
"""


ruleorder: export_rounded > export


rule export:
    """A trained network in a file format, float32 and int8, checked against PyTorch."""
    input:
        run="<results>/runs/{dataset}/{model}/{method}/{variant}/seed-{seed}/run.json",
        weights="<results>/runs/{dataset}/{model}/{method}/{variant}/seed-{seed}/weights.safetensors",
        store="<results>/data/{dataset}/store/header.json",
        partition="<results>/data/{dataset}/partition/partition.json",
    output:
        manifest="<results>/runs/{dataset}/{model}/{method}/{variant}/seed-{seed}/export/{format}/manifest.json",
        fp32="<results>/runs/{dataset}/{model}/{method}/{variant}/seed-{seed}/export/{format}/{dataset}-{model}-{method}-{variant}-s{seed}-fp32.{format}",
        int8="<results>/runs/{dataset}/{model}/{method}/{variant}/seed-{seed}/export/{format}/{dataset}-{model}-{method}-{variant}-s{seed}-int8.{format}",
        torch="<results>/runs/{dataset}/{model}/{method}/{variant}/seed-{seed}/export/{format}/{dataset}-{model}-{method}-{variant}-s{seed}.pt2",
    log:
        "<logs>/export/{format}/{dataset}/{model}/{method}/{variant}/seed-{seed}.log",
    benchmark:
        "<benchmarks>/export/{format}/{dataset}/{model}/{method}/{variant}/seed-{seed}.tsv"
    wildcard_constraints:
        format="|".join(FORMATS),
    params:
        run=subpath(input.run, parent=True),
        store=subpath(input.store, parent=True),
        partition=subpath(input.partition, parent=True),
        target=lookup(dpath="datasets/{dataset}/target", within=config),
        rounding=[],
        output=subpath(output.manifest, ancestor=2),
        code=stage(
            "autoprune.measure.export",
            "autoprune.measure.formats.{format}",
            "autoprune.models.{model}",
        ),
    shell:
        """
        python -m autoprune.measure.export \
            --run {params.run:q} \
            --store {params.store:q} \
            --partition {params.partition:q} \
            --target {params.target:q} \
            --format {wildcards.format:q} \
            {params.rounding:q} \
            --output {params.output:q} \
            >{log:q} 2>&1
        """


# both in one process: to start torch and the exporter takes longer than to export
use rule export as export_rounded with:
    input:
        run="<results>/runs/{dataset}/{model}/{method}/{variant}/seed-{seed}/run.json",
        weights="<results>/runs/{dataset}/{model}/{method}/{variant}/seed-{seed}/weights.safetensors",
        plan="<results>/runs/{dataset}/{model}/{method}/{variant}/seed-{seed}/plan.json",
        store="<results>/data/{dataset}/store/header.json",
        partition="<results>/data/{dataset}/partition/partition.json",
    output:
        expand(
            "<results>/runs/{{dataset}}/{{model}}/{{method}}/{{variant}}/seed-{{seed}}/export/{{format}}-r{multiple}/{{dataset}}-{{model}}-{{method}}-{{variant}}-s{{seed}}-r{multiple}-{precision}.{{format}}",
            multiple=MULTIPLES,
            precision=["fp32", "int8"],
        ),
        expand(
            "<results>/runs/{{dataset}}/{{model}}/{{method}}/{{variant}}/seed-{{seed}}/export/{{format}}-r{multiple}/{{dataset}}-{{model}}-{{method}}-{{variant}}-s{{seed}}-r{multiple}.pt2",
            multiple=MULTIPLES,
        ),
        expand(
            "<results>/runs/{{dataset}}/{{model}}/{{method}}/{{variant}}/seed-{{seed}}/export/{{format}}-r{multiple}/manifest.json",
            multiple=MULTIPLES,
        ),
        manifest="<results>/runs/{dataset}/{model}/{method}/{variant}/seed-{seed}/export/{format}/manifest.json",
        fp32="<results>/runs/{dataset}/{model}/{method}/{variant}/seed-{seed}/export/{format}/{dataset}-{model}-{method}-{variant}-s{seed}-fp32.{format}",
        int8="<results>/runs/{dataset}/{model}/{method}/{variant}/seed-{seed}/export/{format}/{dataset}-{model}-{method}-{variant}-s{seed}-int8.{format}",
        torch="<results>/runs/{dataset}/{model}/{method}/{variant}/seed-{seed}/export/{format}/{dataset}-{model}-{method}-{variant}-s{seed}.pt2",
    wildcard_constraints:
        format="|".join(FORMATS),
        method="|".join(SCORED),
    params:
        rounding=rounding_flags,


rule latency_host:
    """A run's networks and their dense twins, timed in turn on one thread of this machine."""
    input:
        dense=expand(
            "<results>/runs/{{dataset}}/{{model}}/dense/fedavg/seed-{{seed}}/export/{format}/manifest.json",
            format=FORMATS,
        ),
        pruned=measured_manifests,
    output:
        "<results>/latency/{dataset}/{model}/{method}/{variant}/seed-{seed}.json",
    log:
        "<logs>/latency_host/{dataset}/{model}/{method}/{variant}/seed-{seed}.log",
    benchmark:
        "<benchmarks>/latency_host/{dataset}/{model}/{method}/{variant}/seed-{seed}.tsv"
    threads: 64  # all cores there are: nothing else may run beside a measurement
    params:
        rounds=lookup(dpath="deploy/latency_rounds", within=config),
        code=stage(
            "autoprune.measure.latency_host",
            *(f"autoprune.measure.formats.{name}" for name in FORMATS),
        ),
    shell:
        """
        python -m autoprune.measure.latency_host \
            --dense {input.dense:q} \
            --pruned {input.pruned:q} \
            --rounds {params.rounds:q} \
            --output {output:q} \
            >{log:q} 2>&1
        """
