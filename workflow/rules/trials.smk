rule batch:
    output:
        f"{STORE}/batches/{{batch}}.json",
    log:
        f"{STORE}/logs/{{batch}}.log",
    params:
        autotune=AUTOTUNE,
        log_dir=LOG_DIR,
    threads: needed("cpus")
    resources:
        gpu=needed("gpus"),
        mem_mb=needed("mem_mb"),
        runtime=needed("runtime"),
    conda:
        "../envs/autotune.yaml"
    shell:
        "{params.autotune} run-batch {wildcards.batch} --log-dir {params.log_dir:q} > {log:q} 2>&1"
