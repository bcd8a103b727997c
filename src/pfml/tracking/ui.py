"""`pfml ui` shows the project's store in MLflow's pages, with one worker and no background jobs (half the start-up time
and a quarter of the memory of a plain `mlflow ui`). It opens on the runs of the study, with the columns that matter.
"""

import json
import os
import subprocess
import sys

from pfml.tracking.store import StoreError, open_store, prepare, store_uri
from pfml.tracking.tags import ROW, SEED

METRICS = ("final/recall_at_1", "final/recall_at_1_std", "final/map_at_r", "final/w2", "n")
TAGS = ("method", "noise", "ablation", "seed", "paper_table")
COLUMNS = [f"metrics.`{name}`" for name in METRICS] + [f"tags.`{name}`" for name in TAGS]
KEY = "pfml"  # of the view among those that an experiment shares
OF_ROWS, OF_SEEDS = f"tags.level = '{ROW}'", f"tags.level = '{SEED}'"
# Waits until the server answers, then opens the page in the user's browser, if there is one.
OPEN = """
import contextlib, sys, time, urllib.request, webbrowser
base, link = sys.argv[1:]
for _ in range(240):
    with contextlib.suppress(OSError), urllib.request.urlopen(f"{base}/health"):
        webbrowser.open(link)
        break
    time.sleep(0.5)
"""


def serve(experiment: str, family: str) -> None:
    """Replace this process by MLflow's server, on the port that PORT names, else 5000. Where MLFLOW_TRACKING_URI is a
    server, which has pages of its own, only open them.

    Args:
        experiment: whose runs to show, pfml-glyphs.
        family: tracking.experiment of params.yaml.

    Raises:
        SystemExit: the store cannot be opened.
    """
    uri, port = store_uri(), os.environ.get("PORT", "5000")
    served = uri.startswith(("http:", "https:"))
    base = uri.rstrip("/") if served else f"http://127.0.0.1:{port}"
    link = runs_link(base, experiment, family)
    print(f"MLflow on {uri}: {link}", flush=True)
    if sys.stdout.isatty():
        subprocess.Popen([sys.executable, "-c", OPEN, base, link], stderr=subprocess.DEVNULL)
    if not served:
        os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
        command = ["ui", "--backend-store-uri", uri, "--host", "127.0.0.1", "--port", port, "--workers", "1"]
        os.execv(sys.executable, [sys.executable, "-m", "mlflow", *command])


def runs_link(base: str, experiment: str, family: str) -> str:
    """The page of an experiment's runs in MLflow's mode for trainings, with COLUMNS: the rows of the tables, best R@1
    first, or all runs as long as there are no rows. MLflow starts in a mode for language models, in which an experiment
    of trainings looks empty.

    Args:
        experiment: without a run in it, that of the newest training of the other studies is shown.
        family: tracking.experiment of params.yaml, with which the names of their experiments begin.

    Raises:
        SystemExit: the store cannot be opened.
    """
    prepare()
    from mlflow.exceptions import MlflowException

    try:
        client, experiment_id = open_store(experiment)
        if not client.search_runs([experiment_id], max_results=1):
            named = [one for one in client.search_experiments() if one.name.startswith(f"{family}-")]
            newest = client.search_runs(
                [one.experiment_id for one in named], OF_SEEDS, max_results=1, order_by=["attributes.start_time DESC"]
            )
            experiment_id = newest[0].info.experiment_id if newest else experiment_id
        view = {"selectedColumns": COLUMNS}  # as MLflow 3.17.2 writes a view that a person shares
        if client.search_runs([experiment_id], OF_ROWS, max_results=1):
            view |= {"searchFilter": OF_ROWS, "orderByKey": COLUMNS[0], "orderByAsc": False}
        client.set_experiment_tag(experiment_id, f"mlflow.sharedViewState.{KEY}", json.dumps(view))
    except (StoreError, MlflowException) as error:
        sys.exit(f"error: {error}")
    return f"{base}/#/experiments/{experiment_id}/runs?workflowType=machine_learning&viewStateShareKey={KEY}"
