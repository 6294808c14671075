"""A stage ends with the process that started it: nothing runs on, unseen, after a kill."""

from __future__ import annotations

import os
import threading
import time

PARENT = "PHI_DEPLOY_PARENT"  # pid of the engine's process, set for the stages that it runs
INTERVAL_S = 1.0


def end_with_parent() -> None:
    """Watch the process that PARENT names, if one does, and end this one with its children when it is gone."""
    pid = os.environ.pop(PARENT, "")  # children of this process are this one's to end
    if pid.isdigit():
        threading.Thread(target=_watch, args=(int(pid),), daemon=True).start()


def _watch(pid: int) -> None:
    time.sleep(INTERVAL_S)  # most stages of a large plan of small ones have ended by then
    import psutil

    try:
        parent = psutil.Process(pid)
        while parent.is_running() and parent.status() != psutil.STATUS_ZOMBIE:
            time.sleep(INTERVAL_S)
    except psutil.NoSuchProcess:
        pass
    for child in psutil.Process().children(recursive=True):
        try:
            child.kill()
        except psutil.Error:
            continue
    os._exit(1)
