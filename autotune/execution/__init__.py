"""Running trials: one after another in a batch, each isolated as the study asks, every outcome a whole file."""
