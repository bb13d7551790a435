// Chapter 6: a network for points learns the score of a mixture; beside it the exact one.
function pairs(numbers) {
  return {x: numbers.filter((_, i) => i % 2 === 0), y: numbers.filter((_, i) => i % 2 === 1)};
}

function planeData(ui, changed) {
  return ui.choice(ui.say('Data', '数据'), [
    ['ring', ui.say('eight on a ring', '环上的八团')], ['two', ui.say('two unequal', '一大一小两团')], ['grid', ui.say('nine on a grid', '方格上的九团')]], changed);
}

widget('plane', async (ui) => {
  const data = planeData(ui);
  const schedule = ui.choice(ui.say('Schedule', '加噪计划'), [['linear', ui.say('linear', '线性')], ['cosine', ui.say('cosine', '余弦')]]);
  const steps = ui.slider(ui.say('T', 'T'), {min: 50, max: 1000, step: 50, value: 200});
  const length = ui.slider(ui.say('Training steps', '训练步数'), {min: 100, max: 3000, step: 100, value: 1200});
  const t = ui.slider(ui.say('look at t (% of T)', '看 t（占 T 的百分比）'), {min: 1, max: 99, value: 20}, () => look());
  ui.button(ui.say('Train', '训练'), () => run());
  const square = {square: true};
  const field = ui.chart(ui.say('Score at t: learned and exact, with points x_t', 't 处的分数场：学到的与精确的，点为 x_t'), square);
  const drawn = ui.chart(ui.say('Drawn by DDIM from the network, on the data', '网络用 DDIM 采样的点，叠在数据上'), square);
  const losses = ui.chart(ui.say('Loss of each 50 steps', '每 50 步的损失'), {xlabel: ui.say('step', '步'), ylabel: ui.say('loss', '损失')});
  const range = {x: [-2, 2], y: [-2, 2]};
  let trained = false, chosen = {};
  const show = async () => {
    const r = await library.call('plane_field', {t: Math.round(t.value / 100 * (chosen.steps - 1)), range: 2});
    const arrows = (score) => {
      const {x, y} = pairs(r.grid), {x: u, y: v} = pairs(score);
      const size = u.map((a, i) => 0.22 / (Math.hypot(a, v[i]) + 2));
      return {kind: 'arrows', x, y, u: u.map((a, i) => a * size[i]), v: v.map((a, i) => a * size[i])};
    };
    field.draw(range, [
      {...arrows(r.exact.score), name: ui.say(`exact: loss ${digits(r.exact.loss, 3)}`, `精确：损失 ${digits(r.exact.loss, 3)}`), colour: 1},
      {...arrows(r.learned.score), name: ui.say(`learned: loss ${digits(r.learned.loss, 3)}`, `学到：损失 ${digits(r.learned.loss, 3)}`), colour: 0},
      {kind: 'dots', ...pairs(r.points), colour: 2}]);
  };
  const look = ui.latest(async () => { if (trained) await show(); });
  const run = ui.latest(async () => {
    chosen = {data: data.value, schedule: schedule.value, steps: steps.value};
    const {points, parameters} = await library.call('plane_start', chosen);
    const begin = performance.now(), x = [], y = [];
    for (let k = 50; k <= length.value; k += 50) {
      const {step, loss} = await library.call('plane_train', {count: 50, of: length.value});
      x.push(step);
      y.push(loss);
      losses.draw({x: [0, length.value], y: [0, Math.max(1, ...y)]}, [{kind: 'line', x, y, name: ui.say('loss', '损失')}]);
      trained = true;
      if (k % 200 === 0) await show();
      ui.tell(ui.say(`step ${step}, loss ${digits(loss, 3)}`, `第 ${step} 步，损失 ${digits(loss, 3)}`));
    }
    await show();
    const {path} = await library.call('plane_paths', {draw_steps: Math.min(50, chosen.steps), count: 400});
    drawn.draw(range, [{kind: 'dots', ...pairs(points), name: ui.say('data', '数据')}, {kind: 'dots', ...pairs(path.at(-1)), name: ui.say('drawn', '采样')}]);
    const seconds = digits((performance.now() - begin) / 1000, 2);
    ui.tell(ui.say(`${length.value} steps of ${parameters} parameters: ${seconds} s. The exact loss is the floor: no network can be below it for long.`,
                   `${parameters} 个参数，${length.value} 步：${seconds} 秒。精确的损失是下限：没有网络能长久低于它。`));
  });
  await run();
});
