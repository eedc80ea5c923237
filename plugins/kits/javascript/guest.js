// Kit `javascript`: one tool that runs JavaScript code.
//
// Says what the tool is, runs a piece of code, and puts its errors into words. Nothing here protects the host: that is
// the sandbox around the engine. Every call gets a fresh copy of the engine as it was when the component was built.

// Longest source. Code that a person or a model writes is far shorter.
const CODE_CHARACTERS_MAX = 256 << 10;
// What is kept of what the code prints; the answer goes into the event list.
const STDOUT_CHARACTERS_MAX = 64 << 10;
// What is quoted of the text of an error, and of one value that is printed.
const MESSAGE_CHARACTERS_MAX = 2_000;
const SHOWN_CHARACTERS_MAX = 16 << 10;
// Calls of the code that an error names; the last ones say the most.
const FRAMES_MAX = 5;

const NAME = "javascript_run";

const INPUT = {
  type: "object",
  required: ["code"],
  additionalProperties: false,
  properties: {
    code: {
      type: "string",
      maxLength: CODE_CHARACTERS_MAX,
      description:
        "The body of an async function. Reads `inputs` and each input by its name; returns its answer, or assigns it to `result`.",
    },
    inputs: { type: "object", default: {}, description: "What the code works on." },
  },
};

const OUTPUT = {
  type: "object",
  required: ["result", "stdout"],
  additionalProperties: false,
  properties: {
    result: { description: "What the code returned or assigned to `result`; null when it did neither." },
    stdout: { type: "string", description: "What the code printed with `console.log`." },
  },
};

// The code may replace any of these for itself; what is done after it uses its own.
const { parse, stringify } = JSON;
const AsyncFunction = (async () => {}).constructor;
const log = console;
const { setTimeout, setInterval, clearTimeout, clearInterval, queueMicrotask } = globalThis;
const engine = { setTimeout, setInterval, clearTimeout, clearInterval, queueMicrotask };

/** The input is not one, or the code is not JavaScript; begins with the field. */
class Refused extends Error {}

/** Takes what the code prints, and forgets what is too much. */
class Printed {
  parts = [];
  room = STDOUT_CHARACTERS_MAX;
  dropped = 0;

  write(text) {
    const kept = text.slice(0, this.room);
    this.parts.push(kept);
    this.room -= kept.length;
    this.dropped += text.length - kept.length;
  }

  text() {
    return this.parts.join("") + (this.dropped ? `\n[${this.dropped} more characters were dropped]` : "");
  }
}

/**
 * The timers of the code. They are the only thing it can wait for: when none is left and it still waits, it waits for
 * ever. The engine crashes on that, and on an error inside a timer; here both become errors.
 */
class Timers {
  waiting = new Map();

  /** What `run` comes to. Rejects when it can come to nothing any more. */
  settled(run) {
    return new Promise((resolve, reject) => {
      this.fail = reject;
      run().then(resolve, reject);
      this.check();
    });
  }

  /** Starts one, with the engine's own function. */
  start(begin, repeats, callback, delay, ...values) {
    const id = begin(
      () => {
        if (!repeats) this.waiting.delete(id);
        this.guard(callback, values);
        this.check();
      },
      delay,
    );
    this.waiting.set(id, repeats);
    return id;
  }

  stop(id) {
    if (!this.waiting.has(id)) return;
    const end = this.waiting.get(id) ? engine.clearInterval : engine.clearTimeout;
    this.waiting.delete(id);
    end(id);
    this.check();
  }

  clear() {
    this.fail = () => {};
    for (const id of [...this.waiting.keys()]) this.stop(id);
  }

  guard(callback, values) {
    try {
      if (typeof callback !== "function") throw new TypeError("a timer needs a function");
      callback(...values);
    } catch (error) {
      this.fail(error);
    }
  }

  /** Looks again when everything that is ready has run. */
  check() {
    engine.setTimeout(() => {
      if (this.waiting.size === 0) this.fail(new Error("the code waits for a promise that nothing will settle"));
    }, 0);
  }
}

/** Runs the code of the JSON text `{code, inputs}` and returns the JSON text `{result, stdout}`. Throws text. */
export async function answer(text) {
  const { code, inputs } = question(text);
  const run = compiled(code);
  const printed = new Printed();
  const timers = new Timers();
  furnish(inputs, printed, timers);
  let value;
  try {
    value = await timers.settled(run);
  } catch (error) {
    keep(printed);
    throw failed(error);
  } finally {
    timers.clear();
  }
  let result;
  try {
    result = stringify(value, strict) ?? "null";
  } catch (error) {
    keep(printed);
    throw new Error(`the result cannot be written as JSON: ${words(error)}`);
  }
  return `{"result":${result},"stdout":${stringify(printed.text())}}`;
}

function question(text) {
  let asked;
  try {
    asked = parse(text);
  } catch (error) {
    throw new Refused(`(input): is not JSON: ${error.message}`);
  }
  const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
  if (!isObject(asked)) throw new Refused("(input): must be an object with `code`");
  for (const field of Object.keys(asked)) {
    if (field !== "code" && field !== "inputs") {
      throw new Refused(`${short(field)}: there is no such field; there are \`code\` and \`inputs\``);
    }
  }
  const { code, inputs = {} } = asked;
  if (typeof code !== "string") throw new Refused("code: must be a string");
  if (code.length > CODE_CHARACTERS_MAX) {
    throw new Refused(`code: has ${code.length} characters; at most ${CODE_CHARACTERS_MAX} are run`);
  }
  if (!isObject(inputs)) throw new Refused("inputs: must be an object");
  return { code, inputs };
}

// What `new AsyncFunction` puts before the first line of the body.
const LINES_BEFORE = 2;
// `result` may be a variable of the function, or a global when it was assigned without one.
const EPILOGUE = "\nreturn typeof result === 'undefined' ? undefined : result;";

// Strings and comments, which are skipped, and a dynamic import, which would crash the engine.
const IMPORTS = /"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`(?:\\.|[^`\\])*`|\/\/[^\n]*|\/\*[^]*?\*\/|\bimport\s*\(/g;

function compiled(code) {
  for (const [found] of code.matchAll(IMPORTS)) {
    if (found.startsWith("import")) throw new Refused("code: there are no modules in the sandbox: `import(...)` cannot be used");
  }
  try {
    try {
      return new AsyncFunction(code + EPILOGUE);
    } catch (error) {
      // A mistake at the end of the code is reported as the code has it, not as the line after it makes it.
      new AsyncFunction(code);
      throw error;
    }
  } catch (error) {
    const line = error.lineNumber - LINES_BEFORE;
    const last = code.split("\n").length;
    const place = line > last ? `end of line ${last}: ` : line >= 1 ? `line ${line}, column ${error.columnNumber}: ` : "";
    throw new Refused(`code: ${place}${words(error)}`);
  }
}

/** Puts the inputs where the code sees them, and takes away what cannot work here. */
function furnish(inputs, printed, timers) {
  const define = (name, value) =>
    Object.defineProperty(globalThis, name, { value, writable: true, configurable: true, enumerable: true });
  const line = (...values) => printed.write(values.map(show).join(" ") + "\n");
  const note = (...values) => log.error(values.map(show).join(" "));
  define("console", { log: line, info: line, debug: line, dir: line, table: line, warn: note, error: note, trace: note });
  define("setTimeout", (...call) => timers.start(engine.setTimeout, false, ...call));
  define("setInterval", (...call) => timers.start(engine.setInterval, true, ...call));
  define("clearTimeout", (id) => timers.stop(id));
  define("clearInterval", (id) => timers.stop(id));
  define("queueMicrotask", (callback) => engine.queueMicrotask(() => timers.guard(callback, [])));
  for (const name of ["fetch", "WebSocket", "XMLHttpRequest", "EventSource"]) {
    define(name, function () {
      throw new TypeError(`there is no network in the sandbox: \`${name}\` cannot be used`);
    });
  }
  define("require", (name) => {
    throw new TypeError(`there are no modules in the sandbox: \`${name}\` cannot be loaded`);
  });
  for (const [name, value] of Object.entries(inputs)) {
    try {
      define(name, value);
    } catch {
      // `undefined`, `NaN` and `Infinity` stay what they are; the code reads such an input from `inputs`.
    }
  }
  define("inputs", inputs);
}

/** Refuses what JSON would silently turn into something else. */
function strict(key, value) {
  const where = key === "" ? "the value" : `\`${short(key)}\``;
  if (typeof value === "number" && !Number.isFinite(value)) throw new TypeError(`${where} is ${value}`);
  if (typeof value === "function" || typeof value === "symbol") throw new TypeError(`${where} is a ${typeof value}`);
  if (typeof value === "bigint") throw new TypeError(`${where} is a BigInt; make it a string with \`String(...)\``);
  if (value instanceof Map) throw new TypeError(`${where} is a Map; use \`Object.fromEntries(...)\``);
  if (value instanceof Set) throw new TypeError(`${where} is a Set; use \`[...set]\``);
  return value;
}

/** A value as `console.log` prints it. */
function show(value) {
  if (typeof value === "string") return value;
  try {
    if (value instanceof Error) return words(value);
    if (value instanceof Map) return `Map ${show([...value])}`;
    if (value instanceof Set) return `Set ${show([...value])}`;
    if (typeof value === "object" && value !== null) return short(stringify(value), SHOWN_CHARACTERS_MAX);
    return short(String(value), SHOWN_CHARACTERS_MAX);
  } catch {
    return Object.prototype.toString.call(value);
  }
}

/** Where and how the code failed, in one line. */
function failed(error) {
  const frames = [];
  const stack = typeof error?.stack === "string" ? error.stack : "";
  for (const frame of stack.split("\n")) {
    // `name@file line 12 > AsyncFunction:5:7`
    const [, name, line] = /^(.*?)@.* > AsyncFunction:(\d+):\d+$/.exec(frame) ?? [];
    if (!line) continue;
    // The code as a whole, and functions without a name in it, are `anonymous` and `anonymous/<`.
    const called = name.replace(/^async\*/, "");
    frames.push(`line ${line - LINES_BEFORE}${called && !called.startsWith("anonymous") ? ` in \`${called}\`` : ""}`);
  }
  const place = frames.slice(0, FRAMES_MAX).join(", called from ");
  return new Error(place ? `${place}: ${words(error)}` : words(error));
}

/** `TypeError: the text`, whatever was thrown. */
function words(error) {
  try {
    if (error === "out of memory") return "out of memory: the memory of this call is used up";
    const text = error instanceof Error ? `${error.name}: ${error.message}` : `thrown: ${show(error)}`;
    return short(text);
  } catch {
    return "an error whose text cannot be made";
  }
}

function short(text, most = MESSAGE_CHARACTERS_MAX) {
  return text.length <= most ? text : `${text.slice(0, most)} …`;
}

/** A failed call has no output; what it printed goes to the log of the execution. */
function keep(printed) {
  const text = printed.text();
  if (text) log.error(text);
}

/** The exports of the component. An error case of the contract is thrown as its `payload`. */
export const tools = {
  describe() {
    return [
      {
        name: NAME,
        description:
          "Runs JavaScript code on some inputs and returns its result and what it prints. " +
          "Use it to compute, to reshape data and to work on text. The language is all there; Node's and the browser's " +
          "modules are not.",
        inputSchema: stringify(INPUT),
        outputSchema: stringify(OUTPUT),
        tags: ["code", "javascript"],
      },
    ];
  },

  async call(name, input) {
    if (name !== NAME) throw { payload: { tag: "unknown-tool" } };
    try {
      return await answer(input);
    } catch (error) {
      throw { payload: { tag: error instanceof Refused ? "invalid-input" : "failed", val: error.message } };
    }
  },
};
