rule batch:
    output:
        f"{STORE}/batches/{{batch}}.json",
    log:
        f"{STORE}/logs/{{batch}}.log",
    conda:
        "../envs/autotune.yaml"
    threads: needed("cpus")
    resources:
        gpu=gpus_by_gpus,
        gpu_model=model_by_gpus,
        gres=gpus_by_gres,
        nodes=on_several_nodes(as_many_as_nodes),
        tasks=on_several_nodes(as_many_as_nodes),
        tasks_per_gpu=on_several_nodes(not_by_gpus),
        cpus_per_task=on_several_nodes(share_of_cpus),
        mpi=on_several_nodes(launcher),
        mem_mb=memory_of_a_node,
        runtime=grown("runtime"),
    params:
        autotune=AUTOTUNE,
        log_dir=log_dir,
    shell:
        "{params.autotune} run-batch {wildcards.batch} --log-dir {params.log_dir:q} --runtime {resources.runtime}"
        " > {log:q} 2>&1"
