// Chapter 6: digits at 16x16 learned from nothing.
widget('live', async (ui) => {
  const model = await library.call('describe');
  const small = {width: 16, height: 16, channels: model.channels};
  const seconds = ui.slider(ui.say('Seconds', '秒数'), {min: 5, max: 300, step: 5, value: 120});
  const guidance = ui.slider(ui.say('Guidance w', '引导 w'), {min: 1, max: 4, step: 0.5, value: 2});
  const start = ui.button(ui.say('Train from nothing', '从零开始训练'), () => { stopped = false; run(); });
  const stop = ui.button(ui.say('Stop', '停止'), () => { stopped = true; });
  stop.disabled = true;
  let stopped = false, classes = 10;
  const list = ui.add(ui.stage, 'ol', {class: 'stages'});
  const stages = [
    ui.say('1 a batch x₀ and its labels', '1 取一批 x₀ 和标签'), ui.say('2 noise ε and times t', '2 抽噪声 ε 与时刻 t'),
    ui.say('3 x_t = √ᾱ x₀ + √(1−ᾱ) ε', '3 x_t = √ᾱ x₀ + √(1−ᾱ) ε'), ui.say('4 network and loss (here x̂₀)', '4 网络与损失（图为 x̂₀）'),
    ui.say('5 gradient, step of AdamW', '5 梯度与 AdamW 一步')].map((text, i) => {
      const item = ui.add(list, 'li');
      ui.add(item, 'span', {}, text);
      const picture = i < 4 ? ui.picture('', item, small) : null;
      picture?.canvas.classList.add('small');
      picture?.canvas.setAttribute('aria-label', text);
      return {item, picture};
    });
  const losses = ui.chart(ui.say('Loss', '损失'), {xlabel: ui.say('step', '步'), ylabel: ui.say('loss', '损失')});
  const strip = ui.add(ui.stage, 'div', {class: 'strip ten'});
  const places = [...Array(20).keys()].map((i) => ui.picture(String(i % 10), strip, small));
  const light = (part) => {
    if (!part.stage) return;
    stages.forEach(({item}, i) => item.classList.toggle('on', i === part.stage - 1));
    if (part.x) stages[part.stage - 1].picture.draw(part.x);
  };
  const draw = async () => {
    const labels = places.map((_, i) => i % Math.min(classes, 10));
    const {x} = await library.call('live_draw', {labels, guidance: guidance.value});
    const size = 256 * model.channels;
    places.forEach((p, i) => p.draw(x.slice(i * size, (i + 1) * size), ui.say(`Drawn ${labels[i]}`, `画出的 ${labels[i]}`)));
    places.forEach((p, i) => { p.caption = String(labels[i]); });
  };
  const run = ui.latest(async () => {
    start.disabled = true;
    stop.disabled = false;
    const {parameters, batch, ...started} = await library.call('live_start', {seed: 0});
    classes = started.classes;
    const x = [], y = [], total = seconds.value * 1000;
    let trained = 0, drawn = 0;
    // The time of drawing is not counted: what is told is time of training.
    while (trained < total && !stopped) {
      const begin = performance.now();
      const r = await library.call('live_train', {count: 5, progress: trained / total}, light);
      trained += performance.now() - begin;
      x.push(r.step);
      y.push(r.loss);
      if (x.length % 4 === 0 || trained >= total)
        losses.draw({x: [0, r.step], y: [0, 1]}, [{kind: 'line', x, y: y.map((v) => Math.min(v, 1)), name: ui.say('loss of x₀', 'x₀ 的损失')}]);
      ui.tell(ui.say(`${digits(trained / 1000, 3)} s of training, step ${r.step} (${batch} pictures each), ${digits(parameters / 1e6, 2)} M parameters`,
                     `已训练 ${digits(trained / 1000, 3)} 秒，第 ${r.step} 步，每步 ${batch} 张图，${digits(parameters / 1e6, 2)} M 参数`));
      if (trained - drawn > 10000) { await draw(); drawn = trained; }
    }
    if (x.length) await draw();
    start.disabled = false;
    stop.disabled = true;
  });
  ui.root.setAttribute('aria-busy', 'false');
});
