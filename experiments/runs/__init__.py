"""What every verb shares: settings, presets, the run directory, rows, training, evaluation, TensorBoard."""
