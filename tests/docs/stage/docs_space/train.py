def objective(params, trial):
    return params["lr"]
