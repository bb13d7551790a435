// Chapter 3: the chain walked beside the closed form. The picture may be drawn.
function drawing(ui, model, changed) {
  const canvas = ui.picture(ui.say('x₀: draw here with mouse or finger', 'x₀：可用鼠标或手指在此作画'), ui.stage, model);
  canvas.canvas.style.touchAction = 'none';
  const bytes = new Uint8Array(model.height * model.width * model.channels);
  let own = false;
  const dab = (event) => {
    if (!(event.buttons & 1)) return;
    if (!own) bytes.fill(0);
    own = true;
    const box = canvas.canvas.getBoundingClientRect();
    const column = (event.clientX - box.left) / box.width * model.width, row = (event.clientY - box.top) / box.height * model.height;
    for (let y = 0; y < model.height; ++y)
      for (let x = 0; x < model.width; ++x) {
        const ink = Math.min(Math.max(1.9 - Math.hypot(x + 0.5 - column, y + 0.5 - row), 0), 1) * 255;
        for (let c = 0; c < model.channels; ++c) {
          const i = (y * model.width + x) * model.channels + c;
          bytes[i] = Math.max(bytes[i], ink);
        }
      }
    canvas.draw(bytes);
    changed();
  };
  canvas.canvas.addEventListener('pointerdown', (e) => { canvas.canvas.setPointerCapture(e.pointerId); dab(e); });
  canvas.canvas.addEventListener('pointermove', dab);
  return {
    get pixels() { return Array.from(bytes); },
    show(pixels) { own = false; bytes.set(pixels); canvas.draw(bytes, ui.say('The picture that is noised', '要加噪的图')); },
  };
}

widget('merge', async (ui) => {
  const model = await library.call('describe');
  const schedule = ui.choice(ui.say('Schedule', '加噪计划'), [['linear', ui.say('linear', '线性')], ['cosine', ui.say('cosine', '余弦')]], () => run());
  const t = ui.slider('t', {min: 0, max: 999, value: 250}, () => run());
  const picture = ui.slider(ui.say('Picture', '图片'), {min: 0, max: 99, value: 0}, async () => { await load(); run(); });
  let seed = 0;
  ui.button(ui.say('New noise', '换一份噪声'), () => { ++seed; run(); });
  const x0 = drawing(ui, model, () => run());
  const walked = ui.picture(ui.say('walked: t + 1 times q_step', '一步一步走：q_step 做 t+1 次'), ui.stage, model);
  const jumped = ui.picture(ui.say('jumped: q_sample once', '一步到位：q_sample 做一次'), ui.stage, model);
  const table = ui.table(ui.say('What is in x_t, measured on 8 chains', 'x_t 里有什么（用 8 条链测得）'));
  const load = async () => x0.show((await library.call('show', {picture: picture.value, count: 1}))[0].x);
  const run = ui.latest(async () => {
    const r = await library.call('merge', {pixels: x0.pixels, t: t.value, schedule: schedule.value, seed});
    walked.draw(r.walked.x, ui.say('Walked picture', '一步一步走到的图'));
    jumped.draw(r.jumped.x, ui.say('Jumped picture', '一步到位的图'));
    table(['', ui.say('walked', '一步一步'), ui.say('jumped', '一步到位'), ui.say('formula', '公式')], [
      [ui.say('share of x₀ (√ᾱ_t)', 'x₀ 的系数（√ᾱ_t）'), digits(r.walked.signal), digits(r.jumped.signal), digits(r.signal)],
      [ui.say('variance of the rest (1−ᾱ_t)', '其余部分的方差（1−ᾱ_t）'), digits(r.walked.noise), digits(r.jumped.noise), digits(r.noise)],
    ]);
    ui.tell(ui.say(`The two pictures differ, as their noises do; their distribution is the same. Measured on ${r.numbers} numbers.`,
                   `两张图不同，因为噪声不同；但它们的分布相同。用 ${r.numbers} 个数测得。`));
  });
  await load();
  await run();
});
