rule batch:
    output:
        f"{STORE}/batches/{{batch}}.json",
    log:
        f"{STORE}/logs/{{batch}}.log",
    conda:
        "../envs/autotune.yaml"
    threads: needed("cpus")
    resources:
        gpu=needed("gpus"),
        mem_mb=needed("mem_mb"),
        runtime=needed("runtime"),
    params:
        autotune=AUTOTUNE,
        log_dir=log_dir,
    shell:
        "{params.autotune} run-batch {wildcards.batch} --log-dir {params.log_dir:q} > {log:q} 2>&1"
