def train_eval(params, trial):
    return params["lr"]
