"""Machinery of the verbs: settings, presets, run directory, episode rows, training, evaluation, TensorBoard."""
