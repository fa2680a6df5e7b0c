localrules:
    report,


# The target `report`: all trials, then the page and its figures. `all` only keeps a report up to date, since it needs
# plotting libraries. A figure that a study has not is there all the same, and says why.
rule report:
    input:
        rules.aggregate.output,
        wanted_attention,
    output:
        page=f"{STORE}/report.html",
        history=report(f"{STORE}/report/history.svg", caption="../report/history.rst", category="Outcome"),
        pareto=report(f"{STORE}/report/pareto.svg", caption="../report/pareto.rst", category="Outcome"),
        ties=report(f"{STORE}/report/ties.svg", caption="../report/ties.rst", category="Outcome"),
        importances=report(
            f"{STORE}/report/importances.svg", caption="../report/importances.rst", category="Parameters"
        ),
        parallel=report(f"{STORE}/report/parallel.svg", caption="../report/parallel.rst", category="Parameters"),
        slices=report(f"{STORE}/report/slices.svg", caption="../report/slices.rst", category="Parameters"),
        contour=report(f"{STORE}/report/contour.svg", caption="../report/contour.rst", category="Parameters"),
        curves=report(f"{STORE}/report/curves.svg", caption="../report/curves.rst", category="Execution"),
        rungs=report(f"{STORE}/report/rungs.svg", caption="../report/rungs.rst", category="Execution"),
        timeline=report(f"{STORE}/report/timeline.svg", caption="../report/timeline.rst", category="Execution"),
        durations=report(f"{STORE}/report/durations.svg", caption="../report/durations.rst", category="Execution"),
    log:
        f"{STORE}/logs/report.log",
    conda:
        "../envs/autotune.yaml"
    params:
        autotune=AUTOTUNE,
        log_dir=log_dir,
    shell:
        "{params.autotune} report --log-dir {params.log_dir:q} > {log:q} 2>&1"
