"""Counting: parameters, MACs and FLOPs, of what was trained and of what was published.

in:  <results>/runs/.../architecture.json, <results>/metrics.csv, config/published.tsv
out: <results>/runs/.../complexity.json, <results>/published_counts.json, <results>/floors.csv
"""


rule count:
    """Parameters, MACs and FLOPs of an arm's final networks: one job, as each starts for seconds."""
    input:
        expand(
            "<results>/runs/{dataset}/{model}/{method}/{variant}/seed-{seed}/architecture.json",
            seed=config["seeds"],
            allow_missing=True,
        ),
    output:
        expand(
            "<results>/runs/{dataset}/{model}/{method}/{variant}/seed-{seed}/complexity.json",
            seed=config["seeds"],
            allow_missing=True,
        ),
    log:
        "<logs>/count/{dataset}/{model}/{method}/{variant}.log",
    benchmark:
        "<benchmarks>/count/{dataset}/{model}/{method}/{variant}.tsv"
    params:
        code=stage("autoprune.measure.complexity", "autoprune.models.{model}"),
    shell:
        """
        python -m autoprune.measure.complexity \
            --architecture {input:q} \
            --output {output:q} \
            >{log:q} 2>&1
        """


rule published_counts:
    """The same counts for the architectures that the authors' notebooks print."""
    input:
        own("config/published.tsv"),
    output:
        "<results>/published_counts.json",
    log:
        "<logs>/published_counts.log",
    benchmark:
        "<benchmarks>/published_counts.tsv"
    params:
        code=stage(
            "autoprune.measure.complexity",
            "autoprune.models.cnn",
            "autoprune.models.resnet",
            "autoprune.models.inception",
        ),
    shell:
        """
        python -m autoprune.measure.complexity \
            --published {input:q} \
            --output {output:q} \
            >{log:q} 2>&1
        """


rule floors:
    """The least that the rule can leave of each network, for each k that the study has."""
    input:
        "<results>/metrics.csv",
    output:
        "<results>/floors.csv",
    log:
        "<logs>/floors.log",
    benchmark:
        "<benchmarks>/floors.tsv"
    params:
        code=stage(
            "autoprune.measure.floors",
            *sorted({f"autoprune.models.{pair['model']}" for pair in PAIRS.values()}),
        ),
    shell:
        """
        python -m autoprune.measure.floors \
            --metrics {input:q} \
            --output {output:q} \
            >{log:q} 2>&1
        """
