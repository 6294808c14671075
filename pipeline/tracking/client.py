"""MLflow as a client that keeps quiet: its environment, and its exceptions in our words."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.errors import ToolError
from pipeline.tracking.store import Store, StoreAwayError, clean, probe

ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # MLflow's 7 wait for minutes; the next run delivers as well
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",  # seconds
}


@contextmanager
def clear_errors(store: Store) -> Iterator[None]:
    """MLflow quiet and impatient; its exceptions as StoreAwayError or ToolError, one line, without credentials."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    for name in ("mlflow", "alembic", "urllib3"):
        logging.getLogger(name).setLevel(logging.ERROR)
    from mlflow.exceptions import MlflowException
    from requests import RequestException
    from sqlalchemy.exc import SQLAlchemyError

    for name in ("mlflow", "alembic"):  # importing MLflow configures its own
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        yield
    except (MlflowException, RequestException, SQLAlchemyError) as error:
        probe(store.uri)
        text = " ".join(clean(str(error)).split())
        if _unavailable(error, text):
            raise StoreAwayError(text[:200]) from error
        hint = "check MLFLOW_TRACKING_URI and its credentials; results are safe in DVC's outs"
        raise ToolError(text[:500], where=f"MLflow at {store.shown}", hint=hint) from error


def _unavailable(error: Exception, text: str) -> bool:
    """Whether trying again later may help: no connection, no answer in time, the server's own trouble, a lock."""
    response = getattr(error, "response", None)
    if response is not None:
        return bool(response.status_code >= 500 or response.status_code == 429)
    connection = "failed with exception" in text or "failed with timeout exception" in text
    return connection or isinstance(error, OSError) or "database is locked" in text
