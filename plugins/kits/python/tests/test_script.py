"""What a piece of Python is given and answers, tested with the Python of this machine: no component is needed."""

import json
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

import script  # noqa: E402


def run(code, **inputs):
    return json.loads(script.answer(json.dumps({"code": code, "inputs": inputs})))


class Script(unittest.TestCase):
    def refused(self, kind, code, **inputs):
        with self.assertRaises(kind) as caught:
            run(code, **inputs)
        return str(caught.exception)

    def test_inputs_come_whole_and_by_name(self):
        answer = run("result = [price * 2, inputs['net-price'], sorted(inputs)]", price=4, **{"net-price": 3})
        self.assertEqual(answer, {"result": [8, 3, ["net-price", "price"]], "stdout": ""})

    def test_an_input_may_be_named_like_a_builtin_but_not_replace_what_runs_the_code(self):
        self.assertEqual(run("result = id", id=7)["result"], 7)
        self.assertEqual(run("result = [len('ab'), inputs['__builtins__'], inputs['inputs']]",
                             __builtins__=1, inputs=2)["result"], [2, 1, 2])

    def test_without_a_result_it_is_null_and_prints_are_kept(self):
        self.assertEqual(run("print('a', 1)\nprint('ü')"), {"result": None, "stdout": "a 1\nü\n"})

    def test_prints_are_bounded(self):
        answer = run("for i in range(3000): print('x' * 99)")
        self.assertLess(len(answer["stdout"]), script.STDOUT_CHARACTERS_MAX + 100)
        self.assertIn("234464 more characters were dropped", answer["stdout"])

    def test_an_exception_names_its_lines(self):
        code = "def half(x):\n    return 1 / x\n\nhalf(0)\n"
        self.assertEqual(self.refused(script.Failed, code),
                         "line 2 in `half`, called from line 4: ZeroDivisionError: division by zero")

    def test_whatever_ends_the_code_is_an_error(self):
        self.assertEqual(self.refused(script.Failed, "raise SystemExit(3)"), "line 1: SystemExit: 3")
        self.assertIn("RecursionError", self.refused(script.Failed, "def f():\n  f()\nf()"))
        code = "class E(Exception):\n  def __str__(self):\n    raise ValueError\nraise E()"
        self.assertEqual(self.refused(script.Failed, code), "line 4: E: (its text cannot be made)")
        self.assertLess(len(self.refused(script.Failed, "raise ValueError('x' * 100_000)")), 3_000)

    def test_what_is_not_python_names_line_and_column(self):
        self.assertRegex(self.refused(script.Refused, "x = 1\ny = = 2"), r"^code: line 2, column 5: SyntaxError: ")
        self.assertIn("assign the answer to `result`", self.refused(script.Refused, "return 1"))
        self.assertTrue(self.refused(script.Refused, "a\0b").startswith("code: "))

    def test_a_result_that_is_not_json_is_an_error(self):
        for code, why in [
            ("result = {1, 2}", "set is not JSON serializable"),
            ("result = float('nan')", "not JSON compliant"),
            ("result = []; result.append(result)", "Circular"),
            ("result = 2 ** 64", "more than 64 bits"),
        ]:
            text = self.refused(script.Failed, code)
            self.assertTrue(text.startswith("`result` cannot be written as JSON: "), text)
            self.assertIn(why, text)
        self.assertEqual(run("result = [2 ** 64 - 1, -2 ** 63, '9' * 30]")["result"],
                         [2**64 - 1, -(2**63), "9" * 30])

    def test_what_is_no_question_is_refused_by_field(self):
        for text, field in [("{", "(input): "), ("[]", "(input): "), ("{}", "code: "), ('{"code":1}', "code: "),
                            ('{"code":"","inputs":[]}', "inputs: "), ('{"code":"","x":1}', "x: "),
                            (json.dumps({"code": " " * 300_000}), "code: ")]:
            with self.assertRaises(script.Refused) as caught:
                script.answer(text)
            self.assertTrue(str(caught.exception).startswith(field), caught.exception)


if __name__ == "__main__":
    unittest.main()
