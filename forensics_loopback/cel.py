"""As much of the Common Expression Language as validation rules of custom resources use.

Literals, fields, indexes, `!`, arithmetic `+`, comparisons, `in`, `&&`, `||`, `? :`, `has()`,
`size()`, and the methods `startsWith`, `endsWith`, `contains`, `matches`, `size`, `split`,
`lowerAscii`, `all`, `exists`.
Anything else raises `Unsupported`, and then the loopback cluster lets the rule pass.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from forensics_core.errors import ForensicsError

Scope = dict[str, Any]
Expression = Callable[[Scope], Any]


class Unsupported(ForensicsError):
    """The expression uses a part of CEL that is not understood here."""


class EvaluationFailed(ForensicsError):
    """The expression reads a field that is not there, or mixes types."""


_TOKENS = re.compile(
    r"""\s*(?:(?P<text>r?"(?:[^"\\]|\\.)*"|r?'(?:[^'\\]|\\.)*')"""
    r"""|(?P<number>\d+(?:\.\d+)?)|(?P<name>[A-Za-z_]\w*)"""
    r"""|(?P<sign>\|\||&&|==|!=|<=|>=|[-+!<>?:.,()\[\]]))"""
)
_BINARY: tuple[dict[str, Callable[[Any, Any], Any]], ...] = (
    {
        "==": operator.eq,
        "!=": operator.ne,
        "<": operator.lt,
        "<=": operator.le,
        ">": operator.gt,
        ">=": operator.ge,
        "in": lambda item, container: item in container,
    },
    {"+": operator.add, "-": operator.sub},
)
_CONSTANTS = {"true": True, "false": False, "null": None}
_METHODS: dict[str, Callable[..., Any]] = {
    "startsWith": str.startswith,
    "endsWith": str.endswith,
    "contains": lambda text, part: part in text,
    "matches": lambda text, pattern: re.search(pattern, text) is not None,
    "size": len,
    "lowerAscii": str.lower,
    "split": str.split,
}


@lru_cache(maxsize=256)
def compile_cel(source: str) -> Expression:
    """The expression as a function of its variables; raises `Unsupported`."""
    parser = _Parser(_tokens(source))
    expression = parser.ternary()
    if parser.peek():
        raise Unsupported(f"Cannot read {parser.peek()!r} in the CEL expression {source!r}")
    return expression


def evaluate(source: str, scope: Scope) -> Any:
    """The expression's value; raises `Unsupported` or `EvaluationFailed`."""
    try:
        return compile_cel(source)(scope)
    except (LookupError, TypeError, AttributeError) as error:
        raise EvaluationFailed(f"Cannot evaluate {source!r}: {error}") from error


def _tokens(source: str) -> list[str]:
    tokens, position = [], 0
    text = source.strip()
    while position < len(text):
        match = _TOKENS.match(text, position)
        if match is None:
            raise Unsupported(f"Cannot read {text[position:]!r} as CEL")
        tokens.append(match[match.lastgroup or 0])
        position = match.end()
    return tokens


def _field(name: str) -> str:
    return re.sub(r"^__(\w+)__$", r"\1", name)


class _Parser:
    """Recursive descent, lowest precedence first; each method returns a compiled expression."""

    def __init__(self, tokens: list[str]) -> None:
        self._tokens = tokens
        self._at = 0

    def peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _next(self) -> str:
        token = self.peek()
        self._at += 1
        return token

    def _accept(self, token: str) -> bool:
        if self.peek() != token:
            return False
        self._at += 1
        return True

    def _expect(self, token: str) -> None:
        if not self._accept(token):
            raise Unsupported(f"Expected {token!r} and found {self.peek()!r} in a CEL expression")

    def ternary(self) -> Expression:
        test = self._or()
        if not self._accept("?"):
            return test
        yes = self.ternary()
        self._expect(":")
        no = self.ternary()
        return lambda s: yes(s) if test(s) else no(s)

    def _or(self) -> Expression:
        left = self._and()
        while self._accept("||"):
            left = (lambda a, b: lambda s: a(s) or b(s))(left, self._and())
        return left

    def _and(self) -> Expression:
        left = self._binary(0)
        while self._accept("&&"):
            left = (lambda a, b: lambda s: a(s) and b(s))(left, self._binary(0))
        return left

    def _binary(self, level: int) -> Expression:
        if level == len(_BINARY):
            return self._unary()
        left = self._binary(level + 1)
        while self.peek() in _BINARY[level]:
            function = _BINARY[level][self._next()]
            right = self._binary(level + 1)
            left = (lambda f, a, b: lambda s: f(a(s), b(s)))(function, left, right)
        return left

    def _unary(self) -> Expression:
        if self._accept("!"):
            inner = self._unary()
            return lambda s: not inner(s)
        if self._accept("-"):
            inner = self._unary()
            return lambda s: -inner(s)
        return self._postfix(self._primary())

    def _postfix(self, target: Expression) -> Expression:
        while self.peek() in {".", "["}:
            if self._accept("["):
                index = self.ternary()
                self._expect("]")
                target = (lambda t, i: lambda s: t(s)[i(s)])(target, index)
                continue
            self._expect(".")
            target = self._member(target, self._next())
        return target

    def _member(self, target: Expression, name: str) -> Expression:
        if not self._accept("("):
            return lambda s: target(s)[_field(name)]
        if name in {"all", "exists"}:
            return self._macro(target, any if name == "exists" else all)
        if name not in _METHODS:
            raise Unsupported(f"The CEL method {name!r} is not known here")
        arguments = self._arguments(")")
        return lambda s: _METHODS[name](target(s), *(a(s) for a in arguments))

    def _macro(self, target: Expression, quantifier: Callable[[Any], bool]) -> Expression:
        variable = self._next()
        self._expect(",")
        body = self.ternary()
        self._expect(")")
        return lambda s: quantifier(body({**s, variable: item}) for item in target(s))

    def _arguments(self, end: str) -> list[Expression]:
        found: list[Expression] = []
        while not self._accept(end):
            found.append(self.ternary())
            if self.peek() != end:
                self._expect(",")
        return found

    def _primary(self) -> Expression:
        token = self._next()
        if token == "(":  # noqa: S105 # a parenthesis is no password
            inner = self.ternary()
            self._expect(")")
            return inner
        if token == "[":  # noqa: S105 # nor is a bracket
            members = self._arguments("]")
            return lambda s: [member(s) for member in members]
        if token[-1:] in {"'", '"'} or token[:1].isdigit():
            literal = ast.literal_eval(token)
            return lambda _: literal
        return self._named(token)

    def _named(self, token: str) -> Expression:
        if token in _CONSTANTS:
            return lambda _: _CONSTANTS[token]
        if not self._accept("("):
            return lambda s: s[token]
        if token == "size":  # noqa: S105 # a function's name
            (argument,) = self._arguments(")")
            return lambda s: len(argument(s))
        if token != "has":  # noqa: S105 # a function's name
            raise Unsupported(f"The CEL function {token!r} is not known here")
        return self._has()

    def _has(self) -> Expression:
        (argument,) = self._arguments(")")

        def has(scope: Scope) -> bool:
            try:
                argument(scope)
            except LookupError:
                return False
            return True

        return has
