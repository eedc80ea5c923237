"""Kit `python`: one tool that runs Python code.

Only the contract with the host is here. What the code sees is in `script.py`, which modules it can import in
`modules.py`. Every call gets a fresh copy of the interpreter as it was when the component was built.
"""

import json

import modules
import script
from componentize_py_types import Err
from wit_world.exports import tools

INPUT = {
    "type": "object",
    "required": ["code"],
    "additionalProperties": False,
    "properties": {
        "code": {
            "type": "string",
            "maxLength": script.CODE_CHARACTERS_MAX,
            "description": "Python 3 source. Reads `inputs` and each input by its name; assigns its answer to `result`.",
        },
        "inputs": {"type": "object", "default": {}, "description": "What the code works on."},
    },
}

OUTPUT = {
    "type": "object",
    "required": ["result", "stdout"],
    "additionalProperties": False,
    "properties": {
        "result": {"description": "What the code assigned to `result`; null when it did not."},
        "stdout": {"type": "string", "description": "What the code printed."},
    },
}

TOOL = tools.Tool(
    name="python_run",
    description="Runs Python code on some inputs and returns what it assigns to `result` and what it prints. "
    "Use it to compute, to reshape data and to work on text. The standard library is there as far as it needs "
    "no files, network or processes.",
    input_schema=json.dumps(INPUT),
    output_schema=json.dumps(OUTPUT),
    tags=["code", "python"],
)


class Tools:
    """The exports of the component."""

    def describe(self):
        return [TOOL]

    def call(self, name, input, context):
        if name != TOOL.name:
            raise Err(tools.Error_UnknownTool())
        try:
            return script.answer(input)
        except script.Refused as refused:
            raise Err(tools.Error_InvalidInput(str(refused))) from None
        except script.Failed as failed:
            raise Err(tools.Error_Failed(str(failed))) from None


modules.close()
