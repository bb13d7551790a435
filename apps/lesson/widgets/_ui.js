// What widgets are made of: labelled controls, pictures, charts and tables. `ui.say(en, zh)` chooses the language.
class Ui {
  constructor(root, language) {
    this.root = root;
    this.language = language;
    this.controls = this.add(root, 'div', {class: 'controls'});
    this.stage = this.add(root, 'div', {class: 'stage'});
    this.status = this.add(root, 'p', {class: 'status', 'aria-live': 'polite'});
  }

  say(en, zh) { return this.language === 'zh' ? zh : en; }

  add(parent, tag, attributes = {}, text = '') {
    const element = document.createElement(tag);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (tag === 'option') element.textContent = text.replaceAll('_t', 'ₜ').replaceAll('_', '');
    else typeset(element, text);
    parent.append(element);
    return element;
  }

  tell(text) {
    this.status.classList.remove('error');
    typeset(this.status, text);
  }
  fail(error) {
    this.status.classList.add('error');
    this.status.textContent = this.say('Error: ', '出错：') + error.message;
    console.error(error);
  }

  // ---- controls; each returns an object with `value`
  slider(text, {min, max, value, step = 1, show = (v) => v}, changed = () => {}) {
    const label = this.add(this.controls, 'label', {class: 'slider'});
    this.add(label, 'span', {}, text);
    const input = this.add(label, 'input', {type: 'range', min, max, step, value});
    const output = this.add(label, 'output', {}, show(value));
    const update = () => {
      output.textContent = show(+input.value);
      input.setAttribute('aria-valuetext', output.textContent);
    };
    input.addEventListener('input', () => { update(); changed(+input.value); });
    update();
    return {
      get value() { return +input.value; },
      set value(v) { input.value = v; update(); },
      set max(v) { input.max = v; update(); },
      input,
    };
  }

  choice(text, options, changed = () => {}) {
    const label = this.add(this.controls, 'label');
    this.add(label, 'span', {}, text);
    const select = this.add(label, 'select');
    for (const [value, name] of options) this.add(select, 'option', {value}, name);
    select.addEventListener('change', () => changed(select.value));
    return {get value() { return select.value; }, set value(v) { select.value = v; }, select};
  }

  check(text, value, changed = () => {}) {
    const label = this.add(this.controls, 'label', {class: 'check'});
    const input = this.add(label, 'input', {type: 'checkbox'});
    input.checked = value;
    this.add(label, 'span', {}, text);
    input.addEventListener('change', () => changed(input.checked));
    return {get value() { return input.checked; }};
  }

  button(text, pressed) {
    const button = this.add(this.controls, 'button', {type: 'button'}, text);
    button.addEventListener('click', pressed);
    return button;
  }

  // Runs `work` when asked; while it runs, only the last further request is kept. The widget is busy meanwhile.
  latest(work) {
    let running = false, again = false;
    return async () => {
      if (running) { again = true; return; }
      running = true;
      this.root.setAttribute('aria-busy', 'true');
      do {
        again = false;
        try { await work(); } catch (e) { this.fail(e); }
      } while (again);
      running = false;
      this.root.setAttribute('aria-busy', 'false');
    };
  }

  // ---- output
  figure(caption, parent = this.stage) {
    const figure = this.add(parent, 'figure');
    const body = this.add(figure, 'div');
    const text = this.add(figure, 'figcaption', {}, caption);
    return {body, set caption(t) { typeset(text, t); }, figure};
  }

  // A canvas for pictures of the size that the library tells; draw(bytes, words) shows one.
  picture(caption, parent, {height = 28, width = 28, channels = 1} = {}) {
    const {body, figure} = this.figure(caption, parent);
    const canvas = this.add(body, 'canvas', {width, height, role: 'img', class: 'picture', 'aria-label': caption});
    const context = canvas.getContext('2d');
    return {
      figure,
      canvas,
      draw: (bytes, words) => {
        const data = context.createImageData(width, height);
        for (let i = 0; i < width * height; ++i) {
          for (let c = 0; c < 3; ++c) data.data[4 * i + c] = bytes[channels * i + (channels === 3 ? c : 0)];
          data.data[4 * i + 3] = 255;
        }
        context.putImageData(data, 0, 0);
        if (words) canvas.setAttribute('aria-label', words);
      },
      set caption(text) { typeset(figure.querySelector('figcaption'), text); },
    };
  }

  table(caption, parent = this.stage) {
    const table = this.add(this.add(parent, 'div', {class: 'scroll'}), 'table');
    this.add(table, 'caption', {}, caption);
    return (head, rows) => {
      table.querySelectorAll('thead,tbody').forEach((e) => e.remove());
      const top = this.add(this.add(table, 'thead'), 'tr');
      for (const cell of head) this.add(top, 'th', {scope: 'col'}, cell);
      const body = this.add(table, 'tbody');
      for (const row of rows) {
        const line = this.add(body, 'tr');
        row.forEach((cell, i) => this.add(line, i ? 'td' : 'th', i ? {} : {scope: 'row'}, cell));
      }
    };
  }

  chart(caption, options) { return new Chart(this, this.figure(caption), options); }
}

// Text with its subscripts, x_t or x_{t-1}, as elements.
function typeset(element, text) {
  element.replaceChildren(...String(text).split(/_(\{[^}]*\}|[A-Za-zθ0-9](?![A-Za-z]))/).map((part, i) => {
    if (i % 2 === 0) return part;
    const sub = document.createElement('sub');
    sub.textContent = part.replace(/[{}]/g, '');
    return sub;
  }));
}

// A number as a reader wants it: four digits, no power of ten where that can be.
function digits(x, n = 4) {
  if (x === null || !Number.isFinite(x)) return x === null ? '–' : String(x);
  if (x !== 0 && (Math.abs(x) < 1e-3 || Math.abs(x) >= 1e5)) {
    const [mantissa, exponent] = x.toExponential(Math.min(n, 3) - 1).split('e');
    const raised = '10' + [...exponent.replace('+', '')].map((c) => '⁻⁰¹²³⁴⁵⁶⁷⁸⁹'['-0123456789'.indexOf(c)]).join('');
    return +mantissa === 1 ? raised : `${+mantissa}·${raised}`;
  }
  return String(+x.toPrecision(n));
}
