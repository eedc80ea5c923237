"""Haystack: pipelines of components that do nothing, one after another, and side by side into a joiner, in memory.

Building the pipeline is not timed.
"""

import os

os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"

from importlib.metadata import version

from haystack import Pipeline, component
from haystack.core.component.types import Variadic

from graph_times import print_medians


@component
class Nothing:
    @component.output_types(done=int)
    def run(self, done: int):
        return {"done": done + 1}


@component
class Join:
    @component.output_types(count=int)
    def run(self, done: Variadic[int]):
        return {"count": len(list(done))}


def make(shape: str, count: int):
    pipeline = Pipeline()
    names = [f"n{number}" for number in range(count)]
    for name in names:
        pipeline.add_component(name, Nothing())
    if shape == "chain":
        for before, after in zip(names, names[1:]):
            pipeline.connect(f"{before}.done", f"{after}.done")
        return lambda: pipeline.run({names[0]: {"done": 0}})[names[-1]]["done"]
    pipeline.add_component("root", Nothing())
    pipeline.add_component("join", Join())
    for name in names:
        pipeline.connect("root.done", f"{name}.done")
        pipeline.connect(f"{name}.done", "join.done")
    return lambda: pipeline.run({"root": {"done": 0}})["join"]["count"]


print_medians(f"Haystack {version('haystack-ai')}, in memory", {1: 11, 10: 11, 100: 5, 1000: 3}, make)
