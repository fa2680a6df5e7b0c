localrules:
    attention_tables,
    attention_plots,


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
        mem_mb=needed_by_cell("mem_mb"),
        runtime=needed_by_cell("runtime"),
    params:
        autotune=AUTOTUNE,
    shell:
        "{params.autotune} bench-attn --cell {input.cell:q} --out {output.result:q} > {log:q} 2>&1"


# The table of all planned shapes and the choice for each. Its columns are described in docs/attention.md.
rule attention_tables:
    input:
        planned_attention,
    output:
        table=f"{STORE}/attn.csv",
        best=f"{STORE}/attn_best.json",
    log:
        f"{STORE}/attn/logs/tables.log",
    conda:
        "../envs/autotune.yaml"
    params:
        autotune=AUTOTUNE,
        log_dir=log_dir,
    shell:
        "{params.autotune} bench-attn --aggregate {params.log_dir:q} > {log:q} 2>&1"


# Pictures of the table, for the folder and for `snakemake --report`; matplotlib draws them (pip install 'autotune[plot]').
rule attention_plots:
    input:
        rules.attention_tables.output,
    output:
        report(f"{STORE}/attn/heatmap.png", category="Attention", labels={"plot": "backend by shape"}),
        report(f"{STORE}/attn/speedup.png", category="Attention", labels={"plot": "what the default loses"}),
        report(f"{STORE}/attn/roofline.png", category="Attention", labels={"plot": "roofline"}),
    log:
        f"{STORE}/attn/logs/plots.log",
    conda:
        "../envs/autotune.yaml"
    params:
        autotune=AUTOTUNE,
        log_dir=log_dir,
    shell:
        "{params.autotune} bench-attn --aggregate {params.log_dir:q} --plots {params.log_dir:q}/attn > {log:q} 2>&1"
