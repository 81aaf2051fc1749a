"""Data: one client store per data set, and its division among clients.

in:  a source (a generator, scikit-learn's digits, files that are downloaded or the user's own)
out: <results>/data/{dataset}/store/      images, labels, clients, splits, header.json
     <results>/data/{dataset}/partition/  the training rows of each client, label counts
"""


rule download:
    """Fetch a registered file, or check the one put there by hand; only the receipt is an output.

    So Snakemake never deletes the file itself, and a broken transfer goes on where it was.
    """
    output:
        "<resources>/downloads/{file}.json",
    log:
        "<logs>/download/{file}.log",
    benchmark:
        "<benchmarks>/download/{file}.tsv"
    params:
        folder=subpath(output[0], parent=True),
        code=stage("autoprune.data.fetch.download"),
    shell:
        """
        python -m autoprune.data.fetch.download {wildcards.file:q} \
            --folder {params.folder:q} \
            --receipt {output:q} \
            2>&1 | tee {log:q}
        """


rule prepare:
    """Read or generate a data set and write it as a client store."""
    input:
        receipts,
        source_files,
    output:
        header="<results>/data/{dataset}/store/header.json",
        images="<results>/data/{dataset}/store/images.npy",
        labels="<results>/data/{dataset}/store/labels.npy",
        clients="<results>/data/{dataset}/store/clients.npy",
        splits="<results>/data/{dataset}/store/splits.npy",
    log:
        "<logs>/prepare/{dataset}.log",
    # a store is the same bytes for every workflow on the machine: SNAKEMAKE_OUTPUT_CACHE shares it
    cache: "omit-software"
    threads: readers
    params:
        store=subpath(output.header, parent=True),
        source=lookup(dpath="datasets/{dataset}/source", within=config),
        flags=source_flags,
        code=stage("autoprune.data.prepare.__main__", "autoprune.data.prepare.sources.{source}"),
    shell:
        """
        python -m autoprune.data.prepare {params.source:q} \
            --name {wildcards.dataset:q} \
            {params.flags:q} \
            --workers {threads} \
            --output {params.store:q} \
            >{log:q} 2>&1
        """


rule partition:
    """Divide the training rows among clients."""
    input:
        header="<results>/data/{dataset}/store/header.json",
        images="<results>/data/{dataset}/store/images.npy",
        labels="<results>/data/{dataset}/store/labels.npy",
        clients="<results>/data/{dataset}/store/clients.npy",
        splits="<results>/data/{dataset}/store/splits.npy",
    output:
        header="<results>/data/{dataset}/partition/partition.json",
        offsets="<results>/data/{dataset}/partition/offsets.npy",
        indices="<results>/data/{dataset}/partition/indices.npy",
        labels="<results>/data/{dataset}/partition/label_counts.csv",
    log:
        "<logs>/partition/{dataset}.log",
    benchmark:
        "<benchmarks>/partition/{dataset}.tsv"
    params:
        store=subpath(input.header, parent=True),
        partition=subpath(output.header, parent=True),
        target=lookup(dpath="datasets/{dataset}/target", within=config),
        flags=partition_flags,
        code=stage("autoprune.data.prepare.partition"),
    shell:
        """
        python -m autoprune.data.prepare.partition \
            --store {params.store:q} \
            --target {params.target:q} \
            {params.flags:q} \
            --output {params.partition:q} \
            >{log:q} 2>&1
        """
