"""Prefect: flows of tasks that do nothing, with the temporary server it starts by itself, on the loopback address.

Starting that server is not timed: a first, empty flow does it.
"""

import os
import tempfile

home = tempfile.TemporaryDirectory()
os.environ.update(
    PREFECT_HOME=home.name,
    PREFECT_LOGGING_LEVEL="ERROR",
    PREFECT_SERVER_ALLOW_EPHEMERAL_MODE="true",
    PREFECT_SERVER_ANALYTICS_ENABLED="false",
    PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS="180",
    DO_NOT_TRACK="1",
)

from importlib.metadata import version

from prefect import flow, task

from graph_times import print_medians


@task(cache_policy=None)
def nothing(done: int) -> int:
    return done + 1


@task(cache_policy=None)
def join(done: list[int]) -> int:
    return len(done)


@flow
def chain(count: int) -> int:
    done = 0
    for _ in range(count):
        done = nothing(done)
    return done


@flow
def fan_out(count: int) -> int:
    root = nothing(0)
    return join.submit([nothing.submit(root) for _ in range(count)]).result()


@flow
def empty() -> None:
    pass


empty()
flows = {"chain": chain, "fan_out": fan_out}
# Larger ones take minutes.
rounds = {1: 3, 10: 3, 100: 1}
print_medians(f"Prefect {version('prefect')}, ephemeral server", rounds, lambda shape, count: lambda: flows[shape](count))
