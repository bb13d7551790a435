"""What the compiler's messages mean to somebody who knows Python: the first error of many lines, and a hint.

Patterns match the messages of GCC and clang, in plain quotes. The first that fits counts. The example of each is a
statement that brings the error about: `prove` compiles it.
"""
import concurrent.futures
import os
import re
import subprocess
import tempfile
from typing import NamedTuple


class Hint(NamedTuple):
    pattern: str
    example: str
    says: str


HINTS = [
    Hint(r"extended character|stray '|unexpected character|non-ASCII characters", "return 1 − x;",
         "This sign is not on a keyboard, so it was copied from a text. C++ wants - for −, * for ·, std::sqrt(...) for √, and the names in "
         "exercise.h for letters: alpha, alpha_bar, eps."),
    Hint(r"your_code", "return your_code(2 * x);",
         "`your_code` is still there, with something else in its brackets. Replace all of it, the name, the brackets and the text, by "
         "your expression: `return 2 * x;`"),
    Hint(r"invalid type argument of unary '\*'|indirection requires pointer", "return x**0.5;",
         "C++ has no **. Write x * x for the square, std::sqrt(x) for the root, std::pow(x, y) for others."),
    Hint(r"to binary 'operator\^'|binary expression \('double' and 'double'\)", "return x ^ 0.5;",
         "^ is no power in C++. Write x * x for the square, std::sqrt(x) for the root, std::pow(x, y) for others."),
    Hint(r"no match for 'operator|invalid operands to binary",
         "return v - v;",
         "One side of this sign is a whole list. C++ computes with numbers: take an element, v[i], in a loop over i."),
    Hint(r"no matching function for call to 'sqrt|call to 'sqrt' is ambiguous", "return std::sqrt(v);",
         "std::sqrt wants a number; this is a whole list. Take an element: std::sqrt(v[i])."),
    Hint(r"'(math|np)'", "return math.sqrt(x);", "Python's math.sqrt(x) is std::sqrt(x) in C++."),
    Hint(r"'len'", "return len(v);", "Python's len(v) is v.size() in C++."),
    Hint(r"'(True|False)'", "return True;", "Python's True and False are true and false in C++."),
    Hint(r"was not declared in this scope|undeclared identifier", "y = 2 * x; return y;",
         "This name is not known here. If it is new, its type stands before it: `double y = 2 * x;`. If it is a parameter, its name stands in "
         "the brackets at the head of the function. A function of another exercise cannot be called: each exercise is a program of its own."),
    Hint(r"primary-expression before '\.'|unexpected namespace name", "return std.sqrt(x);",
         "After std come two colons: std::sqrt(x)."),
    Hint(r"(invalid use of|reference to) (non-static )?member function", "return x / v.size;",
         "Brackets are missing: v.size() calls the function, v.size is the function itself."),
    Hint(r"has no member named|no member named", "std::vector<double> w; w.append(x); return x;",
         "It has no member of this name. Python's v.append(x) is v.push_back(x), len(v) is v.size(); the members of a struct stand in exercise.h."),
    Hint(r"no match for call to|no matching function for call to object of type|too (few|many) arguments", "return network(x);",
         "A function is called with other arguments than it takes. How many and which it takes stands in exercise.h."),
    Hint(r"cannot convert|could not convert|conversion from .* requested|no viable conversion|invalid initialization|no known conversion|no matching function for call to",
         "std::vector<double> w = x; return x;",
         "A value of one type stands where another is wanted: `std::vector` is a list, `double` one number. The types of the parameters stand "
         "in exercise.h."),
    Hint(r"expected '\(' (before|after)", "if x > 0 { return x; } return 0;",
         "The condition needs round brackets, the block braces: if (x > 0) { ... }"),
    Hint(r"expected '\)'", "return std::sqrt(x * 2;", "A closing bracket is missing, or there is an opening one too many."),
    Hint(r"expected .*';'", "double y = 2 x; return y;",
         "Here the compiler expected the end of a statement. Is a semicolon missing, at the end of this line or of the one before? Or a * "
         "(2 x is 2 * x)? Python's `a if c else b` is `c ? a : b`; // begins a comment, T / K of two integers is rounded down by itself."),
    Hint(r"no return statement|does not return a value|control reaches end", "2 * x;",
         "The function returns nothing: `return` is missing in front of the result."),
    Hint(r"conversion from '(double|float)' to '(int|.*long.*)'|turns floating-point number into integer", "int y = x / 2; return y;",
         "An int has no digits behind the point, so what they hold would be lost. Declare it as double: `double y = ...;`"),
    Hint(r"redeclaration|redefinition|conflicting declaration", "double y = 1; double y = 2; return y;",
         "This name exists already. To change what it holds, leave out the type: `y = 2;`"),
    Hint(r"read-only|no matching member function|discards qualifiers|const-qualified|marked const", "v.push_back(x); return x;",
         "It is `const`: this function may read it, not change it. Change a copy: `std::vector<double> w = v;`"),
    Hint(r"undefined reference|undefined symbol", "",
         "The grader calls a function that exercise.cpp no longer has in this form. Its first line, with name and parameters, must stay "
         "as exercise.h has it."),
]

HEADERS = "".join(f"#include {name}\n" for name in ("<cmath>", "<functional>", "<vector>", '"common/your_code.h"'))
STUDENT = "double student(double x, const std::vector<double>& v, const std::function<double(double, int)>& network) {\n%s\n}\n"
OPTIONS = ["-std=c++20", "-Iexercises", "-Wall", "-Werror=return-type", "-Werror=float-conversion"]  # as CMakeLists.txt


def plain(text):
    return re.sub("[‘’]", "'", text)


def first_error(output):
    """The message of the first error with its picture of the line; the whole where there is none."""
    lines = output.splitlines()
    at = next((i for i, line in enumerate(lines) if re.search(r"error: |undefined reference|undefined symbol", line)), None)
    if at is None:
        return output
    end = at + 1
    while end < len(lines) and not re.match(r"\S+:\d+|In file|compilation|\d+ (errors?|warnings?)|collect2|.*\bld\b", lines[end]):
        end += 1
    # An error inside a header of the library's: the line of exercise.cpp that led there.
    led = [line for line in lines[:at] if "exercise.cpp:" in line] if "exercise.cpp:" not in lines[at] else []
    return "\n".join(led + lines[at:end])


def hint(error):
    text = plain(error)
    return next((h for h in HINTS if re.search(h.pattern, text)), None)


def explained(output):
    """What a student is shown of the compiler's output."""
    error = first_error(output)
    found = hint(error.splitlines()[0] if error.startswith("exercises/") else error)
    return error + (f"\n\n{found.says}" if found else "")


def prove(compiler):
    """For each hint whose example is explained otherwise: a line that says so."""

    def says(*options, text=""):
        return subprocess.run([compiler, *OPTIONS, *options], input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True).stdout

    def problem(wanted):
        said = says("-fsyntax-only", "-include", headers, "-x", "c++", "-", text=STUDENT % wanted.example)
        found = hint(first_error(said).split("\n")[0])
        return None if found is wanted else f"{wanted.example}: explained as: {found.says if found else 'nothing'}\n{said}"

    with tempfile.TemporaryDirectory() as folder, concurrent.futures.ThreadPoolExecutor(2) as pool:
        headers = os.path.join(folder, "headers.h")
        with open(headers, "w", encoding="utf-8") as file:
            file.write(HEADERS)
        said = says("-x", "c++-header", headers, "-o", headers + ".gch")  # compiled once: four times as fast
        return [said] if said else [p for p in pool.map(problem, [h for h in HINTS if h.example]) if p]
