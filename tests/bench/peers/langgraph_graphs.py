"""LangGraph: chains and fan-outs of nodes that do nothing; `memory`, or `sqlite` with a checkpoint after every step.

Building and compiling the graph is not timed.
"""

import operator
import os
import sys
import tempfile
from importlib.metadata import version
from typing import Annotated, TypedDict
from uuid import uuid4

from langgraph.graph import END, START, StateGraph

from graph_times import print_medians


class State(TypedDict):
    done: Annotated[int, operator.add]


def nothing(state: State) -> State:
    return {"done": 1}


def graph(shape: str, count: int) -> StateGraph:
    made = StateGraph(State)
    names = [f"n{number}" for number in range(count)]
    ends = ["root", "join"] if shape == "fan_out" else []
    for name in [*names, *ends]:
        made.add_node(name, nothing)
    if shape == "chain":
        for before, after in zip([START, *names], [*names, END]):
            made.add_edge(before, after)
        return made
    made.add_edge(START, "root")
    for name in names:
        made.add_edge("root", name)
    made.add_edge(names, "join")
    made.add_edge("join", END)
    return made


def main(kept: str) -> None:
    saver = None
    if kept == "sqlite":
        from langgraph.checkpoint.sqlite import SqliteSaver

        folder = tempfile.TemporaryDirectory()
        open_saver = SqliteSaver.from_conn_string(os.path.join(folder.name, "checkpoints.db"))
        saver = open_saver.__enter__()

    def make(shape: str, count: int):
        app = graph(shape, count).compile(checkpointer=saver)

        def run() -> int:
            config = {"recursion_limit": count + 10, "configurable": {"thread_id": str(uuid4())}}
            # `sync` writes each step before the next: what a crash must not lose.
            keep = {"durability": "sync"} if saver else {}
            return app.invoke({"done": 0}, config, **keep)["done"]

        return run

    where = "SQLite, survives kill -9" if saver else "in memory"
    rounds = {1: 11, 10: 11, 100: 5, 1000: 3} if not saver else {1: 7, 10: 7, 100: 3, 1000: 1}
    print_medians(f"LangGraph {version('langgraph')}, {where}", rounds, make)


main(sys.argv[1])
