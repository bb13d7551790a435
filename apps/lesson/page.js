// The page around the widgets: unpacks what is embedded, starts the worker, switches language and colours, and makes a
// widget when its chapter comes into view. A widget is a file of widgets/ that calls `widget(name, build)`.
const widgets = {};
function widget(name, build) { widgets[name] = build; }

// ---- the library
const library = (() => {
  const waiting = new Map();
  let next = 1, worker;

  async function unpack(element) {
    const bytes = Uint8Array.from(atob(element.textContent.trim()), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip'));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }

  const ready = (async () => {
    const files = {};
    let wasm, script;
    for (const element of document.querySelectorAll('script[data-file]')) {
      const bytes = await unpack(element);
      if (element.dataset.file === 'lesson.wasm') wasm = bytes;
      else if (element.dataset.file === 'lesson.js') script = bytes;
      else files[element.dataset.file] = bytes;
    }
    worker = new Worker(URL.createObjectURL(new Blob([script], {type: 'text/javascript'})));
    const started = new Promise((resolve, reject) => {
      worker.onerror = (e) => reject(new Error(e.message || 'the worker did not start'));
      worker.onmessage = ({data}) => {
        if (data.ready) return resolve();
        if (data.broken) return reject(new Error(data.broken));
        const request = waiting.get(data.id);
        if (!request) return;
        if (data.part) return request.part(data.part);
        waiting.delete(data.id);
        if (data.error !== undefined) request.reject(new Error(data.error));
        else request.resolve(data.result);
      };
    });
    worker.postMessage({files, wasm});
    await started;
  })();

  // Requests are answered in their order. `part` sees what comes before the answer.
  async function call(name, args = {}, part = () => {}) {
    await ready;
    const id = next++;
    return new Promise((resolve, reject) => {
      waiting.set(id, {resolve, reject, part});
      worker.postMessage({...args, id, call: name});
    });
  }
  return {ready, call, unpack};
})();

// A page of `sfumato lesson` holds run.json, and says around which run it is.
async function tellRun() {
  const file = document.querySelector('script[data-file="run.json"]');
  if (!file) return;
  const {name} = JSON.parse(new TextDecoder().decode(await library.unpack(file)));
  for (const place of document.querySelectorAll('#run strong')) place.textContent = name;
  document.querySelector('#run').hidden = false;
}

// ---- language and colours
function setLanguage(language) {
  document.documentElement.lang = language;
  for (const element of document.querySelectorAll('[data-lang]'))
    element.hidden = element.dataset.lang !== language;
  for (const button of document.querySelectorAll('[data-set-lang]'))
    button.setAttribute('aria-pressed', button.dataset.setLang === language);
  try { localStorage.setItem('language', language); } catch { /* a page from a file may have none */ }
  showWidgets();
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  try { localStorage.setItem('theme', theme); } catch { /* as above */ }
  document.dispatchEvent(new Event('theme'));
}

function remembered(key) {
  try { return localStorage.getItem(key); } catch { return null; }
}

// ---- widgets
function build(root) {
  if (root.dataset.built) return;
  root.dataset.built = 'yes';
  root.setAttribute('role', 'group');
  root.setAttribute('aria-busy', 'true');
  const language = root.closest('[data-lang]').dataset.lang;
  const ui = new Ui(root, language);
  library.ready
    .then(() => { ui.tell(''); return widgets[root.dataset.widget](ui); })
    .catch((e) => { ui.fail(e); root.setAttribute('aria-busy', 'false'); });
  ui.tell(ui.say('Unpacking the library …', '正在解包程序库……'));
}

let observer;
function showWidgets() {
  observer?.disconnect();
  observer = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) build(entry.target);
  }, {rootMargin: '200px'});
  for (const root of document.querySelectorAll('[data-widget]')) observer.observe(root);
}

addEventListener('DOMContentLoaded', () => {
  for (const button of document.querySelectorAll('[data-set-lang]'))
    button.addEventListener('click', () => setLanguage(button.dataset.setLang));
  document.querySelector('#theme').addEventListener('click', () => {
    const dark = document.documentElement.dataset.theme
        ? document.documentElement.dataset.theme === 'dark'
        : matchMedia('(prefers-color-scheme: dark)').matches;
    setTheme(dark ? 'light' : 'dark');
  });
  tellRun();
  if (remembered('theme')) setTheme(remembered('theme'));
  setLanguage(remembered('language') ?? (navigator.language.startsWith('zh') ? 'zh' : 'en'));
});
