"""Read exports with the programs they are for, and print what those say as JSON.

    python read_back.py l2metrics DIR [STE]    python read_back.py rliable scores.npz
    python read_back.py continual-world DIR SINGLE       python read_back.py cora DIR

Runs alone, in an environment that has these programs: l2metrics 3.1.0 wants numpy < 2 and pandas < 2.2. Continual World
and CORA are no packages: their checkouts are found through PYTHONPATH.
"""

import contextlib
import json
import os
import sys
import tempfile
import types
from pathlib import Path


def l2metrics(folder, ste=None):
    """What l2metrics says of raw returns, and of success on the scale that it gives them by default."""
    with tempfile.TemporaryDirectory() as root:
        os.environ["L2DATA"] = root
        from l2logger import util as l2l
        from l2metrics import util
        from l2metrics.report import MetricsReport

        for run in sorted(Path(ste).iterdir()) if ste else ():
            util.store_ste_data(log_dir=run, mode="a")
        found = {}
        ranges = {task: {"min": 0.0, "max": 1.0} for task in l2l.read_log_data(Path(folder))["task_name"].unique()}
        plain = {"normalization_method": "none", "smoothing_method": "none"}
        for name, options in (("raw", plain), ("default", {"data_range": ranges})):
            report = MetricsReport(log_dir=folder, transfer_method="both", maintenance_method="both", **options)
            report.calculate()
            lifetime = report.ll_metrics_df.iloc[0].to_dict()
            found[name] = {k: v for k, v in lifetime.items() if isinstance(v, float)}
            tasks = report.task_metrics_df
            found[name]["maintenance"] = {task: tasks["perf_maintenance_mrlep"][task] for task in tasks.index}
            for way in ("forward", "backward"):
                found[name][way] = {
                    f"{task} -> {other}": values[0]
                    for task, pairs in getattr(report, f"{way}_transfer_contrast").items()
                    for other, values in pairs.items()
                }
        return found


def rliable(path):
    """Aggregates of each method, and the probability of improvement of each pair."""
    import numpy as np
    from rliable import metrics

    scores = dict(np.load(path))
    kinds = ("mean", "median", "iqm", "optimality_gap")
    found = {name: {kind: float(getattr(metrics, f"aggregate_{kind}")(x)) for kind in kinds}
             for name, x in scores.items()}  # fmt: skip
    pairs = {f"{a} > {b}": float(metrics.probability_of_improvement(scores[a], scores[b]))
             for a in scores for b in scores if a != b}  # fmt: skip
    return {"methods": found, "improvement": pairs}


def continual_world(folder, single):
    """Performance, forgetting and forward transfer, as in `continualworld/results_processing/tables.py`."""
    from functools import partialmethod

    from continualworld.results_processing import tables, utils
    from pandas.core.groupby import DataFrameGroupBy

    DataFrameGroupBy.mean = partialmethod(DataFrameGroupBy.mean, numeric_only=True)  # as in the pandas it was made for
    data = utils.get_data_for_runs(folder, kind="cl")
    baseline = utils.get_data_for_runs(single, kind="single")
    end, own, forgetting = tables.calculate_forgetting_individual(data)
    transfer = tables.calculate_forward_transfer(data, baseline)
    return {
        "performance": end.iloc[0].tolist(),
        "own": own.iloc[0].tolist(),
        "forgetting": forgetting.iloc[0].tolist(),
        "forward transfer": transfer["normalized_ft"].tolist(),
    }


def cora(folder):
    """Isolated forgetting and zero-shot transfer; TensorBoard's reader stands in for TensorFlow's, none draws."""
    from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
    from tensorboard.compat.proto import event_pb2

    def summary_iterator(path):
        for record in RawEventFileLoader(path).Load():
            yield event_pb2.Event.FromString(record)

    stubs = {name: types.ModuleType(name) for name in (
        "tensorflow", "tensorflow.python", "tensorflow.python.summary", "tensorflow.python.summary.summary_iterator",
        "tensorboard.compat.notf", "plotly", "plotly.graph_objects", "plotly.io", "cloudpickle")}  # fmt: skip
    sys.modules |= stubs
    stubs["tensorflow.python.summary.summary_iterator"].summary_iterator = summary_iterator
    stubs["plotly.io"].kaleido = types.SimpleNamespace(scope=types.SimpleNamespace())
    stubs["plotly"].io, stubs["plotly"].graph_objects = stubs["plotly.io"], stubs["plotly.graph_objects"]
    import importlib.util

    place = next(Path(p) / "continual_rl/utils/metrics.py" for p in sys.path if (Path(p) / "continual_rl").is_dir())
    spec = importlib.util.spec_from_file_location("cora_metrics", place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.SAVE_IN_CACHE = False
    experiment = json.loads((Path(folder) / "experiment.json").read_text()) | {"exp_dir": folder}
    metrics = module.Metrics(experiment)
    tags = metrics.get_metric_tags()
    (model,) = experiment["models"].values()
    data = metrics.post_processing(metrics.read_experiment_data(model, tags), tags)
    return metrics.compute_metrics(data)


if __name__ == "__main__":
    kind, *paths = sys.argv[1:]
    readers = {"l2metrics": l2metrics, "rliable": rliable, "continual-world": continual_world, "cora": cora}
    with contextlib.redirect_stdout(sys.stderr):
        answer = readers[kind](*paths)
    sys.stdout.write(json.dumps(answer) + "\n")
