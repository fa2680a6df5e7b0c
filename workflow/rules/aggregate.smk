localrules:
    aggregate,


rule aggregate:
    input:
        planned_batches,
    output:
        best=f"{STORE}/best.json",
        trials=f"{STORE}/trials.csv",
        scalars=f"{STORE}/scalars.csv",
    log:
        f"{STORE}/logs/aggregate.log",
    conda:
        "../envs/autotune.yaml"
    params:
        autotune=AUTOTUNE,
        log_dir=log_dir,
    shell:
        "{params.autotune} aggregate --log-dir {params.log_dir:q} > {log:q} 2>&1"
