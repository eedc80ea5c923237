// What a piece of JavaScript is given and answers, tested with the Node of this machine: no component is needed.
// The line numbers in errors are those of the engine in the component, and are tested there.

import assert from "node:assert/strict";
import { test } from "node:test";

import { answer, tools } from "../guest.js";

const before = Object.getOwnPropertyDescriptors(globalThis);

async function run(code, inputs = {}) {
  try {
    return JSON.parse(await answer(JSON.stringify({ code, inputs })));
  } finally {
    // A component gets a fresh engine for every call.
    for (const name of Object.keys(globalThis)) {
      if (name in before) Object.defineProperty(globalThis, name, before[name]);
      else delete globalThis[name];
    }
  }
}

const fails = (code, words) => assert.rejects(run(code), (error) => error.message.includes(words) || assert.fail(error.message));

test("inputs come whole and by name", async () => {
  const inputs = { price: 4, "net-price": 3 };
  assert.deepEqual(await run("const price2 = price * 2; return [price2, inputs['net-price']]", inputs), { result: [8, 3], stdout: "" });
  assert.deepEqual((await run("const rows = inputs.rows; return rows.length", { rows: [1, 2] })).result, 2);
});

test("a result is returned, declared or assigned", async () => {
  for (const code of ["return 5", "const result = 5", "let result; result = 5 // so", "result = 5", "result = await 5"]) {
    assert.deepEqual((await run(code)).result, 5, code);
  }
  assert.deepEqual(await run("1"), { result: null, stdout: "" });
});

test("what is printed is kept and bounded", async () => {
  assert.equal((await run("console.log('a', 1, {b: [2]}, undefined, new Map([[1, 2]]))")).stdout, 'a 1 {"b":[2]} undefined Map [[1,2]]\n');
  const { stdout } = await run("for (let i = 0; i < 3000; i++) console.log('x'.repeat(99))");
  assert.ok(stdout.length < 70_000 && stdout.endsWith("[234464 more characters were dropped]"));
});

test("errors are put into words", async () => {
  await fails("null.x", "TypeError: ");
  await fails("throw {a: 1}", 'thrown: {"a":1}');
  await fails("throw new Error('x'.repeat(100000))", "x …");
  await fails("const x = = 2", "code: ");
});

test("waiting ends", async () => {
  assert.equal((await run("return await new Promise((done) => setTimeout(done, 5, 7))")).result, 7);
  assert.equal((await run("setInterval(() => {}, 1); return 1")).result, 1);
  await fails("await new Promise(() => {})", "nothing will settle");
  await fails("const t = setTimeout(() => {}, 9999); setTimeout(() => clearTimeout(t), 1); await new Promise(() => {})", "nothing will settle");
  await fails("setTimeout(() => { throw new Error('later') }, 1); await new Promise(() => {})", "Error: later");
});

test("what is not in the sandbox says so", async () => {
  await fails("await fetch('http://a.example')", "no network");
  await fails("require('fs')", "no modules");
  await fails("await import('fs')", "no modules");
  assert.equal((await run("// import(x)\nreturn 'import(\"x\")'.length")).result, 11);
});

test("a result that is not JSON is an error", async () => {
  await fails("return new Map()", "Object.fromEntries");
  await fails("return { a: [NaN] }", "is NaN");
  await fails("return 10n", "BigInt");
  await fails("const a = []; a.push(a); return a", "cannot be written as JSON");
  await fails("return () => 1", "is a function");
});

test("what is no question is refused by its field", async () => {
  for (const [text, field] of [["{", "(input): "], ["[]", "(input): "], ["{}", "code: "], ['{"code":"","inputs":[]}', "inputs: "], ['{"code":"","x":1}', "x: "]]) {
    await assert.rejects(tools.call("javascript_run", text), ({ payload }) => payload.tag === "invalid-input" && payload.val.startsWith(field));
  }
  await assert.rejects(tools.call("other", "{}"), ({ payload }) => payload.tag === "unknown-tool");
});
