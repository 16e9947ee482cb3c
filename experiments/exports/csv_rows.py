"""All rows of a run as a table with commas: the columns of the episodes table, tasks and modes by name.

OUTPUT/RUN.csv
"""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv

from lifelong.envs.stream import ROW
from lifelong.experiments.exports.source import Source, Written
from lifelong.experiments.runs.episodes import MODES, read_episodes
from lifelong.experiments.runs.errors import UserError

__all__ = ["write"]


def write(sources: Sequence[Source], output: Path) -> Written:
    """Write the rows of each run, mode by mode.

    Args:
        sources: the runs.
        output: folder to write to.

    Raises:
        UserError: if a run has no rows.
    """
    output.mkdir(parents=True, exist_ok=True)
    paths = []
    for source in sources:
        path = output / f"{source.name}.csv"
        tables = []
        for mode in MODES:
            columns = read_episodes(source.folder, [mode], ["task_name", "train_step", *ROW])
            if columns["step"].size:
                tables.append(pa.table({"mode": [mode] * columns["step"].size} | columns))
        if not tables:
            raise UserError(f"{source.folder} has no finished episode")
        pa_csv.write_csv(pa.concat_tables(tables), path)
        paths.append(path)
    return Written(tuple(paths))
