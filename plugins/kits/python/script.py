"""Runs a piece of Python: its inputs, its output, and its errors in words.

Nothing here protects the host: that is the sandbox around the interpreter. What is here makes answers clear.
"""

import builtins
import json
import keyword
import re
import sys
import traceback

# Longest source. Code that a person or a model writes is far shorter.
CODE_CHARACTERS_MAX = 256 << 10
# What is kept of what the code prints; the answer goes into the event list.
STDOUT_CHARACTERS_MAX = 64 << 10
# What is quoted of the text of an exception.
MESSAGE_CHARACTERS_MAX = 2_000
# Calls of the code that an error names; the last ones say the most.
FRAMES_MAX = 5

# The name of the code in tracebacks.
FILE = "<code>"

_compile, _exec, _str = builtins.compile, builtins.exec, builtins.str
_loads, _dumps = json.loads, json.dumps
_write = sys.stdout.write


class Refused(Exception):
    """The input is not one, or the code is not Python; begins with the field."""


class Failed(Exception):
    """The code failed; the text says where and how."""


class Printed:
    """Takes what the code prints, and forgets what is too much."""

    encoding, errors, closed = "utf-8", "strict", False

    def __init__(self):
        self.parts, self.room, self.dropped = [], STDOUT_CHARACTERS_MAX, 0

    def write(self, text):
        if not isinstance(text, _str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        kept = text[: self.room]
        self.parts.append(kept)
        self.room -= len(kept)
        self.dropped += len(text) - len(kept)
        return len(text)

    def writelines(self, lines):
        for line in lines:
            self.write(line)

    def flush(self):
        pass

    def isatty(self):
        return False

    def writable(self):
        return True

    def readable(self):
        return False

    def seekable(self):
        return False

    def text(self):
        """All of it; says how much was dropped."""
        note = f"\n[{self.dropped} more characters were dropped]" if self.dropped else ""
        return "".join(self.parts) + note


def answer(text):
    """Runs the code of the JSON text `{code, inputs}` and returns the JSON text `{result, stdout}`."""
    code, inputs = _question(text)
    program = _compiled(code)
    names = {name: value for name, value in inputs.items() if name.isidentifier() and not keyword.iskeyword(name)}
    names.update(inputs=inputs, __name__="__main__", __builtins__=builtins)
    printed = Printed()
    before, sys.stdout = sys.stdout, printed
    try:
        _exec(program, names)
    except BaseException as error:  # `SystemExit` and the like end the code, not the component.
        raise _failed(error, printed) from None
    finally:
        sys.stdout = before
    return '{"result":%s,"stdout":%s}' % (_result(names.get("result"), printed), _dumps(printed.text()))


def _question(text):
    try:
        question = _loads(text)
    except ValueError as error:
        raise Refused(f"(input): is not JSON: {error}") from None
    if not isinstance(question, dict):
        raise Refused("(input): must be an object with `code`")
    for field in question:
        if field not in ("code", "inputs"):
            raise Refused(f"{_short(field)}: there is no such field; there are `code` and `inputs`")
    code, inputs = question.get("code"), question.get("inputs", {})
    if not isinstance(code, str):
        raise Refused("code: must be a string")
    if len(code) > CODE_CHARACTERS_MAX:
        raise Refused(f"code: has {len(code)} characters; at most {CODE_CHARACTERS_MAX} are run")
    if not isinstance(inputs, dict):
        raise Refused("inputs: must be an object")
    return code, inputs


def _compiled(code):
    try:
        return _compile(code, FILE, "exec", dont_inherit=True)
    except SyntaxError as error:
        place = f"line {error.lineno}, column {error.offset}: " if error.lineno else ""
        text = f"{type(error).__name__}: {error.msg}"
        if error.msg and "'return' outside function" in error.msg:
            text += "; assign the answer to `result` instead"
        raise Refused(f"code: {place}{text}") from None
    except (ValueError, RecursionError, MemoryError, OverflowError) as error:  # A zero character; nested too deep.
        raise Refused(f"code: {_words(error)}") from None


def _result(value, printed):
    """The JSON text of `result`."""
    try:
        text = _dumps(value, allow_nan=False)
        # The host keeps integers of 64 bits; a longer one would silently become another number.
        if re.search(r"\d{19}", text):
            _loads(text, parse_int=_exact)
        return text
    except BaseException as error:
        _keep(printed)
        raise Failed(f"`result` cannot be written as JSON: {_words(error)}") from None


def _exact(digits):
    if not -(1 << 63) <= int(digits) < 1 << 64:
        raise ValueError("an integer needs more than 64 bits; make it a string with `str(...)`")


def _failed(error, printed):
    """Where and how the code failed, in one line."""
    _keep(printed)
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == FILE]
    places = []
    for frame in frames[-FRAMES_MAX:]:
        function = "" if frame.name == "<module>" else f" in `{frame.name}`"
        places.append(f"line {frame.lineno}{function}")
    place = ", called from ".join(reversed(places))
    return Failed(f"{place}: {_words(error)}" if place else _words(error))


def _words(error):
    """`ValueError: the text`, whatever the exception does when it is printed."""
    try:
        text = _str(error)
    except BaseException:
        text = "(its text cannot be made)"
    kind = type(error).__name__
    if isinstance(error, MemoryError) and not text:
        text = "the memory of this call is used up"
    return f"{kind}: {_short(text)}" if text else kind


def _short(text):
    return text if len(text) <= MESSAGE_CHARACTERS_MAX else text[:MESSAGE_CHARACTERS_MAX] + " …"


def _keep(printed):
    """A failed call has no output; what it printed goes to the log of the execution."""
    try:
        _write(printed.text())
    except BaseException:
        pass
