"""What every peer's program shares: which sizes, how often, and one line a figure for the tables of tests/bench."""

import sys
import time
from statistics import median

TABLES = {"chain": "chain", "fan_out": "fan-out"}


def print_medians(row: str, rounds: dict[int, int], make) -> None:
    """Times `make(shape, count)()` for both shapes; it answers how many nodes ran. The first run is not counted.

    A size whose run takes more than 20 s is run once, and larger ones of that shape are left out: they are not drawn.
    """
    for shape, table in TABLES.items():
        for count, times in rounds.items():
            run = make(shape, count)
            took = [_timed_ms(run, count)]
            if took[0] <= 20_000:
                took = [_timed_ms(run, count) for _ in range(times)]
            print(table, row, count, f"{median(took):.4f}", sep="\t", flush=True)
            if took[0] > 20_000:
                break


def _timed_ms(run, count: int) -> float:
    began = time.perf_counter()
    ran = run()
    took = (time.perf_counter() - began) * 1000
    if ran < count:
        sys.exit(f"{ran} of {count} nodes ran")
    return took
