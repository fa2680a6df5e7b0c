localrules:
    plan_round,


rule batch:
    input:
        planned_round,
    output:
        f"{STORE}/batches/{{batch}}.json",
    log:
        f"{STORE}/logs/{{batch}}.log",
    priority: 1  # a round that waits for its quorum must not take the place of what it waits for
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


rule plan_round:
    input:
        known_to_round,
    output:
        f"{STORE}/batches/round_{{round}}.json",
    log:
        f"{STORE}/logs/round_{{round}}.log",
    conda:
        "../envs/autotune.yaml"
    params:
        autotune=AUTOTUNE,
        log_dir=log_dir,
    shell:
        "{params.autotune} plan-round {wildcards.round} --log-dir {params.log_dir:q} > {log:q} 2>&1"
