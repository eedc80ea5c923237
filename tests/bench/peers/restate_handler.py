"""The handler that restate_graphs.py calls: steps that do nothing, one after another or side by side."""

import restate

service = restate.Service("Bench")


def nothing() -> int:
    return 1


@service.handler()
async def chain(ctx: restate.Context, count: int) -> int:
    done = 0
    for number in range(count):
        done += await ctx.run_typed(f"n{number}", nothing)
    return done


@service.handler()
async def fan_out(ctx: restate.Context, count: int) -> int:
    await ctx.run_typed("root", nothing)
    steps = [ctx.run_typed(f"n{number}", nothing) for number in range(count)]
    done = sum([await step for step in await restate.gather(*steps)])
    return await ctx.run_typed("join", lambda: done)


app = restate.app([service])
