// Chapter 7: the way back, step by step, for digits and in the plane.

// The sampler, and η for the one that takes it: chosen() is what the library is told.
function samplerChoice(ui, changed) {
  const sampler = ui.choice(ui.say('Sampler', '采样器'), [['ddim', 'DDIM'], ['ddpm', 'DDPM'], ['dpmpp_2m', 'DPM-Solver++(2M)']], changed);
  const eta = ui.slider('η (DDIM)', {min: 0, max: 1, step: 0.1, value: 0}, changed);
  return {chosen: () => ({sampler: sampler.value, ...(sampler.value === 'ddim' ? {eta: eta.value} : {})})};
}

widget('back', async (ui) => {
  const model = await library.call('describe');
  const walk = samplerChoice(ui, () => run());
  const label = ui.choice(ui.say('Draw', '画'), model.classes.map((c) => [c.label, c.name]), () => run());
  if (model.classes.length > 5) label.value = model.classes[5].label;
  const steps = ui.slider(ui.say('Steps', '步数'), {min: 1, max: 250, value: 20}, () => run());
  const guidance = ui.slider(ui.say('Guidance w', '引导 w'), {min: 0, max: 6, step: 0.5, value: model.guidance}, () => run());
  let seed = 0, ways = [];
  ui.button(ui.say('New noise', '换一份噪声'), () => { ++seed; run(); });
  const at = ui.slider(ui.say('look at step', '看第几步'), {min: 0, max: 20, value: 20}, () => show());
  const x = ui.picture('x_t', ui.stage, model), x0 = ui.picture('x̂₀', ui.stage, model);
  const strip = ui.add(ui.stage, 'div', {class: 'strip'});
  const show = () => {
    const way = ways[Math.min(at.value, ways.length - 1)];
    if (!way) return;
    x.draw(way.x, ui.say(`x after step ${way.step + 1}`, `第 ${way.step + 1} 步后的 x`));
    x.caption = way.step < 0 ? ui.say('x_T, pure noise', 'x_T，纯噪声') : ui.say(`x after the step at t = ${way.t}`, `t = ${way.t} 那一步之后的 x`);
    x0.draw(way.x0, ui.say(`x̂₀ at step ${way.step + 1}`, `第 ${way.step + 1} 步的 x̂₀`));
  };
  const run = ui.latest(async () => {
    ways = [];
    const args = {...walk.chosen(), steps: steps.value, guidance: guidance.value, seed, ...(model.classes.length ? {label: +label.value} : {})};
    const begin = performance.now();
    await library.call('draw', args, (part) => {
      ways.push(part);
      x.draw(part.x);
      x0.draw(part.x0);
      ui.tell(`t = ${part.t}`);
    });
    at.max = ways.length - 1;
    at.value = ways.length - 1;
    show();
    strip.replaceChildren();
    const shown = Math.min(8, ways.length - 1);
    for (let i = 1; i <= shown; ++i) {
      const way = ways[Math.round(i / shown * (ways.length - 1))];
      ui.picture(`x̂₀, t = ${way.t}`, strip, model).draw(way.x0);
    }
    const passes = (ways.length - 1) * (guidance.value === 1 ? 1 : 2), time = digits((performance.now() - begin) / 1000, 2);
    ui.tell(ui.say(`${passes} runs of the network, ${time} s.`, `网络运行 ${passes} 次，${time} 秒。`));
  });
  await run();
});

widget('paths', async (ui) => {
  const data = planeData(ui, () => run());
  const walk = samplerChoice(ui, () => run());
  const steps = ui.slider(ui.say('Steps', '步数'), {min: 1, max: 200, value: 40}, () => run());
  const count = ui.slider(ui.say('Points', '点数'), {min: 5, max: 200, step: 5, value: 40}, () => run());
  const chart = ui.chart(ui.say('From noise (x_T) to data, by the exact denoiser', '从噪声 (x_T) 到数据，用精确的去噪器'), {square: true});
  const run = ui.latest(async () => {
    await library.call('plane_start', {data: data.value, schedule: 'linear', steps: 1000});
    const {path} = await library.call('plane_paths', {exact: true, ...walk.chosen(), draw_steps: steps.value, count: count.value});
    const ways = [...Array(count.value).keys()].map((k) => ({kind: 'line', x: path.map((x) => x[2 * k]), y: path.map((x) => x[2 * k + 1]), colour: 0, thin: true}));
    chart.draw({x: [-2.6, 2.6], y: [-2.6, 2.6]}, [...ways,
      {kind: 'dots', ...pairs(path[0]), name: 'x_T', colour: 3, radius: 2.2}, {kind: 'dots', ...pairs(path.at(-1)), name: 'x₀', colour: 1, radius: 2.6}],
      ui.say(`Ways of ${count.value} points from noise to the data`, `${count.value} 个点从噪声走到数据的路线`));
    ui.tell(ui.say('With η = 0 each point of noise has one way, and near ways stay near. With noise in the steps the ways are jagged, and the same x_T can end elsewhere.',
                   'η = 0 时，每个噪声点只有一条路，相邻的路保持相邻。步中加噪时，路线曲折，同一个 x_T 可以走到别处。'));
  });
  await run();
});
