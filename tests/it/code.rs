//! Python and JavaScript in the sandbox: what code is given and answers, how it fails, and what it cannot reach.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::home::{Home, Ran};

/// A home in which code runs.
struct Bench(Home);

impl Bench {
    fn new() -> Self {
        Self(Home::with_interpreters())
    }

    /// Runs a piece of code as the only node of a blueprint.
    fn run(&self, tool: &str, code: &str, inputs: &Value) -> Ran {
        self.blueprint(json!([{
            "id": "run", "type": "tool", "tool_name": tool, "tool_args": { "code": code, "inputs": inputs },
        }]))
    }

    fn blueprint(&self, nodes: Value) -> Ran {
        let outputs: serde_json::Map<String, Value> = nodes
            .as_array()
            .unwrap()
            .iter()
            .map(|node| node["id"].as_str().unwrap())
            .map(|id| (id.to_owned(), json!(format!("{{{{ {id} }}}}"))))
            .collect();
        let document = json!({ "schema_version": "1.2.0", "nodes": nodes, "outputs": outputs });
        let file = self.0.path().join("b.json");
        std::fs::write(&file, document.to_string()).unwrap();
        self.0.run(&["run-blueprint", file.to_str().unwrap(), "--json"])
    }

    /// What the code comes to.
    #[track_caller]
    fn output(&self, tool: &str, code: &str, inputs: Value) -> Value {
        self.run(tool, code, &inputs).exits(0).json()["outputs"]["run"].take()
    }

    /// Why the code fails: the problem's code and its words.
    #[track_caller]
    fn failure(&self, tool: &str, code: &str) -> (String, String) {
        let ran = self.run(tool, code, &json!({}));
        assert!(ran.code != Some(0), "{code} does not fail: {}", ran.out);
        let problem = &ran.json()["problem"];
        (problem["code"].as_str().unwrap().to_owned(), problem["message"].as_str().unwrap().to_owned())
    }

    /// Asserts that each piece of code fails with a problem of its code, saying these words.
    #[track_caller]
    fn fails(&self, tool: &str, rows: &[(&str, &str, &str)]) {
        for (code, expected, words) in rows {
            let (found, message) = self.failure(tool, code);
            assert!(found == *expected && message.contains(words), "{code}\n{found} {message}");
        }
    }
}

const PYTHON: &str = "python_run";
const JAVASCRIPT: &str = "javascript_run";

#[test]
fn python_computes_on_its_inputs() {
    let bench = Bench::new();
    let code = "print('adding', price)\nresult = {'sum': price + inputs['tax'], 'names': sorted(inputs)}";
    let expected = json!({ "result": { "sum": 12, "names": ["price", "tax"] }, "stdout": "adding 10\n" });
    assert_eq!(bench.output(PYTHON, code, json!({ "price": 10, "tax": 2 })), expected);

    let code = "import json, math, re, statistics, datetime, decimal, collections, hashlib, csv, io, base64, textwrap\n\
        result = [math.isqrt(99), re.findall(r'[0-9]+', 'a1b22'), statistics.mean([1, 2, 4.5]),\n\
          (datetime.date(2024, 2, 28) + datetime.timedelta(days=2)).isoformat(), str(decimal.Decimal('0.1') * 3),\n\
          collections.Counter('abca').most_common(1), hashlib.sha256(b'x').hexdigest()[:8], json.loads('[1]'),\n\
          list(csv.reader(io.StringIO('a,\"b,c\"'))), 'ü'.encode('latin-1').hex()]";
    let expected = json!([9, ["1", "22"], 2.5, "2024-03-01", "0.3", [["a", 2]], "2d711642", [1], [["a", "b,c"]], "fc"]);
    assert_eq!(bench.output(PYTHON, code, json!({}))["result"], expected);
}

#[test]
fn javascript_computes_on_its_inputs() {
    let bench = Bench::new();
    let code =
        "console.log('adding', price);\nconst sum = price + inputs.tax;\nreturn { sum, names: Object.keys(inputs) }";
    let expected = json!({ "result": { "sum": 12, "names": ["price", "tax"] }, "stdout": "adding 10\n" });
    assert_eq!(bench.output(JAVASCRIPT, code, json!({ "price": 10, "tax": 2 })), expected);

    let code = "await new Promise((done) => setTimeout(done, 5));\n\
        const hash = new Uint8Array(await crypto.subtle.digest('SHA-256', new TextEncoder().encode('x')));\n\
        const result = [hash[0], 'a1b22'.match(/\\d+/g), new URL('http://a.example/b?c=d').searchParams.get('c'),\n\
          new Date(0).toISOString(), [3, 1, 2].toSorted(), structuredClone({ a: 1 }), btoa('hi')];";
    let expected = json!([45, ["1", "22"], "d", "1970-01-01T00:00:00.000Z", [1, 2, 3], { "a": 1 }, "aGk="]);
    assert_eq!(bench.output(JAVASCRIPT, code, json!({}))["result"], expected);
}

#[test]
fn errors_name_the_line_of_the_code() {
    let bench = Bench::new();
    bench.fails(
        PYTHON,
        &[
            (
                "def half(x):\n    return 1 / x\n\nhalf(0)",
                "ICE-X031",
                "line 2 in `half`, called from line 4: ZeroDivisionError: division by zero",
            ),
            ("x = 1\ny = = 2", "ICE-X030", "code: line 2, column 5: SyntaxError: "),
            ("raise SystemExit(3)", "ICE-X031", "line 1: SystemExit: 3"),
            ("def f():\n    f()\nf()", "ICE-X031", "RecursionError"),
            ("result = {1}", "ICE-X031", "`result` cannot be written as JSON: TypeError"),
        ],
    );
    bench.fails(
        JAVASCRIPT,
        &[
            (
                "function half(x) {\n  if (!x) throw new RangeError('no');\n}\n\nhalf(0);",
                "ICE-X031",
                "line 2 in `half`, called from line 5: RangeError: no",
            ),
            ("const x = 1;\nconst y = = 2;", "ICE-X030", "code: line 2, column 11: SyntaxError: "),
            ("if (1) {", "ICE-X030", "code: end of line 1: SyntaxError: "),
            ("function f() { return f() + 1 }\nf()", "ICE-X031", "too much recursion"),
            ("await new Promise(() => {})", "ICE-X031", "nothing will settle"),
            (
                "setTimeout(() => {\n  throw new Error('late') }, 1); await new Promise(() => {})",
                "ICE-X031",
                "line 2: Error: late",
            ),
            ("return new Map()", "ICE-X031", "cannot be written as JSON"),
        ],
    );
}

#[test]
fn code_reaches_nothing() {
    let bench = Bench::new();
    bench.fails(
        PYTHON,
        &[
            ("open('/etc/passwd')", "ICE-X031", "PermissionError: there are no files in the sandbox"),
            (
                "import pathlib\npathlib.Path('x').write_text('y')",
                "ICE-X031",
                "line 2: PermissionError: there are no files",
            ),
            ("import os\nos.listdir('/')", "ICE-X031", "there are no files"),
            (
                "import socket",
                "ICE-X031",
                "ModuleNotFoundError: no module named 'socket': there is no network in the sandbox",
            ),
            ("import urllib.request", "ICE-X031", "ModuleNotFoundError: no module named 'urllib.request'"),
            ("import subprocess", "ICE-X031", "code in the sandbox cannot start processes"),
            ("import os\nos.system('ls')", "ICE-X031", "PermissionError: code in the sandbox cannot start processes"),
            ("import ctypes", "ICE-X031", "the sandbox runs no native code"),
            ("import yaml", "ICE-X031", "only a part of the standard library is built in"),
            ("input()", "ICE-X031", "EOFError"),
            // What the kit put in front is only for clear words: behind it there is nothing either.
            ("import sys, _io\n_io.FileIO('/etc/passwd')", "ICE-X031", "FileNotFoundError"),
            (
                "import sys\nsys.meta_path.pop(0)\nimport _socket\n_socket.socket().connect(('127.0.0.1', 80))",
                "ICE-X031",
                "Error",
            ),
        ],
    );
    assert_eq!(
        bench.output(PYTHON, "import os, sys\nresult = [dict(os.environ), sys.argv[1:]]", json!({}))["result"],
        json!([{}, []])
    );
    bench.fails(
        JAVASCRIPT,
        &[
            ("await fetch('http://127.0.0.1/')", "ICE-X031", "there is no network in the sandbox"),
            ("require('fs')", "ICE-X031", "there are no modules in the sandbox"),
            ("const fs = await import('fs')", "ICE-X030", "there are no modules in the sandbox"),
            ("process.env", "ICE-X031", "ReferenceError: process is not defined"),
        ],
    );
}

#[test]
fn nothing_of_one_call_is_left_for_the_next() {
    let bench = Bench::new();
    let left = "import builtins, json\nbuiltins.left = json.left = 1";
    bench.output(PYTHON, left, json!({}));
    let code = "import builtins, json\nresult = hasattr(builtins, 'left') or hasattr(json, 'left')";
    // In one process, so that it is the same compiled component that is instantiated again.
    let node = |id: &str, tool: &str, code: &str, after: &[&str]| json!({ "id": id, "type": "tool", "tool_name": tool, "dependencies": after, "tool_args": { "code": code } });
    let ran = bench.blueprint(json!([
        node("a", PYTHON, left, &[]),
        node("b", PYTHON, code, &["a"]),
        node("c", JAVASCRIPT, "globalThis.left = Array.prototype.left = 1", &[]),
        node("d", JAVASCRIPT, "return [globalThis.left ?? 0, [].left ?? 0]", &["c"]),
        node("e", PYTHON, "import random\nresult = random.random()", &[]),
        node("f", PYTHON, "import random\nresult = random.random()", &[]),
        node("g", JAVASCRIPT, "return Math.random()", &[]),
        node("h", JAVASCRIPT, "return Math.random()", &[]),
    ]));
    let outputs = ran.exits(0).json()["outputs"].take();
    assert_eq!((&outputs["b"]["result"], &outputs["d"]["result"]), (&json!(false), &json!([0, 0])));
    assert_ne!(outputs["e"]["result"], outputs["f"]["result"], "each call has random numbers of its own");
    assert_ne!(outputs["g"]["result"], outputs["h"]["result"]);
}

#[test]
fn endless_and_greedy_code_is_stopped_and_its_neighbours_are_not() {
    let bench = Bench::new();
    bench.0.run(&["plugins", "grant", "iceos/python", "limits.cpu_seconds=1", "limits.memory_mb=128"]).exits(0);
    bench.0.run(&["plugins", "grant", "iceos/javascript", "limits.cpu_seconds=1", "limits.memory_mb=128"]).exits(0);
    let rows = [
        (PYTHON, "while True: pass", "ICE-G011"),
        (JAVASCRIPT, "while (true);", "ICE-G011"),
        (PYTHON, "x = []\nwhile True: x.append(bytearray(1 << 20))", "ICE-X031"),
        (JAVASCRIPT, "const x = []; while (true) x.push(new Uint8Array(1 << 20).fill(1))", "ICE-X031"),
    ];
    for (tool, code, expected) in rows {
        let start = Instant::now();
        let ran = bench.blueprint(json!([
            { "id": "bad", "type": "tool", "tool_name": tool, "tool_args": { "code": code } },
            { "id": "good", "type": "tool", "tool_name": tool, "tool_args": { "code": "result = 6 * 7" } },
        ]));
        assert!(ran.code != Some(0), "{code}: {}", ran.out);
        let shown = ran.json();
        assert_eq!(shown["problem"]["code"], expected, "{shown}");
        assert!(start.elapsed() < Duration::from_secs(30), "it was stopped by the limit of its own");
        let id = shown["execution_id"].as_str().unwrap();
        let events = bench.0.run(&["executions", "show", id, "--json"]).exits(0).out;
        assert!(events.contains("42"), "the neighbour finished: {events}");
    }
}
