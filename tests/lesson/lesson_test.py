#!/usr/bin/env python3
"""Drives the lesson's page in Chromium, from a file and without a network:
  - each function of the library answers as the native program does: random numbers bit for bit, pictures within 1e-4;
  - each widget, in both languages, is used: all its sliders, choices, boxes and buttons;
  - a picture of each chapter is written, for a person to look at (--shots FOLDER);
  - one digit within a second and the plane's training within ten are measured (--timing makes them conditions);
  - a page of `sfumato lesson` shows the run.
Or, with --live SECONDS, trains the 16x16 digits alone and writes drawn ones to --drawn FILE for lesson_judge; with
--steps N the native program trains them for so many steps, without a browser.
"""
import argparse
import base64
import json
import pathlib
import subprocess
import sys
import time

from browser import Browser

# What both hosts are asked, in this order; the second number is the largest difference allowed.
REQUESTS = [
    ({"call": "random", "seed": 7, "index": 3, "count": 2000}, 0),
    ({"call": "describe"}, 0),
    ({"call": "show", "picture": 5, "count": 3}, 0),
    ({"call": "sums", "sigma_a": 0.7, "sigma_b": 1.1, "n": 5000}, 1e-3),
    ({"call": "walk", "t": 120, "schedule": "linear", "picture": 2}, 1e-4),
    ({"call": "walk", "t": 50, "naive": True, "sigma": 0.2}, 1e-3),
    ({"call": "until_noise", "schedule": "cosine"}, 0),
    ({"call": "merge", "t": 80, "schedule": "linear"}, 1e-4),
    ({"call": "ask", "t": 300, "label": 4, "picture": 4, "exact": True}, 1e-4),
    ({"call": "loss", "t": 400}, 1e-4),
    ({"call": "draw", "label": 3, "seed": 5, "exact": True}, 1e-4),
    ({"call": "draw", "label": 8, "sampler": "ddpm", "steps": 10, "guidance": 1, "exact": True}, 1e-4),
    ({"call": "bound", "picture": 3, "count": 2, "stride": 256}, 1e-3),
    ({"call": "bound_weights"}, 1e-9),
    ({"call": "bound_gaussian", "steps": 50, "count": 500}, 1e-6),
    ({"call": "notation", "t": 700, "guidance": 3}, 1e-9),
    ({"call": "curve", "schedule": "linear"}, 1e-9),
    ({"call": "plane_start", "data": "two", "steps": 200, "schedule": "linear"}, 1e-6),
    ({"call": "plane_train", "count": 10}, 1e-4),
    ({"call": "plane_field", "t": 60, "cells": 5}, 1e-2),
    ({"call": "plane_paths", "exact": True, "count": 5, "draw_steps": 20}, 1e-4),
    ({"call": "live_start", "seed": 1}, 0),
    ({"call": "live_train", "count": 2}, 1e-4),
    ({"call": "live_draw", "labels": [2], "draw_steps": 4}, 0),
]


def difference(a, b, key=""):
    """The largest difference of two answers' numbers; bytes of pictures may differ by one unit of rounding."""
    if isinstance(a, dict) and isinstance(b, dict):
        assert a.keys() == b.keys(), (key, a.keys(), b.keys())
        return max((difference(a[k], b[k], k) for k in a), default=0)
    if isinstance(a, list) and isinstance(b, list):
        assert len(a) == len(b), (key, len(a), len(b))
        return max((difference(x, y, key) for x, y in zip(a, b)), default=0)
    if isinstance(a, str) or a is None or isinstance(a, bool):
        assert a == b, (key, a, b)
        return 0
    if isinstance(a, int) and isinstance(b, int) and abs(a - b) <= 1:
        return 0 if key != "randint" else abs(a - b)
    return abs(a - b)


def compare(browser, native, files):
    lines = "".join(json.dumps(request) + "\n" for request, _ in REQUESTS)
    output = subprocess.run([native, files], input=lines, capture_output=True, text=True, check=True).stdout
    answers = [reply for reply in map(json.loads, output.splitlines()) if "part" not in reply]
    worst = 0
    for (request, allowed), expected in zip(REQUESTS, answers, strict=True):
        name = request["call"]
        assert "result" in expected, f"native {name}: {expected}"
        got = browser.run(f"library.call({json.dumps(name)}, {json.dumps(request)})")
        distance = difference(expected["result"], got)
        print(f"  {name}: native and browser differ by {distance:.2g}")
        assert distance <= allowed, f"{name}: at most {allowed} allowed"
        worst = max(worst, distance if "exact" in request else 0)
    wrong = browser.run("library.call('no such function').then(() => '', (e) => e.message)")
    assert "no such function" in wrong, wrong


# Uses every control of a widget once. Long training is asked for in its shortest form.
USE = """(async () => {
  const root = document.getElementById(%s).querySelectorAll('[data-widget]')[%d];
  const idle = async () => {
    for (let wait = 0; wait < 6000; ++wait) {
      // Again until it is there: what is built on the way moves it.
      if (!root.dataset.built) root.scrollIntoView({block: 'center', behavior: 'instant'});
      await new Promise((r) => setTimeout(r, 50));
      if (root.getAttribute('aria-busy') === 'false') return;
    }
    throw new Error(root.dataset.widget + ': still busy after five minutes');
  };
  await idle();
  const failed = () => { if (root.querySelector('.status.error')) throw new Error(root.dataset.widget + ': ' + root.querySelector('.status').textContent); };
  failed();
  let used = 0;
  const names = [];
  for (const input of root.querySelectorAll('.controls input, .controls select')) {
    const quick = root.dataset.widget === 'plane' || root.dataset.widget === 'live';
    if (!input.closest('label').textContent.trim()) throw new Error('a control without a label');
    if (input.type === 'range') {
      input.value = quick && +input.max >= 300 ? input.min : (+input.min + 0.3 * (+input.max - +input.min));
      input.dispatchEvent(new Event('input', {bubbles: true}));
    } else if (input.type === 'checkbox') {
      input.click();
    } else {
      input.selectedIndex = (input.selectedIndex + 1) %% input.options.length;
      input.dispatchEvent(new Event('change', {bubbles: true}));
    }
    ++used;
    await idle();
    failed();
  }
  for (const button of root.querySelectorAll('.controls button:not(:disabled)')) {
    button.click();
    ++used;
    await idle();
    failed();
  }
  const pictures = root.querySelectorAll('canvas, svg');
  if (!pictures.length) throw new Error(root.dataset.widget + ': shows nothing');
  for (const p of pictures) if (!p.getAttribute('aria-label')) throw new Error(root.dataset.widget + ': a picture without words');
  const drawn = [...root.querySelectorAll('canvas')].filter((c) => c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some((v, i) => i %% 4 < 3 && v > 0));
  if (root.querySelector('canvas') && !drawn.length) throw new Error(root.dataset.widget + ': all pictures are black');
  return root.dataset.widget + ': ' + used + ' controls, "' + root.querySelector('.status').textContent + '"';
})()"""


def sections(browser, language):
    return browser.run(f"""[...document.querySelectorAll('section[data-lang={language}]')].map((s) =>
        [s.id, s.querySelectorAll('[data-widget]').length])""")


def use_widgets(browser, language, chapters=None):
    """All controls of all widgets, or of those of some chapters."""
    browser.run(f"document.querySelector('[data-set-lang={language}]').click()")
    for section, count in sections(browser, language):
        if chapters and section.split("_")[0] not in chapters:
            continue
        for i in range(count):
            begin = time.monotonic()
            print(f"  {browser.run(USE % (json.dumps(section), i))} ({time.monotonic() - begin:.1f} s)", flush=True)


def shoot(browser, folder, language, theme):
    """A picture of each chapter as it is now."""
    folder.mkdir(parents=True, exist_ok=True)
    browser.run(f"setTheme('{theme}'); document.querySelector('header').style.position = 'static'")
    for section, _ in sections(browser, language):
        box = browser.run(f"""(() => {{ const b = document.getElementById('{section}').getBoundingClientRect();
            return {{x: b.x + scrollX, y: b.y + scrollY, width: b.width, height: b.height, scale: 1}}; }})()""")
        data = browser.call("Page.captureScreenshot", clip=box, captureBeyondViewport=True)["data"]
        (folder / f"{section}.png").write_bytes(base64.b64decode(data))


def open_page(browser, page):
    browser.call("Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=0, uploadThroughput=0)
    browser.call("Page.navigate", url=page.resolve().as_uri())
    browser.wait("document.readyState === 'complete' && typeof library === 'object'", 300, "the page")
    browser.run("library.ready")


def use_page_of_run(browser, page):
    """A page of `sfumato lesson`: it says whose it is, draws, and shows the loss while training."""
    open_page(browser, page)
    model = browser.run("library.call('describe')")
    assert model["run"]["name"] and model["run"]["step"], model["run"]
    browser.wait("!document.getElementById('run').hidden", 10, "the note about the run")
    note = browser.run("document.querySelector('#run [data-lang=en]').textContent")
    assert f"around the run {model['run']['name']}:" in note, note
    use_widgets(browser, "en", ("00", "05"))
    assert browser.run("document.getElementById('05_loss.en').querySelectorAll('svg').length") == 2


def expect_quiet(browser):
    """Nothing was asked of the network, and no error went unnoticed."""
    outside = [e["params"]["request"]["url"][:80] for e in browser.events if e.get("method") == "Network.requestWillBeSent"
               and not e["params"]["request"]["url"].startswith(("file:", "blob:", "data:", "about:"))]
    assert not outside, f"the page asks the network: {outside}"
    errors = [e["params"]["exceptionDetails"] for e in browser.events if e.get("method") == "Runtime.exceptionThrown"]
    assert not errors, errors


def measure(browser):
    script = """(async () => {{ const begin = performance.now(); {} ; return (performance.now() - begin) / 1000; }})()"""
    digit = browser.run(script.format("await library.call('draw', {label: 3})"))
    plane = browser.run(script.format("""await library.call('plane_start', {data: 'ring', schedule: 'linear', steps: 200});
        for (let k = 0; k < 24; ++k) await library.call('plane_train', {count: 50, of: 1200});
        await library.call('plane_paths', {count: 400})"""))
    print(f"  a digit: {digit:.2f} s; the plane, 1200 steps and 400 points: {plane:.2f} s")
    return digit, plane


def live(browser, seconds, drawn):
    """Trains by the page's own loop, then draws."""
    steps = browser.run(f"""(async () => {{
      await library.call('live_start', {{seed: 0}});
      let trained = 0, step = 0;
      while (trained < {seconds * 1000}) {{
        const begin = performance.now();
        step = (await library.call('live_train', {{count: 5, progress: trained / {seconds * 1000}}})).step;
        trained += performance.now() - begin;
      }}
      return step; }})()""", timeout=seconds * 10 + 600)
    print(f"  {steps} steps in {seconds} s", flush=True)
    write_drawn(drawn, steps, lambda request: browser.run(f"library.call('live_draw', {json.dumps(request)})", timeout=1200))


def live_natively(native, files, steps, drawn):
    """The same for a number of steps by the native program, its rate by the steps that are done."""
    with subprocess.Popen([native, files], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as program:

        def call(name, **request):
            program.stdin.write(json.dumps({"call": name, **request}) + "\n")
            program.stdin.flush()
            return next(reply for reply in map(json.loads, program.stdout) if "part" not in reply)["result"]

        call("live_start", seed=0)
        begin = time.monotonic()
        for step in range(0, steps, 5):
            call("live_train", count=5, progress=step / steps)
        print(f"  {steps} steps, {1000 * (time.monotonic() - begin) / steps:.1f} ms each", flush=True)
        write_drawn(drawn, steps, lambda request: call("live_draw", **request))


def write_drawn(drawn, steps, draw):
    """50 pictures of each class at guidance 1 and 2."""
    labels = [i % 10 for i in range(500)]
    pictures = {guidance: draw({"labels": labels, "guidance": guidance})["x"] for guidance in (1, 2)}
    drawn.write_text(json.dumps({"steps": steps, "labels": labels, "pictures": pictures}))


def test(browser, o):
    open_page(browser, o.page)
    if o.live:
        return live(browser, o.live, o.drawn)
    assert browser.run("document.getElementById('run').hidden"), "a note about a run, and there is none"
    compare(browser, o.native, o.files)
    digit, plane = measure(browser)
    assert not o.timing or (digit < 1 and plane < 10)
    for language, theme in zip(("en", "zh"), ("light", "dark")):
        use_widgets(browser, language)
        shoot(browser, o.shots, language, theme)
    use_page_of_run(browser, o.run_page)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=pathlib.Path)
    parser.add_argument("--native", help="the program lesson_native, and")
    parser.add_argument("--files", help="the folder with the page's model/ and pictures/")
    parser.add_argument("--run-page", type=pathlib.Path, help="a page of `sfumato lesson`")
    parser.add_argument("--shots", type=pathlib.Path)
    parser.add_argument("--timing", action="store_true")
    parser.add_argument("--live", type=int, metavar="SECONDS")
    parser.add_argument("--steps", type=int, metavar="N")
    parser.add_argument("--drawn", type=pathlib.Path)
    o = parser.parse_args()
    assert o.page.stat().st_size < 4e6, f"{o.page} has {o.page.stat().st_size} bytes, 4 MB allowed"
    if o.steps:
        return live_natively(o.native, o.files, o.steps, o.drawn)
    begin = time.monotonic()
    browser = Browser()
    try:
        test(browser, o)
        expect_quiet(browser)
    finally:
        browser.close()
    print(f"lesson: passed in {time.monotonic() - begin:.0f} s")


if __name__ == "__main__":
    sys.exit(main())
