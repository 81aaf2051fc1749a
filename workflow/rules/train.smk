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
    params:
        store=subpath(input.store, parent=True),
        partition=subpath(input.partition, parent=True),
        run=subpath(output.run, parent=True),
        stands_for=lookup(dpath="datasets/{dataset}/stands_for", within=config),
        target=lookup(dpath="datasets/{dataset}/target", within=config),
        widths=lookup(dpath="pairs/{dataset}-{model}/widths", within=config),
        method="dense",
        like=like,
        method_flags=[],
        plan_flags=[],
        rounds=training("rounds"),
        clients_per_round=training("clients_per_round"),
        local_epochs=training("local_epochs"),
        batch_size=training("batch_size"),
        learning_rate=training("learning_rate"),
        epsilon=training("epsilon"),
        precision=training("precision"),
        optimizer_state=training("optimizer_state"),
        batch_norm=training("batch_norm"),
        min_clients=training("min_clients"),
        evaluate_every=training("evaluate_every"),
        checkpoint_every=training("checkpoint_every"),
        backend=lookup(dpath="backend", within=config),
        code=stage(
            "autoprune.federation.__main__", "autoprune.models.{model}", "autoprune.methods.dense"
        ),
    shell:
        """
        python -m autoprune.federation \
            --dataset {wildcards.dataset:q} \
            --stands-for {params.stands_for:q} \
            --store {params.store:q} \
            --partition {params.partition:q} \
            --target {params.target:q} \
            --model {wildcards.model:q} \
            --widths {params.widths:q} \
            --method {params.method:q} \
            --variant {wildcards.variant:q} \
            --like {params.like:q} \
            --seed {wildcards.seed:q} \
            --rounds {params.rounds:q} \
            --clients-per-round {params.clients_per_round:q} \
            --local-epochs {params.local_epochs:q} \
            --batch-size {params.batch_size:q} \
            --learning-rate {params.learning_rate:q} \
            --epsilon {params.epsilon:q} \
            --precision {params.precision:q} \
            --optimizer-state {params.optimizer_state:q} \
            --batch-norm {params.batch_norm:q} \
            --min-clients {params.min_clients:q} \
            --evaluate-every {params.evaluate_every:q} \
            --checkpoint-every {params.checkpoint_every:q} \
            {params.method_flags:q} \
            {params.plan_flags:q} \
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
        plan=plan_followed,
        dense=dense_followed,
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
    params:
        method="{method}",
        method_flags=method_flags,
        plan_flags=plan_flags,
        code=stage(
            "autoprune.federation.__main__",
            "autoprune.models.{model}",
            "autoprune.methods.{method}",
        ),
