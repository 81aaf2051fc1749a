"""Training: one federated run a job, for each pair x method x variant x seed.

in:  <results>/data/{dataset}/{store,partition}/
out: <results>/runs/{dataset}/{model}/{method}/{variant}/seed-{seed}/
     history.csv, evaluation.json, units.csv, architecture.json, weights.safetensors, run.json, and the
     pruning plan.json where the method has one

While it lasts, a run writes two files beside its outputs: checkpoint.safetensors, at which it goes
on when it was killed, and progress.json, which `autoprune.check.status` reads.
"""


ruleorder: baseline > prune


rule baseline:
    """Dense federated training: plain FedAvg on the network as it is."""
    input:
        store="<results>/data/{dataset}/store/header.json",
        images="<results>/data/{dataset}/store/images.npy",
        partition="<results>/data/{dataset}/partition/partition.json",
        indices="<results>/data/{dataset}/partition/indices.npy",
        start=start_file,
    output:
        history="<results>/runs/{dataset}/{model}/dense/{variant}/seed-{seed}/history.csv",
        evaluation="<results>/runs/{dataset}/{model}/dense/{variant}/seed-{seed}/evaluation.json",
        units="<results>/runs/{dataset}/{model}/dense/{variant}/seed-{seed}/units.csv",
        architecture="<results>/runs/{dataset}/{model}/dense/{variant}/seed-{seed}/architecture.json",
        weights="<results>/runs/{dataset}/{model}/dense/{variant}/seed-{seed}/weights.safetensors",
        run="<results>/runs/{dataset}/{model}/dense/{variant}/seed-{seed}/run.json",
    log:
        "<logs>/runs/{dataset}/{model}/dense/{variant}/seed-{seed}.log",
    benchmark:
        "<benchmarks>/runs/{dataset}/{model}/dense/{variant}/seed-{seed}.tsv"
    priority: 1  # the longest runs first, so that no core waits for them at the end
    threads: 1
    resources:
        gpu=gpus_wanted,
    params:
        store=subpath(input.store, parent=True),
        partition=subpath(input.partition, parent=True),
        run=subpath(output.run, parent=True),
        settings=run_settings,
        followed=followed_flags,
        backend=lookup(dpath="backend", within=config),
        code=stage(
            "autoprune.federation.__main__",
            "autoprune.models.{model}",
            "autoprune.methods.{method}",
        ),
    shell:
        """
        python -m autoprune.federation \
            --settings {params.settings:q} \
            --store {params.store:q} \
            --partition {params.partition:q} \
            {params.followed:q} \
            --backend {params.backend:q} \
            --workers {threads} \
            --output {params.run:q} \
            >{log:q} 2>&1
        """


use rule baseline as prune with:
    input:
        store="<results>/data/{dataset}/store/header.json",
        images="<results>/data/{dataset}/store/images.npy",
        partition="<results>/data/{dataset}/partition/partition.json",
        indices="<results>/data/{dataset}/partition/indices.npy",
        start=start_file,
        plan=plan_followed,
        dense=dense_followed,
        latency_table=latency_table,
    output:
        history="<results>/runs/{dataset}/{model}/{method}/{variant}/seed-{seed}/history.csv",
        evaluation="<results>/runs/{dataset}/{model}/{method}/{variant}/seed-{seed}/evaluation.json",
        units="<results>/runs/{dataset}/{model}/{method}/{variant}/seed-{seed}/units.csv",
        architecture="<results>/runs/{dataset}/{model}/{method}/{variant}/seed-{seed}/architecture.json",
        weights="<results>/runs/{dataset}/{model}/{method}/{variant}/seed-{seed}/weights.safetensors",
        run="<results>/runs/{dataset}/{model}/{method}/{variant}/seed-{seed}/run.json",
        plan="<results>/runs/{dataset}/{model}/{method}/{variant}/seed-{seed}/plan.json",
    log:
        "<logs>/runs/{dataset}/{model}/{method}/{variant}/seed-{seed}.log",
    benchmark:
        "<benchmarks>/runs/{dataset}/{model}/{method}/{variant}/seed-{seed}.tsv"
    # a control waits for the run it follows, so that one goes first
    priority: 0
