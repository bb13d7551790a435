#!/usr/bin/env python3
"""Puts the lesson's page together: one HTML file with chapters, widgets, the library in WebAssembly, a model and
pictures. Only stitches; scripts/lesson calls it.

A chapter is chapters/NN_name.en.html with its translation chapters/NN_name.zh.html. In it
  <formula ref="NAME"/>   becomes the formula NAME of formulas.html, with file and line of the code that computes it
  <code ref="FILE TEXT"/> becomes FILE:LINE, the first line of FILE that has TEXT outside of comments
  <lab ref="NAME"/>       becomes table and picture of docs/labs/NAME.json and .png, which `sfumato lab NAME` wrote; in a
                          translation with the words of labs.zh.json
Whatever is missing is an error. `sfumato lesson` (apps/lesson.cpp) puts another model and other pictures into a page.
"""
import argparse
import base64
import gzip
import html
import json
import pathlib
import re
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
MODEL_FILES = ("model_index.json", "unet/config.json", "scheduler/scheduler_config.json",
               "unet/diffusion_pytorch_model.fp16.safetensors")
PICTURES = 6000


def fail(message):
    sys.exit(f"apps/lesson/build.py: {message}")


def where(code):
    """ "FILE TEXT" -> "FILE:LINE" """
    name, _, text = code.partition(" ")
    path = ROOT / name
    if not path.is_file():
        fail(f'"{code}": there is no file {name}')
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if text in line.split("//")[0]:
            return f"{name}:{number}"
    fail(f'"{code}": no line of {name} has "{text}"')


def read_formulas():
    text = (HERE / "formulas.html").read_text(encoding="utf-8")
    found = re.findall(r'<formula id="(\w+)" code="([^"]+)">(.*?)</formula>', text, re.S)
    return {name: (where(html.unescape(code)), math.strip()) for name, code, math in found}


def subscripts(text):
    """x_t -> x<sub>t</sub>"""
    return re.sub(r"\b([A-Za-z])_(\w+)", r"\1<sub>\2</sub>", text)


def expect_measured(path, text):
    """Decimal numbers of a chapter about labs are their tables'."""
    labs = re.findall(r'<lab ref="([\w-]+)"/>', text)
    measured = {float(n) for name in labs for n in re.findall(r"\d+\.\d+", (ROOT / f"docs/labs/{name}.json").read_text())}
    prose = re.sub(r'<[^>]*>', " ", text)
    wrong = [n for n in re.findall(r"\d+\.\d+", prose) if labs and float(n) not in measured]
    if wrong:
        fail(f"{path.name}: no table of docs/labs has {', '.join(wrong)}")


def in_chinese(text):
    """A lab's heading, row or caption; "ROW: 4 evaluations" as its row; an interval."""
    words = json.loads((HERE / "labs.zh.json").read_text(encoding="utf-8"))
    evaluations = re.fullmatch(r"(.*): (\d+) evaluations?", text)
    if evaluations:
        return f"{in_chinese(evaluations[1])}：计算 {evaluations[2]} 次"
    interval = re.fullmatch(r"(-?[\d.]+) to (-?[\d.]+)", text)
    if interval:
        return f"{interval[1]} 至 {interval[2]}"
    if text not in words:
        fail(f'labs.zh.json has no "{text}"')
    return words[text]


def lab(match, say):
    """`say` translates the words of the tables."""
    file = ROOT / "docs/labs" / match[1]
    if not file.with_suffix(".json").is_file() or not file.with_suffix(".png").is_file():
        fail(f"docs/labs has no {match[1]}.json with its picture {match[1]}.png")
    result = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))

    def decimals(column):
        return max((len(repr(r[column]).partition(".")[2].rstrip("0")) for r in result["rows"] if isinstance(r[column], float)), default=0)

    places = [decimals(i) for i in range(len(result["columns"]))]

    def row(cells, tag):
        texts = (f"{c:.{n}f}" if isinstance(c, float) else subscripts(html.escape(say(c))) for c, n in zip(cells, places))
        return "<tr>" + "".join(f"<{tag}>{text}</{tag}>" for text in texts) + "</tr>"

    picture = base64.b64encode(file.with_suffix(".png").read_bytes()).decode()
    rows = "; ".join(f"{i}. {html.escape(say(caption))}" for i, caption in enumerate(result["picture"], 1))
    body = "".join(row(r, "td") for r in result["rows"])
    return (
        f'<figure class="lab"><img src="data:image/png;base64,{picture}" alt="{html.escape(rows)}">'
        f'<figcaption>{subscripts(rows)}</figcaption></figure><div class="scroll lab" tabindex="0"><table><caption>sfumato lab {match[1]}</caption>'
        f'<thead>{row(result["columns"], "th")}</thead><tbody>{body}</tbody></table></div>'
    )


def chapter(path, formulas):
    def formula(match):
        if match[1] not in formulas:
            fail(f'{path.name}: formulas.html has no formula "{match[1]}"')
        line, math = formulas[match[1]]
        return f'<div class="formula">{math}<code class="where">{html.escape(line)}</code></div>'

    text = path.read_text(encoding="utf-8")
    expect_measured(path, text)
    text = re.sub(r'<formula ref="(\w+)"/>', formula, text)
    text = re.sub(r'<code ref="([^"]+)"/>', lambda m: f"<code>{where(html.unescape(m[1]))}</code>", text)
    say = in_chinese if path.name.endswith(".zh.html") else str
    text = re.sub(r'<lab ref="([\w-]+)"/>', lambda m: lab(m, say), text)
    title = re.search(r"<h2>(.*?)</h2>", text)
    if not title or "<formula" in text or "<code ref" in text or "<lab" in text:
        fail(f"{path.name}: expected a title <h2> and markers as build.py describes them")
    for name in re.findall(r'data-widget="(\w+)"', text):
        if not any(f"widget('{name}'" in script for script in widget_scripts()):
            fail(f'{path.name}: no file of widgets/ defines widget "{name}"')
    return title[1], text


def widget_scripts():
    return [p.read_text(encoding="utf-8") for p in sorted(HERE.glob("widgets/*.js"))]


def chapters():
    """HTML of the tables of contents and of all chapters"""
    formulas = read_formulas()
    contents = {"en": [], "zh": []}
    sections = []
    for english in sorted(HERE.glob("chapters/*.en.html")):
        name = english.name.removesuffix(".en.html")
        translations = {"en": english, "zh": english.with_name(f"{name}.zh.html")}
        for language, path in translations.items():
            if not path.is_file():
                fail(f"{path.name} is missing")
            title, text = chapter(path, formulas)
            tag = "zh-CN" if language == "zh" else "en"
            contents[language].append(f'<li><a href="#{name}.{language}">{title}</a></li>')
            sections.append(f'<section id="{name}.{language}" data-lang="{language}" lang="{tag}" hidden>{text}</section>')
    navigation = [f'<ol data-lang="{k}" hidden>{"".join(v)}</ol>' for k, v in contents.items()]
    return "\n".join(navigation), "\n".join(sections)


def asset(name, content):
    packed = base64.b64encode(gzip.compress(content, 9, mtime=0)).decode()
    return f'<script type="text/plain" data-file="{name}">{packed}</script>'


def idx(path, header):
    with gzip.open(path) as f:
        data = f.read()
    return data[header:]


def pictures(folder):
    """Test pictures, which the embedded model has not seen"""
    images = idx(folder / "t10k-images-idx3-ubyte.gz", 16)[: PICTURES * 784]
    labels = idx(folder / "t10k-labels-idx1-ubyte.gz", 8)[:PICTURES]
    return {
        "pictures/shape.json": json.dumps([PICTURES, 28, 28, 1]).encode(),
        "pictures/images.u8": images,
        "pictures/labels.u8": labels,
    }


def model_files():
    """The bundled model (apps/lesson/model/README.md), with its weights in float16"""
    return {f"model/{name}": (HERE / "model" / name).read_bytes() for name in MODEL_FILES}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--wasm", type=pathlib.Path, required=True, help="folder of lesson.js and lesson.wasm")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--files", type=pathlib.Path, help="also write model/ and pictures/ into this folder")
    o = parser.parse_args()

    changing = {**model_files(), **pictures(ROOT / "data/mnist")}
    if o.files:
        for name, content in changing.items():
            (o.files / name).parent.mkdir(parents=True, exist_ok=True)
            (o.files / name).write_bytes(content)
    worker = (o.wasm / "lesson.js").read_bytes() + (HERE / "worker.js").read_bytes()
    program = {"lesson.js": worker, "lesson.wasm": (o.wasm / "lesson.wasm").read_bytes()}
    navigation, sections = chapters()
    page = (HERE / "page.html").read_text(encoding="utf-8")
    parts = {
        "STYLE": (HERE / "page.css").read_text(encoding="utf-8"),
        "NAVIGATION": navigation,
        "CHAPTERS": sections,
        "SCRIPT": "\n".join([(HERE / "page.js").read_text(encoding="utf-8"), *widget_scripts()]),
        "PROGRAM": "\n".join(asset(*item) for item in program.items()),
        "MODEL": "\n".join(asset(*item) for item in changing.items()),
    }
    for name, text in parts.items():
        page = page.replace(f"<!--{name}-->", text)
    o.out.write_text(page, encoding="utf-8")
    print(f"{o.out}: {len(page.encode()) / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
