"""LangGraph, in memory: chains and fan-outs of nodes that do nothing.

Prints one line a figure for the tables of tests/bench: table, row, column, milliseconds. Building and compiling the
graph is not timed; the first run is not counted.
"""

import operator
import sys
import time
from importlib.metadata import version
from statistics import median
from typing import Annotated, TypedDict

from langgraph.graph import END, START, StateGraph

ROW = f"LangGraph {version('langgraph')}, in memory"
COUNTS = {10: 11, 100: 7, 1000: 3}


class State(TypedDict):
    done: Annotated[int, operator.add]


def nothing(state: State) -> State:
    return {"done": 1}


def chain(count: int) -> StateGraph:
    graph = StateGraph(State)
    names = [f"n{number}" for number in range(count)]
    for name in names:
        graph.add_node(name, nothing)
    for before, after in zip([START, *names], [*names, END]):
        graph.add_edge(before, after)
    return graph


def fan_out(count: int) -> StateGraph:
    graph = StateGraph(State)
    names = [f"n{number}" for number in range(count)]
    for name in ["root", *names, "join"]:
        graph.add_node(name, nothing)
    graph.add_edge(START, "root")
    for name in names:
        graph.add_edge("root", name)
    graph.add_edge(names, "join")
    graph.add_edge("join", END)
    return graph


def timed_ms(app, nodes: int, recursion_limit: int) -> float:
    began = time.perf_counter()
    result = app.invoke({"done": 0}, {"recursion_limit": recursion_limit})
    took = time.perf_counter() - began
    if result["done"] != nodes:
        sys.exit(f"{result['done']} of {nodes} nodes ran")
    return took * 1000


for table, shape, extra in (("chain", chain, 0), ("fan-out", fan_out, 2)):
    for count, rounds in COUNTS.items():
        app = shape(count).compile()
        took = [timed_ms(app, count + extra, count + 10) for _ in range(rounds + 1)][1:]
        print(table, ROW, count, f"{median(took):.4f}", sep="\t", flush=True)
