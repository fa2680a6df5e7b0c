# One job for each planned shape, which compares the attention backends on the node that it lands on.
rule attention:
    input:
        cell=f"{STORE}/attn/cells/{{cell}}.json",
    output:
        result=f"{STORE}/attn/results/{{cell}}.json",
    log:
        f"{STORE}/attn/logs/{{cell}}.log",
    conda:
        "../envs/autotune.yaml"
    threads: 2
    resources:
        gpu=needed_by_cell("gpu"),
    params:
        autotune=AUTOTUNE,
    shell:
        "{params.autotune} bench-attn --cell {input.cell:q} --out {output.result:q} > {log:q} 2>&1"
