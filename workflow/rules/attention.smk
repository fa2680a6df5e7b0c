"""Attention: one job for each planned shape, which compares the backends on the node that it lands on."""


def attention_cell(wildcards):
    return f"{STORE}/attn/cells/{wildcards.cell}.json"


def attention_resource(name):
    """Return a function that reads a resource from the planned cell; only a cell for CUDA asks for a GPU."""

    def amount(wildcards):
        with open(f"{LOG_DIR}/attn/cells/{wildcards.cell}.json", encoding="utf-8") as file:
            return json.load(file)["resources"][name]

    return amount


rule attention:
    input:
        cell=attention_cell,
    output:
        result=f"{STORE}/attn/results/{{cell}}.json",
    log:
        f"{STORE}/attn/logs/{{cell}}.log",
    wildcard_constraints:
        cell="[0-9a-f]{16}",
    conda:
        "../envs/autotune.yaml"
    threads: 2
    resources:
        gpu=attention_resource("gpu"),
    params:
        autotune=AUTOTUNE,
    shell:
        "{params.autotune} bench-attn --cell {input.cell:q} --out {output.result:q} > {log:q} 2>&1"
